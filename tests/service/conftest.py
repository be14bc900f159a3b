"""Jobs for the worker with the real engine, and how they end."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, JobFailed
from stylequeue.contract.events import Failed, SucceededData
from stylequeue.contract.job import Job
from stylequeue.contract.objects import ImageRef
from stylequeue.local import Stack
from tests.support.roles import as_role

WAIT_S = 60


def make(photograph: ImageRef, recipe: dict[str, Any] | None = None, **fields: Any) -> Job:
    return Job.model_validate(
        {
            "content": photograph,
            "styles": [{"image": photograph}],
            "output": {"bucket": "results"},
            "recipe": recipe or {"method": "fast", "size": 64},
            **fields,
        }
    )


def stored(queue: StyleQueue, key: str) -> bytes:
    return queue._store._client.get_object(Bucket="results", Key=key)["Body"].read()


def put(queue: StyleQueue, key: str, body: bytes) -> ImageRef:
    queue._store._client.put_object(Bucket="uploads", Key=key, Body=body)
    return ImageRef(bucket="uploads", key=key)


def paint(queue: StyleQueue, job: Job) -> SucceededData:
    queue.submit(job)
    return queue.wait(job.id, timeout_s=WAIT_S)


@pytest.fixture
def plain_celery(stack: Stack) -> Celery:
    """A Celery app as any program makes it, knowing nothing of us."""
    url = as_role(stack.settings, "sender").redis_url.get_secret_value()
    return Celery("somebody", broker=url, backend=url)


def fields(job: Job) -> dict[str, Any]:
    return job.model_dump(mode="json", exclude_none=True, exclude={"id"})


def assert_fails(service: StyleQueue, job: Job, code: Code) -> str:
    """The message it failed with."""
    service.submit(job)
    with pytest.raises(JobFailed) as caught:
        service.wait(job.id, timeout_s=WAIT_S)
    assert caught.value.code == code
    assert caught.value.message
    assert caught.value.hint
    outcome = service.status(job.id).outcome
    assert isinstance(outcome, Failed)
    assert outcome.data.code == code
    assert outcome in [event for _, event in service.events(follow=False)]
    return caught.value.message
