"""What a worker does with messages, done by hand and without painting."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code
from stylequeue.contract.events import FailedData, StoredPicture, SucceededData
from stylequeue.contract.job import Job
from stylequeue.contract.recipe import resolve
from stylequeue.store import Origin
from tests.support.jobs import NO_REPORT
from tests.support.roles import everything


def tasks(queue: StyleQueue, name: str = "paint") -> list[str]:
    """Task ids of the messages on a list."""
    messages: Any = everything(queue.settings).lrange(name, 0, -1)
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
    origin = Origin(job.id, hashlib.sha256(body).hexdigest())
    written = queue._store.write(bucket, key, body, origin=origin, content_type="image/jpeg", overwrite=True)
    picture = StoredPicture(
        bucket=bucket,
        key=key,
        etag=written.etag,
        sha256=hashlib.sha256(body).hexdigest(),
        width_px=1,
        height_px=1,
        size_bytes=len(body),
        content_type="image/jpeg",
    )
    beside: Any = {"origin": origin, "content_type": "image/png", "overwrite": True}
    data = SucceededData(
        output=picture,
        report_key=f"{key}.report.png",
        report_file=queue._store.write_beside(picture, f"{key}.report.png", b"sheet", **beside),
        thumbnail_file=queue._store.write_beside(picture, f"{key}.thumb.webp", b"small", **beside),
        fingerprint="f",
        recipe=resolve(job.recipe),
        engine_version="1",
        report=NO_REPORT,
    )
    event = queue._ledger.finish(job.id, fence=claim.record.fence, data=data)
    queue._store.write_beside(picture, f"{key}.json", event.encode(), **beside)
    return data
