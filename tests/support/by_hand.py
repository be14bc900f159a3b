"""What a worker does with messages, done by hand and without painting."""

from __future__ import annotations

import json
from typing import Any

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code
from stylequeue.contract.events import FailedData, StoredPicture, SucceededData
from stylequeue.contract.job import Job
from stylequeue.contract.recipe import resolve
from tests.support.jobs import NO_REPORT


def tasks(queue: StyleQueue, name: str = "paint") -> list[str]:
    """Task ids of the messages on a list."""
    messages: Any = queue._ledger.redis.lrange(name, 0, -1)
    return [json.loads(message)["headers"]["id"] for message in messages]


def refuse(queue: StyleQueue, task_id: str, *, came_from: str = "paint") -> None:
    """As a worker does with a message that holds no job."""
    data = FailedData(code=Code.INVALID_JOB, message="no job")
    message = json.dumps({"args": [], "kwargs": {"job": {"brush": "new"}}})
    queue._ledger.refuse(task_id, queue=came_from, message=message, data=data)


def paint(queue: StyleQueue, job: Job, body: bytes = b"picture") -> SucceededData:
    """As a worker does with a job, without painting."""
    queue._ledger.accept([job])
    claim = queue._ledger.claim(job, task_id=job.id, worker="tester")
    bucket, key = job.output.bucket, job.output_key
    written = queue._store.write(bucket, key, body, content_type="image/jpeg", overwrite=True)
    for side in (".json", ".report.png"):
        queue._store.write(bucket, key + side, b"beside", content_type="text/plain", overwrite=True)
    data = SucceededData(
        output=StoredPicture(
            bucket=bucket,
            key=key,
            etag=written.etag,
            sha256="",
            width_px=1,
            height_px=1,
            size_bytes=len(body),
            content_type="image/jpeg",
        ),
        report_key=f"{key}.report.png",
        fingerprint="f",
        recipe=resolve(job.recipe),
        engine_version="1",
        report=NO_REPORT,
    )
    queue._ledger.finish(job.id, fence=claim.record.fence, data=data)
    return data
