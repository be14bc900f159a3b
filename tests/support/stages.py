"""A job in each state that there is, by hand."""

from __future__ import annotations

from collections.abc import Callable

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code
from stylequeue.contract.events import ExpiredData, FailedData, ProgressData
from stylequeue.contract.job import Job
from tests.support.by_hand import paint

FAILED = FailedData(code=Code.IMAGE_CORRUPT, message="content: the picture is damaged", hint="save it anew")


def _fence(queue: StyleQueue, job: Job) -> int:
    return queue._ledger.claim(job, task_id=job.id, worker="tester@host").record.fence


def _queued(queue: StyleQueue, job: Job) -> None:
    queue.submit(job)


def _running(queue: StyleQueue, job: Job) -> None:
    queue.submit(job)
    fence = _fence(queue, job)
    data = ProgressData(
        number=1,
        stage="painting",
        step=3,
        steps=40,
        size_px=512,
        left_s=12.5,
        preview=f"s3://work/{job.id}/preview.webp",
    )
    queue._ledger.heartbeat(job.id, fence=fence, data=data)


def _put_back(queue: StyleQueue, job: Job) -> None:
    _running(queue, job)
    record = queue._ledger.record(job.id)
    queue._ledger.put_back(record, error="[lease_ran_out] worker tester@host was not heard of", delay_s=600)


def _succeeded(queue: StyleQueue, job: Job) -> None:
    queue.submit(job)
    paint(queue, job)


def _failed(queue: StyleQueue, job: Job) -> None:
    queue.submit(job)
    queue._ledger.finish(job.id, fence=_fence(queue, job), data=FAILED)


def _cancelled(queue: StyleQueue, job: Job) -> None:
    queue.submit(job)
    queue.cancel(job.id)


def _expired(queue: StyleQueue, job: Job) -> None:
    queue.submit(job)
    queue._ledger.finish(job.id, fence=_fence(queue, job), data=ExpiredData.late())


def _retried(queue: StyleQueue, job: Job) -> None:
    _failed(queue, job)
    queue.retry(job.id)


STAGES: dict[str, Callable[[StyleQueue, Job], None]] = {
    "queued": _queued,
    "running": _running,
    "put_back": _put_back,
    "succeeded": _succeeded,
    "failed": _failed,
    "cancelled": _cancelled,
    "expired": _expired,
    "retried": _retried,
}
"""How a job comes to each. Two are of state `queued`: one that an attempt has left, one that waits for its next run."""
