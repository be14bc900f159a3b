"""What `stylequeue probe` says of a worker to whom something is done."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from stylequeue.broker.app import READY_FOR_JOBS
from tests.faults.conftest import Own
from tests.support.deployment import HURRIED, WAIT_S, Deployment
from tests.support.fake_worker import START_TIMEOUT_S
from tests.support.processes import pause, resume, wait_for
from tests.support.proxy import Proxy

STILL_S = 120
"""Longer than a worker may stand still."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path / "alive"


def says(path: Path, probe: str) -> str:
    """What the command answers."""
    command = [sys.executable, "-m", "stylequeue.cli", "probe", probe, str(path)]
    done = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("no: " if done.returncode else "yes"), done.stderr
    return done.stdout.strip()


def is_(path: Path, probe: str) -> bool:
    return says(path, probe) == "yes"


def until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    wait_for(condition, timeout_s, what)


@pytest.mark.slow
def test_from_its_start_through_an_outage_of_redis_to_its_end(
    deployment: Deployment, redis_proxy: Proxy, path: Path
) -> None:
    deployment.configure(**HURRIED)
    worker = deployment.start("fake", redis=redis_proxy, health_file=path)
    until(path.exists, "the file")
    until(lambda: path.read_text(), "its first words")
    assert is_(path, "live")
    worker.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
    until(partial(is_, path, "started"), "its start")
    until(partial(is_, path, "ready"), "it to be ready")
    redis_proxy.refuse()
    until(lambda: "Redis does not answer" in says(path, "ready"), "it to be no longer ready")
    off_since, tries, said = time.monotonic(), 0, path.read_text()
    while tries < 2 or time.monotonic() - off_since < 10 * deployment.settings.heartbeat_s:
        until(lambda said=said: path.read_text() != said, "another try to connect")  # type: ignore[misc]
        said, tries = path.read_text(), tries + 1
        assert is_(path, "live")
        assert not is_(path, "ready")
    redis_proxy.heal()
    until(partial(is_, path, "ready"), "it to be ready again", STILL_S)
    deployment.queue.drain(deployment.queue.workers()[0])
    until(lambda: says(path, "ready") == "no: it is drained", "it to hear of that")
    assert is_(path, "live")


@pytest.mark.slow
def test_one_that_begins_while_redis_is_away_is_started(deployment: Deployment, redis_proxy: Proxy, path: Path) -> None:
    """Whoever restarts what does not start in time would restart a sound worker for the whole outage."""
    deployment.configure(**HURRIED)
    redis_proxy.refuse()
    worker = deployment.start("fake", redis=redis_proxy, health_file=path)
    worker.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
    until(partial(is_, path, "started"), "its start")
    assert is_(path, "live")
    assert "Redis does not answer" in says(path, "ready")
    assert deployment.queue.workers() == []
    redis_proxy.heal()
    until(partial(is_, path, "ready"), "it to be ready", STILL_S)


@pytest.mark.slow
def test_a_parent_that_stands_still_is_dead(deployment: Deployment, path: Path) -> None:
    worker = deployment.worker(health_file=path)
    until(partial(is_, path, "ready"), "it to be ready")
    pause(worker.pid)
    until(lambda: not is_(path, "live"), "it to be dead", STILL_S)
    resume(worker.pid)
    until(partial(is_, path, "ready"), "it to be ready again")


@pytest.mark.slow
def test_a_consumer_that_is_deaf_after_a_restart_of_redis(own: Own, path: Path) -> None:
    worker = own.deployment.start("deaf", app="tests.support.deaf_worker", health_file=path)
    worker.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
    until(partial(is_, path, "ready"), "it to be ready")
    own.valkey.restart()
    until(lambda: "takes no messages" in says(path, "ready"), "it to be not ready")
    assert is_(path, "live")
    until(lambda: "though Redis answers" in says(path, "live"), "it to be dead", 2 * STILL_S)
