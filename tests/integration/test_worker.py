"""What becomes of a job when its worker process comes to harm. The painter is fake, everything else is real."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stylequeue.broker import READY_FOR_JOBS
from stylequeue.client import StyleQueue
from stylequeue.errors import Code, JobExpired, JobFailed, LeaseLost
from stylequeue.events import FailedData, Progress
from stylequeue.job import ImageRef, Job
from stylequeue.local import Process, Stack
from stylequeue.settings import Settings
from tests.integration.conftest import start_fake_worker
from tests.support.jobs import make_job

WAIT_S = 60
ENDLESS = 10_000
"""Steps: longer than any test waits."""


@contextmanager
def fake_service(stack: Stack, settings: Settings, name: str, **env: str) -> Iterator[tuple[StyleQueue, Process]]:
    """A client and its fake worker on this test's own Redis database."""
    redis_url = settings.redis_url.get_secret_value()
    worker = start_fake_worker(stack, name, STYLEQUEUE_REDIS_URL=redis_url, STYLEQUEUE_PROGRESS_INTERVAL_S="0", **env)
    try:
        with StyleQueue(settings) as queue:
            yield queue, worker
    except BaseException:
        print(worker.log_text())
        raise
    finally:
        worker.stop()


def job_of(photograph: ImageRef, steps: int, **fields: object) -> Job:
    image = photograph.model_dump()
    recipe = {"method": "optimize", "size": 64, "steps": steps}
    return make_job(content=image, styles=[{"image": image}], recipe=recipe, **fields)


def until_painting(queue: StyleQueue, job: Job) -> None:
    queue.submit(job)
    for event in queue.watch(job.id, timeout_s=WAIT_S):
        if isinstance(event, Progress) and event.data.step:
            return


def child_of(worker: Process) -> int:
    """The process that paints; it said who it is when it was ready."""
    [pid] = re.findall(rf"pid=(\d+) .*{READY_FOR_JOBS}", worker.log_text())
    return int(pid)


def test_killed_while_painting(stack: Stack, settings: Settings, photograph: ImageRef) -> None:
    with fake_service(stack, settings, "killed") as (queue, worker):
        job = job_of(photograph, ENDLESS, labels={"a": "b"})
        until_painting(queue, job)
        os.kill(child_of(worker), signal.SIGKILL)
        with pytest.raises(JobFailed) as caught:
            queue.wait(job.id, timeout_s=WAIT_S)
        assert caught.value.code == Code.WORKER_LOST
        outcome = queue.status(job.id).outcome
        assert outcome is not None
        assert outcome.data.labels == {"a": "b"}
        with pytest.raises(JobFailed, match="worker_lost"):
            queue._app.AsyncResult(job.id).get(timeout=WAIT_S)
        after = job_of(photograph, 2)
        queue.submit(after)
        assert queue.wait(after.id, timeout_s=WAIT_S).steps == 2


def test_painting_past_the_time_limit(stack: Stack, settings: Settings, photograph: ImageRef) -> None:
    limits = {"STYLEQUEUE_JOB_TIME_LIMIT_S": "1", "STYLEQUEUE_VISIBILITY_TIMEOUT_S": "3600"}
    with fake_service(stack, settings, "slow", **limits) as (queue, _):
        job = job_of(photograph, ENDLESS)
        queue.submit(job)
        with pytest.raises(JobFailed) as caught:
            queue.wait(job.id, timeout_s=WAIT_S)
        assert caught.value.code == Code.TIME_LIMIT
        with pytest.raises(JobFailed, match="time_limit"):
            queue._app.AsyncResult(job.id).get(timeout=WAIT_S)


def test_overtaken_while_painting(stack: Stack, settings: Settings, photograph: ImageRef) -> None:
    with fake_service(stack, settings, "overtaken") as (queue, worker):
        job = job_of(photograph, ENDLESS)
        until_painting(queue, job)
        other = queue.ledger.claim(job, task_id=job.id, worker="other", redelivered=True).record
        # The first attempt stops by itself and takes the next job.
        after = job_of(photograph, 2)
        queue.submit(after)
        queue.wait(after.id, timeout_s=WAIT_S)
        assert queue.status(job.id).state == "running"
        queue.ledger.finish(job.id, fence=other.fence, data=FailedData(code="x", message="the other one's word stands"))
        with pytest.raises(LeaseLost):
            queue.ledger.finish(job.id, fence=other.fence - 1, data=FailedData(code="y", message="too late"))
        assert "is stale" in worker.log_text()


def test_deadline_while_painting(stack: Stack, settings: Settings, photograph: ImageRef) -> None:
    with fake_service(stack, settings, "overdue") as (queue, _):
        job = job_of(photograph, ENDLESS)
        until_painting(queue, job)
        queue.ledger.redis.hset(f"stylequeue:job:{job.id}", "deadline_ms", int(time.time() * 1000))
        with pytest.raises(JobExpired):
            queue.wait(job.id, timeout_s=WAIT_S)


def test_a_worker_that_cannot_warm_up_stops(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "broken_worker.py").write_text(
        "from stylequeue.settings import Settings\n"
        "from stylequeue_worker.app import make_worker_app\n"
        "def load(settings): raise RuntimeError('no model today')\n"
        "app = make_worker_app(Settings.load(), module='broken_worker', load_painter=load)\n"
    )
    command = ["-m", "celery", "-A", "broken_worker", "worker", "-n", "broken@%h"]
    worker = stack.process(
        "broken",
        [sys.executable, *command],
        env={"PYTHONPATH": str(tmp_path), "STYLEQUEUE_REDIS_URL": settings.redis_url.get_secret_value()},
    )
    ends_at = time.monotonic() + WAIT_S
    while worker.running and time.monotonic() < ends_at:
        time.sleep(0.05)
    assert not worker.running
    assert "no model today" in worker.log_text()
    worker.stop()
