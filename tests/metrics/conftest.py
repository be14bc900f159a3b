"""A deployment in which everything that is counted has happened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stylequeue.awaiting import run
from stylequeue.client import StyleQueue
from stylequeue.contract.delivery import Attempt
from stylequeue.ledger import uploads
from stylequeue.ledger.deliveries import Deliveries, ForEndpoint
from stylequeue.ledger.histograms import Observation
from stylequeue.settings import Settings
from tests.ledger.test_registry import live_worker
from tests.support.jobs import make_job
from tests.support.ledger import FAILED, claim, lose_lease

ENDPOINT = """
[endpoint.crm]
url = "https://crm.example/hooks"
secrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"]
"""


@pytest.fixture
def operated(settings: Settings, tmp_path: Path) -> Settings:
    """With an operator's file."""
    path = tmp_path / "stylequeue.toml"
    path.write_text(ENDPOINT)
    return settings.model_copy(update={"operator_file": path})


@pytest.fixture
def busy(operated: Settings) -> Iterator[StyleQueue]:
    """Where each metric has at least one value."""
    with StyleQueue(operated) as queue:
        fill(queue)
        yield queue


def fill(queue: StyleQueue) -> None:
    """Have something of each kind happen."""
    ledger = queue._ledger
    done, lost, waiting = make_job(), make_job(), make_job(queue="bulk")
    queue.submit_many([done, lost, waiting])
    seen = [Observation("stage_s", "paint", 3.0), Observation("steps_per_s", "vgg19", 7.0)]
    ledger.finish(done.id, fence=claim(ledger, done).record.fence, data=FAILED, observed=seen)
    first = claim(ledger, lost).record
    lose_lease(ledger, lost)
    claim(ledger, lost)
    ledger.put_back(ledger.record(lost.id), error="[worker_lost] killed")
    ledger.put_back(first, error="harm")
    ledger.refuse("task-1", queue="paint", message="{}", data=FAILED)
    for what in ("resumes", "reuses", "unfit|device_unavailable"):
        ledger.note(what)
    deliveries = Deliveries(ledger)
    deliveries.deliver([ForEndpoint("crm", f"e{n}", "{}", "t", "j", 2**50, named=True) for n in range(2)])
    deliveries.take("crm", token="t")
    attempt = Attempt(at=datetime.now(UTC), took_ms=1, status=200)
    deliveries.settle("crm", "e0", token="t", attempt=attempt, delivered=True, delay_s=None)
    run(uploads.count(ledger.asked, {("minio", "recorded"): 3}, {"minio": [0.5, 40]}))
    next(queue.events(group="billing", consumer="one"))
    gpu: dict[str, Any] = {"device": "GPU", "gpu_memory_bytes": 10**9, "gpu_utilisation": 0.5}
    ledger.registry.register(live_worker(job="j", steps_per_s=2.5, resident_bytes=10**9, **gpu))
    ledger.overdue()
    queue.pause("fast")
