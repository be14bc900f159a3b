"""What becomes of a job when its worker process comes to harm. The painter is fake, everything else is real."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from stylequeue.errors import JobCancelled, JobExpired
from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.support.deployment import ENDLESS, WAIT_S, Deployment
from tests.support.processes import wait_for


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
    assert 0 < done.report.steps < ENDLESS
    assert done.output.width_px == 64


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
