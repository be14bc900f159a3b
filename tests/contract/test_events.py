"""Events, as consumers of other versions read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stylequeue.contract.errors import InvalidRequest
from stylequeue.contract.events import (
    EVENT,
    PaintingReport,
    StoredPicture,
    Succeeded,
    SucceededData,
    UnknownEvent,
    read_event,
)
from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, resolve
from stylequeue.ledger.draft import Draft
from tests.support.jobs import NO_REPORT

S3_METADATA_BYTES = 2048
"""Of all user metadata of an object, names and values."""
PICTURE = StoredPicture(
    bucket="results",
    key="a.jpg",
    etag='"e"',
    sha256="0",
    width_px=1,
    height_px=1,
    size_bytes=1,
    content_type="image/jpeg",
)


def succeeded(recipe: OptimizeRecipe | FastRecipe) -> dict[str, Any]:
    """An event as the ledger completes it."""
    data = SucceededData(output=PICTURE, fingerprint="f", recipe=resolve(recipe), engine_version="1", report=NO_REPORT)
    draft = Draft.of(Succeeded, deployment="test", job_id="j", data=data)
    return {"id": "i", "sequence": "1", **json.loads(draft.envelope), "data": json.loads(draft.data)}


RECIPES = [FastRecipe(), OptimizeRecipe(init="image", init_image={"bucket": "uploads", "key": "a.jpg"})]


@pytest.mark.parametrize("recipe", RECIPES, ids=["fast", "optimize"])
def test_what_a_newer_worker_adds_is_passed_over(recipe: OptimizeRecipe | FastRecipe) -> None:
    known = succeeded(recipe)
    newer = json.loads(json.dumps(known))
    for place in (newer, newer["data"], newer["data"]["output"], newer["data"]["report"], newer["data"]["recipe"]):
        place["varnish"] = {"coats": 2}
    if image := newer["data"]["recipe"].get("init_image"):
        image["varnish"] = True
    read = EVENT.validate_json(json.dumps(newer))
    assert read == EVENT.validate_python(known)
    assert isinstance(read, Succeeded)
    assert read.data.recipe == resolve(recipe)


@pytest.mark.parametrize("data", [None, [], "paused", {"labels": 7}, {"run": "first"}])
@pytest.mark.parametrize(
    ("event_type", "kind"),
    [
        ("io.stylequeue.job.paused.v1", "paused"),
        ("io.stylequeue.job.succeeded.v1", "succeeded"),
        ("io.stylequeue.job.succeeded.v2", "succeeded"),
        ("paused", "paused"),
        ("paused.v1", "paused"),
        ("", ""),
    ],
)
def test_any_event_of_a_newer_worker_can_be_read(event_type: str, kind: str, data: object) -> None:
    """CloudEvents asks for an id, a source and a type, and lets data be anything."""
    newer = {**succeeded(FastRecipe()), "type": event_type, "data": data}
    read = read_event(json.dumps(newer))
    assert isinstance(read, UnknownEvent)
    assert (read.kind, read.subject, read.data.labels, read.data.run) == (kind, "j", {}, 0)
    del newer["data"]
    assert read_event(json.dumps(newer)) == read


@pytest.mark.parametrize(
    ("text", "wrong"), [("", "JSON"), ("{", "JSON"), ("[]", "object"), ("{}", "subject Field required")]
)
def test_what_is_no_event_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(InvalidRequest, match=wrong):
        read_event(text)


def test_the_longest_report_fits_into_an_objects_metadata() -> None:
    """Where the worker keeps it, with names, numbers and a mark that take about 450 bytes."""
    longest = -0.0123456789012345678e-100
    report = PaintingReport(
        **{
            **NO_REPORT.model_dump(),
            "network": "vgg19",
            "network_digest": "0" * 64,
            "precision": "bfloat16",
            "tiles": 10_000,
            "steps": 10_000,
            "ended_by": "time_budget",
            "losses": dict.fromkeys(("content", "style", "variation"), longest),
            "style_distances": {f"block{block}_conv{layer}": longest for block in range(1, 6) for layer in range(1, 5)},
            "ssim": longest,
            "peak_memory_bytes": 2**40,
            "notes": ["n" * 100],
        }
    )
    assert len(report.model_dump_json()) < S3_METADATA_BYTES - 450
