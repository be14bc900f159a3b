"""Workers and queues, as an operator looks after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import InvalidRequest, WorkerNotFound
from tests.ledger.test_registry import live_worker
from tests.support.jobs import make_job
from tests.support.ledger import claim

NAME = "one@here"


def test_who_works_and_what_each_is_at(queue: StyleQueue) -> None:
    at_work = live_worker(NAME, job="j", step=3, steps=10, steps_per_s=2.5, jobs_done=7, stage_s={"paint": 9.5})
    other = live_worker("two@here", version="0.9")
    for worker in (at_work, other):
        queue._ledger.registry.register(worker)
    assert queue.fleet() == [at_work, other]
    assert queue.workers() == [NAME, "two@here"]


def test_a_worker_is_drained_and_undrained(queue: StyleQueue) -> None:
    registry = queue._ledger.registry
    registry.register(live_worker(NAME))
    for checkpoint, said in [(False, "finish"), (True, "checkpoint")]:
        queue.drain(NAME, checkpoint=checkpoint)
        assert queue.fleet()[0].draining == said
    assert queue.load("paint").workers == 0
    queue.undrain(NAME)
    queue.undrain(NAME)
    assert queue.fleet()[0].draining is None
    assert queue.load("paint").workers == 1
    queue.drain(NAME)
    registry.unregister(NAME)
    queue.undrain(NAME)
    for call in (queue.drain, queue.undrain):
        with pytest.raises(WorkerNotFound):
            call(NAME)


def test_a_queues_load(queue: StyleQueue) -> None:
    jobs = [make_job() for _ in range(3)]
    queue.submit_many(jobs)
    claim(queue._ledger, jobs[0])
    queue._ledger.registry.register(live_worker(NAME))
    load = queue.load("paint")
    assert (load.queue, load.waiting, load.running, load.load, load.workers) == ("paint", 2, 1, 3, 1)
    assert load.oldest_s is not None
    assert load.eta_s is None, "the worker has painted nothing, and cannot say"
    assert not load.paused
    queue.pause("paint")
    queue.pause("paint")
    paused = queue.load("paint")
    assert (paused.paused, paused.waiting, paused.load) == (True, 2, 1), "more workers would change nothing"
    queue.resume("paint")
    queue.resume("paint")
    assert queue.load("paint").load == 3
    assert queue.load("bulk").load == 0


CALLS: dict[str, Callable[[StyleQueue], Any]] = {
    "fleet": lambda queue: queue.fleet(),
    "drain": lambda queue: queue.drain(NAME),
    "undrain": lambda queue: queue.undrain(NAME),
    "pause": lambda queue: queue.pause("paint"),
    "resume": lambda queue: queue.resume("paint"),
    "load": lambda queue: queue.load("paint"),
    "census": lambda queue: queue.census(),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_is_no_tenants_affair(queue: StyleQueue, name: str) -> None:
    queue._ledger.registry.register(live_worker(NAME))
    with pytest.raises(InvalidRequest, match="tenant"):
        CALLS[name](queue.for_tenant("acme"))
    assert queue.fleet()[0].draining is None
    assert not queue.load("paint").paused


@pytest.mark.parametrize("call", ["pause", "resume", "load"])
def test_there_are_no_other_queues(queue: StyleQueue, call: str) -> None:
    with pytest.raises(InvalidRequest, match="celery"):
        getattr(queue, call)("celery")
