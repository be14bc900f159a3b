"""Faults 5, 6 and 12: workers that are told to stop, and what that needs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.contract.errors import Code
from tests.support.deployment import HURRIED, UNLIMITED, WAIT_S, Deployment
from tests.support.fake_worker import START_TIMEOUT_S
from tests.support.painting import (
    STEPS,
    painting,
    steps_of,
    submit,
    works,
)
from tests.support.processes import living_group, wait_for
from tests.support.proxy import Proxy


@pytest.fixture
def deployment(deployment: Deployment) -> Deployment:
    """Where nothing takes long."""
    deployment.configure(**HURRIED)
    return deployment


@pytest.mark.parametrize(
    "whom",
    [pytest.param("parent", marks=pytest.mark.slow), pytest.param("group", marks=pytest.mark.slow), "group twice"],
)
def test_05_told_to_stop_while_painting(deployment: Deployment, whom: str) -> None:
    worker = deployment.worker()
    job = painting(deployment)
    told_at = time.monotonic()
    for _ in range(2 if "twice" in whom else 1):
        if "group" in whom:
            os.killpg(os.getpgid(worker.pid), signal.SIGTERM)
        else:
            os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(WAIT_S) == 0
    assert time.monotonic() - told_at < deployment.settings.grace_s
    record = deployment.queue.status(job.id)
    assert (record.state, record.attempt) == ("queued", 1)
    assert Code.PREEMPTED in str(record.last_error)
    assert [event.type for event in deployment.queue._ledger.job_events(job.id) if "failed" in event.type] == []
    assert deployment.queue._ledger.redis.llen("paint") == 1, "another worker's message"
    assert deployment.queue._ledger.redis.hlen("unacked") == 0
    deployment.worker("next", max_attempts=1)
    assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == STEPS
    assert steps_of(deployment, job, attempt=2)[0] > steps_of(deployment, job, attempt=1)[-1], "nothing twice"
    deployment.check(job)


@pytest.mark.slow
def test_06_told_to_stop_while_downloading(deployment: Deployment, store_proxy: Proxy) -> None:
    worker = deployment.worker(store=store_proxy)
    image = deployment.photograph
    held = store_proxy.hold(f"GET /{image.bucket}/{image.key}".encode())
    job = submit(deployment)
    held.wait(WAIT_S)
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait_for_line("Warm shutdown", WAIT_S)
    held.release()
    assert worker.wait(WAIT_S) == 0
    assert deployment.queue.status(job.id).state == "queued"
    deployment.worker("next")
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)


@pytest.mark.slow
def test_06_told_to_stop_while_uploading(deployment: Deployment, store_proxy: Proxy) -> None:
    """What is done but for the upload is finished."""
    worker = deployment.worker(store=store_proxy)
    job = deployment.job(2)
    held = store_proxy.hold(f"PUT /{job.output.bucket}/{job.output_key}".encode())
    deployment.queue.submit(job)
    held.wait(WAIT_S)
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait_for_line("Warm shutdown", WAIT_S)
    held.release()
    assert worker.wait(WAIT_S) == 0
    assert deployment.queue.status(job.id).state == "succeeded"
    deployment.check(job)


@pytest.mark.slow
@pytest.mark.parametrize(("at", "status"), [("GET", 0), ("PUT", 128 + signal.SIGKILL)])
def test_06_told_to_stop_while_the_store_hangs(
    deployment: Deployment, store_proxy: Proxy, at: str, status: int
) -> None:
    """Reading is given up at once. For a picture that is painted there is time, but not for ever: then the parent puts
    the job back itself, and takes the child along.
    """
    deployment.configure(job_time_limit_s=60, visibility_timeout_s=120)
    worker = deployment.worker(store=store_proxy, grace_s=3)
    job = deployment.job(2)
    key = f"{job.content.bucket}/{job.content.key}" if at == "GET" else f"{job.output.bucket}/{job.output_key}"
    held = store_proxy.hold(f"{at} /{key}".encode())
    deployment.queue.submit(job)
    held.wait(WAIT_S)
    told_at = time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(WAIT_S) == status
    assert time.monotonic() - told_at < 5 * 3
    wait_for(lambda: not living_group(worker.pid), WAIT_S, "the child to end")
    record = deployment.queue.status(job.id)
    assert record.state == "queued"
    assert Code.PREEMPTED in str(record.last_error)
    deployment.worker("next", max_attempts=1)
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)


def test_06_told_to_stop_while_idle(deployment: Deployment) -> None:
    deployment.configure(**UNLIMITED)
    worker = deployment.worker()
    job = works(deployment)
    deployment.until_told(job)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(WAIT_S) == 0
    deployment.check(job)


@pytest.mark.slow
def test_06_told_to_stop_while_warming_up(deployment: Deployment, tmp_path: Path) -> None:
    """Its parent has a message already."""
    go_on = tmp_path / "go-on"
    (tmp_path / "slow_to_warm_up.py").write_text(
        "import pathlib, time\n"
        "from stylequeue.settings import Settings\n"
        "from stylequeue_worker.process.app import make_worker_app\n"
        "from tests.support.fake_painter import FakePainter\n"
        "def load_engine(settings):\n"
        f"    while not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.02)\n"
        "    return FakePainter()\n"
        "app = make_worker_app(Settings.load(), module=__name__, load_engine=load_engine)\n"
    )
    job = submit(deployment)
    worker = deployment.start("slow", app="slow_to_warm_up", python_path=tmp_path)
    wait_for(lambda: deployment.queue._ledger.redis.hlen("unacked") == 1, WAIT_S, "the message to be taken")
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait_for_line("Warm shutdown", WAIT_S)
    go_on.touch()
    assert worker.wait(WAIT_S) == 0
    assert deployment.queue.status(job.id).state == "queued"
    deployment.worker("next", max_attempts=1)
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)


def with_temporary_files_in(directory: Path, python_path: Path) -> Path:
    """A directory that, among Python's paths, makes all programs have their temporary files there."""
    (python_path / "sitecustomize.py").write_text(f"import tempfile\ntempfile.tempdir = {str(directory)!r}\n")
    return python_path


@pytest.mark.slow
def test_12_no_directory_for_temporary_files(deployment: Deployment, tmp_path: Path) -> None:
    """A worker that could not be told to stop does not start: it is not ready, and jobs wait for one that is."""
    job = submit(deployment, 2)
    worker = deployment.start("homeless", python_path=with_temporary_files_in(tmp_path / "nowhere", tmp_path))
    assert worker.wait(START_TIMEOUT_S) != 0
    assert (
        "this worker does not start: [invalid_settings] it needs a directory for temporary files" in worker.log_text()
    )
    assert READY_FOR_JOBS not in worker.log_text()
    assert deployment.queue.status(job.id).state == "queued"
    deployment.worker("housed")
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)


@pytest.mark.slow
def test_12_disk_gone_when_told_to_stop(deployment: Deployment, tmp_path: Path) -> None:
    """The child cannot be told: the parent puts the job back for it, within the grace period."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    worker = deployment.start("cut-off", python_path=with_temporary_files_in(temporary, tmp_path), grace_s=3)
    job = painting(deployment, STEPS * 2)
    shutil.rmtree(temporary)
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait(WAIT_S)
    record = deployment.queue.status(job.id)
    assert record.state == "queued"
    assert Code.PREEMPTED in str(record.last_error)
    deployment.worker("next", max_attempts=1)
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)
