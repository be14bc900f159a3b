"""What becomes of a job when its worker process comes to harm. The painter is fake, everything else is real."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from stylequeue.errors import Code, JobCancelled, JobExpired, JobFailed
from stylequeue.events import Progress
from stylequeue.job import checkpoint_key, preview_key, work_keys
from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.support.deployment import ENDLESS, WAIT_S, Deployment
from tests.support.processes import child_of, kill, wait_for


def test_killed_while_painting(deployment: Deployment) -> None:
    """Every attempt is killed: tried again, until the attempts are used up; the worker and its other jobs go on."""
    worker, queue = deployment.worker("killed", max_attempts=2), deployment.queue
    job = deployment.job(ENDLESS, labels={"a": "b"})
    queue.submit(job)
    deployment.until_painting(job)
    kill(child_of(worker))
    deployment.until_painting(job, attempt=2)
    kill(child_of(worker))
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
    after = deployment.job(2)
    queue.submit(after)
    assert queue.wait(after.id, timeout_s=WAIT_S).steps == 2


def test_going_on_from_the_checkpoint(deployment: Deployment) -> None:
    worker = deployment.worker("resumed", checkpoint_interval_s=0.05, preview_interval_s=0.05)
    queue, job = deployment.queue, deployment.job(600)
    queue.submit(job)
    work_bucket = deployment.settings.work_bucket
    saved = partial(queue.store.exists, work_bucket, checkpoint_key(job.id))
    wait_for(saved, WAIT_S, "a checkpoint")
    assert any(isinstance(event, Progress) and event.data.preview for event in queue.watch(job.id, timeout_s=WAIT_S))
    preview = queue.store.read_work(preview_key(job.id), max_bytes=10**6)
    assert preview[8:12] == b"WEBP"
    kill(child_of(worker))
    queue.wait(job.id, timeout_s=WAIT_S)
    again = [
        event.data.step
        for event in queue.watch(job.id)
        if isinstance(event, Progress) and event.data.attempt == 2 and event.data.step
    ]
    assert again[0] > 2, "not from the beginning"
    assert again[-1] == 600
    for key in work_keys(job.id):
        assert not queue.store.exists(work_bucket, key), "nothing is left behind"


def test_painting_past_the_time_limit(deployment: Deployment) -> None:
    deployment.worker("slow", job_time_limit_s=1, max_attempts=1)
    queue = deployment.queue
    job = deployment.job(ENDLESS)
    queue.submit(job)
    with pytest.raises(JobFailed) as caught:
        queue.wait(job.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.ATTEMPTS_EXHAUSTED
    assert Code.TIME_LIMIT in caught.value.hint
    with pytest.raises(JobFailed, match=Code.TIME_LIMIT):
        queue._app.AsyncResult(job.id).get(timeout=WAIT_S)


def test_overtaken_while_painting(deployment: Deployment) -> None:
    worker, queue = deployment.worker("overtaken"), deployment.queue
    job = deployment.job(ENDLESS)
    queue.submit(job)
    deployment.until_painting(job)
    mine = queue.status(job.id)
    assert queue.ledger.put_back(mine, error="taken away", delay_s=1000) == "queued"
    # The attempt stops by itself, and the worker takes the next job.
    after = deployment.job(2)
    queue.submit(after)
    queue.wait(after.id, timeout_s=WAIT_S)
    assert queue.status(job.id).state == "queued"
    assert "is stale" in worker.log_text()


def test_cancelled_while_painting(deployment: Deployment) -> None:
    deployment.worker("cancelled")
    queue = deployment.queue
    job = deployment.job(ENDLESS)
    queue.submit(job)
    deployment.until_painting(job)
    queue.cancel(job.id)
    with pytest.raises(JobCancelled):
        queue.wait(job.id, timeout_s=WAIT_S)
    with pytest.raises(JobCancelled):
        queue._app.AsyncResult(job.id).get(timeout=WAIT_S)


def test_stopped_and_kept_while_painting(deployment: Deployment) -> None:
    deployment.worker("kept")
    queue = deployment.queue
    job = deployment.job(ENDLESS)
    queue.submit(job)
    deployment.until_painting(job)
    queue.cancel(job.id, keep=True)
    done = queue.wait(job.id, timeout_s=WAIT_S)
    assert done.partial
    assert 0 < done.steps < ENDLESS
    assert done.output.width_px == 64


@pytest.mark.parametrize("whom", ["parent", "group"])
def test_told_to_stop_while_painting(deployment: Deployment, whom: str) -> None:
    worker, queue = deployment.worker("stopped"), deployment.queue
    job = deployment.job(ENDLESS)
    queue.submit(job)
    deployment.until_painting(job)
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


def test_deadline_while_painting(deployment: Deployment) -> None:
    deployment.worker("overdue")
    queue = deployment.queue
    job = deployment.job(ENDLESS)
    queue.submit(job)
    deployment.until_painting(job)
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
    wait_for(lambda: not worker.running, WAIT_S, "the worker to stop")
    assert "no model today" in worker.log_text()
    worker.stop()
