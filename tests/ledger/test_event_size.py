"""No event is longer than receivers of webhooks need to take."""

from __future__ import annotations

import json

from stylequeue.contract.events import MAX_EVENT_BYTES, FailedData, StoredFile, StoredPicture, SucceededData
from stylequeue.contract.recipe import PRESETS, OptimizeRecipe, resolve
from stylequeue.ledger import Ledger
from tests.support.jobs import NO_REPORT, make_job
from tests.support.ledger import claim

WIDE = "\U0001f3a8"
"""Four bytes; twelve where JSON is to be ASCII."""
LONGEST_KEY = "é" * 512
LAYERS = {f"block{block}_conv{conv}": 999.9876543210987 for block in range(3, 6) for conv in range(1, 5)}


def test_labels_as_long_as_they_may_be_stay(ledger: Ledger) -> None:
    job = make_job(labels={f"{number:064}": "x" * 256 for number in range(16)})
    ledger.accept([job])
    [accepted] = ledger.job_events(job.id)
    assert accepted.data.labels == job.labels


def test_an_end_with_the_longest_of_everything(ledger: Ledger) -> None:
    """Labels of wide characters are left out where there is no room for them; nothing else is."""
    job = make_job(labels={f"{WIDE * 62}{number:02}": WIDE * 256 for number in range(16)})
    ledger.accept([job], tenant="t" * 64)
    record = claim(ledger, job).record
    note = WIDE * 100_000
    event = ledger.finish(job.id, fence=record.fence, data=FailedData(code="c" * 64, message=note, hint=note))
    assert len(event.encode()) <= MAX_EVENT_BYTES
    told = json.loads(event)["data"]
    assert told["labels"] == {}
    assert told["message"].startswith(WIDE * 1900)
    assert told["hint"].startswith(WIDE * 1900)
    assert ledger.record(job.id).labels == job.labels


def test_a_picture_with_the_longest_names(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job], tenant="t" * 64)
    record = claim(ledger, job).record
    file = {"bucket": "b" * 63, "key": LONGEST_KEY, "etag": '"' + "e" * 64 + '"', "sha256": "0" * 64}
    recipe = resolve(OptimizeRecipe(preset=next(iter(PRESETS)))).model_copy(
        update={"content_layers": LAYERS, "style_layers": LAYERS}
    )
    report = NO_REPORT.model_copy(update={"style_distances": LAYERS, "losses": LAYERS, "timings_s": LAYERS})
    data = SucceededData(
        output=StoredPicture(**file, size_bytes=10**9, width_px=10**5, height_px=10**5, content_type="image/jpeg"),
        report_key=LONGEST_KEY,
        report_file=StoredFile(**file, size_bytes=10**9),
        fingerprint="0" * 64,
        recipe=recipe,
        engine_version="1.2.3",
        report=report,
    )
    event = ledger.finish(job.id, fence=record.fence, data=data)
    assert len(event.encode()) <= MAX_EVENT_BYTES
