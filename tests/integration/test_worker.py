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
from stylequeue.errors import Code, JobCancelled, JobExpired, JobFailed
from stylequeue.events import Progress
from stylequeue.job import ImageRef, Job
from stylequeue.local import Process, Stack
from stylequeue.settings import Settings
from tests.support.fake_worker import start_fake_worker
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


def until_painting(queue: StyleQueue, job: Job, *, attempt: int = 1) -> None:
    queue.submit(job)
    for event in queue.watch(job.id, timeout_s=WAIT_S):
        if isinstance(event, Progress) and event.data.step and event.data.attempt == attempt:
            return


def children_of(worker: Process) -> list[int]:
    """The processes that painted, the newest last; each said who it was when it was ready."""
    return [int(pid) for pid in re.findall(rf"pid=(\d+) .*{READY_FOR_JOBS}", worker.log_text())]


def test_killed_while_painting(stack: Stack, settings: Settings, photograph: ImageRef) -> None:
    """Every attempt is killed: tried again, until the attempts are used up; the worker and its other jobs go on."""
    limits = {"STYLEQUEUE_MAX_ATTEMPTS": "2"}
    with fake_service(stack, settings, "killed", **limits) as (queue, worker):
        job = job_of(photograph, ENDLESS, labels={"a": "b"})
        until_painting(queue, job)
        os.kill(children_of(worker)[-1], signal.SIGKILL)
        until_painting(queue, job, attempt=2)
        os.kill(children_of(worker)[-1], signal.SIGKILL)
        with pytest.raises(JobFailed) as caught:
            queue.wait(job.id, timeout_s=WAIT_S)
        assert caught.value.code == Code.ATTEMPTS_EXHAUSTED
        assert Code.WORKER_LOST in caught.value.hint
        with pytest.raises(JobFailed, match=Code.ATTEMPTS_EXHAUSTED):
            queue._app.AsyncResult(job.id).get(timeout=WAIT_S)
        outcome = queue.status(job.id).outcome
        assert outcome is not None
        assert outcome.data.labels == {"a": "b"}
        assert [letter.id for letter in queue.dead_letters()] == [job.id]
        after = job_of(photograph, 2)
        queue.submit(after)
        assert queue.wait(after.id, timeout_s=WAIT_S).steps == 2


def test_painting_past_the_time_limit(stack: Stack, settings: Settings, photograph: ImageRef) -> None:
    limits = {"STYLEQUEUE_JOB_TIME_LIMIT_S": "1", "STYLEQUEUE_MAX_ATTEMPTS": "1"}
    with fake_service(stack, settings, "slow", **limits) as (queue, _):
        job = job_of(photograph, ENDLESS)
        queue.submit(job)
        with pytest.raises(JobFailed) as caught:
            queue.wait(job.id, timeout_s=WAIT_S)
        assert caught.value.code == Code.ATTEMPTS_EXHAUSTED
        assert Code.TIME_LIMIT in caught.value.hint
        with pytest.raises(JobFailed, match=Code.TIME_LIMIT):
            queue._app.AsyncResult(job.id).get(timeout=WAIT_S)


def test_overtaken_while_painting(stack: Stack, settings: Settings, photograph: ImageRef) -> None:
    with fake_service(stack, settings, "overtaken") as (queue, worker):
        job = job_of(photograph, ENDLESS)
        until_painting(queue, job)
        mine = queue.status(job.id)
        assert queue.ledger.put_back(mine, error="taken away", delay_s=1000) == "queued"
        # The attempt stops by itself, and the worker takes the next job.
        after = job_of(photograph, 2)
        queue.submit(after)
        queue.wait(after.id, timeout_s=WAIT_S)
        assert queue.status(job.id).state == "queued"
        assert "is stale" in worker.log_text()


def test_cancelled_while_painting(stack: Stack, settings: Settings, photograph: ImageRef) -> None:
    with fake_service(stack, settings, "cancelled") as (queue, _):
        job = job_of(photograph, ENDLESS)
        until_painting(queue, job)
        queue.cancel(job.id)
        with pytest.raises(JobCancelled):
            queue.wait(job.id, timeout_s=WAIT_S)
        with pytest.raises(JobCancelled):
            queue._app.AsyncResult(job.id).get(timeout=WAIT_S)


def test_stopped_and_kept_while_painting(stack: Stack, settings: Settings, photograph: ImageRef) -> None:
    with fake_service(stack, settings, "kept") as (queue, _):
        job = job_of(photograph, ENDLESS)
        until_painting(queue, job)
        queue.cancel(job.id, keep=True)
        done = queue.wait(job.id, timeout_s=WAIT_S)
        assert done.partial
        assert 0 < done.steps < ENDLESS
        assert done.output.width_px == 64


@pytest.mark.parametrize("whom", ["parent", "group"])
def test_told_to_stop_while_painting(stack: Stack, settings: Settings, photograph: ImageRef, whom: str) -> None:
    with fake_service(stack, settings, "stopped") as (queue, worker):
        job = job_of(photograph, ENDLESS)
        until_painting(queue, job)
        if whom == "group":
            os.killpg(os.getpgid(worker.pid), signal.SIGTERM)
        else:
            os.kill(worker.pid, signal.SIGTERM)
        assert worker.wait(WAIT_S) == 0
        record = queue.status(job.id)
        assert (record.state, record.attempt) == ("queued", 1)
        assert "preempted" in str(record.last_error)
        assert [event.type for event in queue.ledger.job_events(job.id) if "failed" in event.type] == []
        assert queue.ledger.redis.llen("paint") == 1, "another worker's message"
        assert queue.ledger.redis.hlen("unacked") == 0


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
