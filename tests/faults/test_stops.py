"""Fault 52: every stop that is not a warm one. The job is back on the queue, uncharged, within the grace."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.contract.errors import Code, ExitCode
from stylequeue.contract.job import Job
from stylequeue.local import Process
from tests.support.deployment import ENDLESS, WAIT_S, Deployment
from tests.support.fake_worker import START_TIMEOUT_S
from tests.support.painting import wait_for_checkpoint
from tests.support.processes import child_of, living_group, pause, processes_below, wait_for

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {"lease_s": 6, "heartbeat_s": 1, "keeper_interval_s": 0.5, "checkpoint_interval_s": 0.2}
STEPS = 400
HURRIED_S = 5
"""In which a worker has ended that was told twice."""
KILLED = 128 + signal.SIGKILL
ALONE = ["unshare", "--user", "--map-user=54321", "--map-group=54321", "--pid", "--fork", "--kill-child"]
"""As in a container: the first process, of a user that nobody knows."""


@pytest.fixture
def deployment(deployment: Deployment) -> Deployment:
    deployment.configure(**SETTINGS)
    return deployment


def painting(deployment: Deployment, steps: int = STEPS) -> Job:
    job = deployment.job(steps)
    deployment.queue.submit(job)
    deployment.until_painting(job)
    return job


def assert_put_back(deployment: Deployment, job: Job) -> None:
    """And nothing is lost: another worker has but one attempt for it."""
    record = deployment.queue._ledger.record(job.id)
    assert (record.state, record.attempt, record.spared) == ("queued", 1, 1)
    assert Code.PREEMPTED in str(record.last_error)
    assert deployment.queue._ledger.redis.llen("paint") == 1
    assert not deployment.queue._ledger.redis.exists("unacked")
    deployment.worker("next", max_attempts=1)
    assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == STEPS
    deployment.check(job)


def stop(worker: Process, *signals: signal.Signals) -> float:
    """Send them to the whole group, as a terminal does; the seconds until the end."""
    told_at = time.monotonic()
    for number in signals:
        os.killpg(os.getpgid(worker.pid), number)
        time.sleep(0.2)
    worker.wait(WAIT_S)
    return time.monotonic() - told_at


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_52_stopped_once(deployment: Deployment, number: signal.Signals, tmp_path: Path) -> None:
    """A closed terminal, Ctrl-C: as SIGTERM, with a checkpoint."""
    alive = tmp_path / "alive"
    worker = deployment.worker(health_file=alive)
    job = painting(deployment)
    before = alive.stat().st_mtime
    wait_for(lambda: alive.stat().st_mtime > before, WAIT_S, "the health file to be made fresh while a job is painted")
    assert stop(worker, number) < deployment.settings.grace_s
    assert worker.wait(1) == ExitCode.DONE
    assert deployment.queue._ledger.record(job.id).state == "queued"
    assert "Warm shutdown" in worker.log_text()
    assert not alive.exists()
    assert_put_back(deployment, job)


@pytest.mark.parametrize(
    "signals", [(signal.SIGQUIT,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGQUIT)]
)
def test_52_stopped_in_a_hurry(deployment: Deployment, signals: tuple[signal.Signals, ...]) -> None:
    """Nobody waits for a child that may hang: it is held here, and does nothing more."""
    worker = deployment.worker(grace_s=60)
    job = painting(deployment)
    pause(child_of(worker))
    assert stop(worker, *signals) < HURRIED_S
    assert worker.wait(1) == KILLED
    wait_for(lambda: not living_group(worker.pid), WAIT_S, "the child to end")
    assert_put_back(deployment, job)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_52_remapped(deployment: Deployment, number: signal.Signals) -> None:
    """Celery's own variable for what SIGTERM means is not heeded."""
    worker = deployment.start("remapped", env={"REMAP_SIGTERM": "SIGQUIT"})
    job = painting(deployment)
    assert stop(worker, number) < deployment.settings.grace_s
    assert worker.wait(1) == (ExitCode.DONE if number == signal.SIGTERM else KILLED)
    assert_put_back(deployment, job)


def test_52_in_a_step_that_takes_longer_than_the_grace_period(deployment: Deployment) -> None:
    """It cannot be waited for; the step before it is saved meanwhile, however long ago anything was."""
    deployment.configure(grace_s=6, checkpoint_interval_s=3600)
    worker = deployment.start("slow", app="stylequeue_worker.stand_in", env={"_STYLEQUEUE_STAND_IN_STEP_S": "20"})
    job = painting(deployment)
    assert stop(worker, signal.SIGTERM) < deployment.settings.grace_s
    assert worker.wait(1) == KILLED
    assert wait_for_checkpoint(deployment, job) == 1
    assert_put_back(deployment, job)


def test_52_ignored_under_nohup(deployment: Deployment) -> None:
    worker = deployment.start("nohup", within=["nohup"])
    job = painting(deployment, ENDLESS)
    os.killpg(os.getpgid(worker.pid), signal.SIGHUP)
    before = deployment.queue.status(job.id).progress
    assert before

    def has_gone_on() -> bool:
        now = deployment.queue.status(job.id).progress
        return bool(now and (now.data.step or 0) > (before.data.step or 0) + 50)

    wait_for(has_gone_on, WAIT_S, "the painting to go on")
    assert deployment.queue.status(job.id).attempt == 1
    assert stop(worker, signal.SIGTERM) < deployment.settings.grace_s


@pytest.mark.skipif(
    subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode != 0,
    reason="this machine gives no namespaces to those who ask",
)
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, ExitCode.DONE), (signal.SIGINT, ExitCode.DONE), (signal.SIGHUP, 0), (signal.SIGQUIT, KILLED)],
)
def test_52_as_the_first_process_of_a_nobody_without_a_home(
    deployment: Deployment, number: signal.Signals, status: int
) -> None:
    """The first process of a container hears only what it listens to, and cannot be killed from within."""
    outside = deployment.start("alone", within=[*ALONE, "env", "-u", "HOME"])
    outside.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
    job = painting(deployment)
    [worker, *_] = processes_below(outside.pid)
    told_at = time.monotonic()
    os.kill(worker, number)
    assert outside.wait(WAIT_S) == status
    assert time.monotonic() - told_at < deployment.settings.grace_s
    assert_put_back(deployment, job)


def test_52_told_twice_while_idle(deployment: Deployment) -> None:
    worker = deployment.worker()
    assert stop(worker, signal.SIGTERM, signal.SIGTERM) < deployment.settings.grace_s
    assert worker.wait(1) == ExitCode.DONE


def test_52_the_group_is_told_while_the_child_is_being_started(deployment: Deployment) -> None:
    """The child is not hurt by what only its parent understands, from its first moment on."""
    job = deployment.job(STEPS)
    deployment.queue.submit(job)
    worker = deployment.start("early")
    redis = deployment.queue._ledger.redis
    wait_for(partial(redis.hlen, "unacked"), WAIT_S, "the message to be taken")
    assert stop(worker, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1) < deployment.settings.grace_s + HURRIED_S
    record = deployment.queue._ledger.record(job.id)
    assert record.state == "queued"
    assert record.attempt == record.spared
    assert redis.llen("paint") == 1
    assert "exited with" not in worker.log_text()
