"""`stylequeue workers` and `stylequeue queues`."""

from __future__ import annotations

import json

import pytest

from stylequeue.client import StyleQueue
from stylequeue.local import environment
from stylequeue.settings import Settings
from tests.ledger.test_registry import live_worker
from tests.support.command import BAD_INPUT, Command
from tests.support.jobs import make_job

NAME = "one@here"


@pytest.fixture
def command(settings: Settings) -> Command:
    return Command(environment(settings))


def test_workers(command: Command, queue: StyleQueue) -> None:
    assert "no workers" in command("workers", "list").stderr
    register = queue._ledger.registry.register
    register(live_worker(NAME, job="j", step=3, steps=10, steps_per_s=2.5, jobs_done=7))
    said = command("workers", "list")
    assert f"{NAME}  job j step 3/10, 2.5 steps/s, 7 done" in said.stdout
    assert said.stderr == ""
    register(live_worker("two@here", version="0.9"))
    assert "1 of 0.9, 1 of 1.0" in command("workers", "list").stderr
    assert "drained" in command("workers", "drain", NAME).stdout
    assert json.loads(command("workers", "drain", NAME, "--checkpoint", "--json").stdout)["draining"] == "checkpoint"
    assert [worker["draining"] for worker in json.loads(command("workers", "list", "--json").stdout)] == [
        "checkpoint",
        None,
    ]
    assert "drained" not in command("workers", "undrain", NAME).stdout
    assert "nobody" in command("workers", "drain", "nobody", exit_code=BAD_INPUT).stderr


def test_queues(command: Command, queue: StyleQueue) -> None:
    queue.submit_many([make_job(), make_job()])
    assert "(paused)" in command("queues", "pause", "paint").stdout
    fast, paint, bulk = command("queues", "list").stdout.splitlines()
    assert paint.startswith("paint (paused)  2 waiting, 0 running")
    assert (fast.split()[0], bulk.split()[0]) == ("fast", "bulk")
    assert not json.loads(command("queues", "resume", "paint", "--json").stdout)["paused"]
    assert [load["load"] for load in json.loads(command("queues", "list", "--json").stdout)] == [0, 2, 0]
    command("queues", "pause", "celery", exit_code=BAD_INPUT)
