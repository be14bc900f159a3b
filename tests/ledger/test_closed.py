"""Queues that nobody takes from, and workers that take nothing."""

from __future__ import annotations

import pytest

from stylequeue.awaiting import run
from stylequeue.contract.job import Job
from stylequeue.ledger import Ledger, fleet
from stylequeue.ledger.names import drain_key
from stylequeue.ledger.registry import DRAINED_S, Heard
from tests.ledger.test_registry import due, live_worker
from tests.support.jobs import make_job
from tests.support.ledger import claim, lose_lease

WORKER = "tester"


@pytest.fixture
def job(ledger: Ledger) -> Job:
    job = make_job()
    ledger.accept([job])
    return job


def test_nobody_claims_from_a_paused_queue(ledger: Ledger, job: Job) -> None:
    other = make_job(queue="bulk")
    run(fleet.pause(ledger.asked, "paint"))
    assert ledger.accept([make_job()])[0].verdict == "new", "jobs are handed in as before"
    assert claim(ledger, job).verdict == "closed"
    assert claim(ledger, other).verdict == "yours"
    record = ledger.record(job.id)
    assert (record.state, record.attempt) == ("queued", 0)
    assert ledger.queued_task_ids(10).keys().isdisjoint({job.id}), "a message of it is to come"
    assert due(ledger) == [], "though not at once"
    run(fleet.resume(ledger.asked, "paint"))
    assert claim(ledger, job).verdict == "yours"


def test_who_paints_when_its_queue_is_paused_goes_on(ledger: Ledger, job: Job) -> None:
    fence = claim(ledger, job).record.fence
    run(fleet.pause(ledger.asked, "paint"))
    assert ledger.heartbeat(job.id, fence=fence) == "go_on"
    lose_lease(ledger, job)
    assert claim(ledger, job).verdict == "held", "a keeper puts it back"
    assert ledger.put_back(ledger.record(job.id), error="gone", late=True) == "queued"
    assert claim(ledger, job).verdict == "closed"


def test_a_drained_worker_claims_nothing_and_others_may_at_once(ledger: Ledger, job: Job) -> None:
    run(fleet.drain(ledger.asked, WORKER, "finish"))
    assert claim(ledger, job).verdict == "closed"
    assert due(ledger) == [job.id]
    assert ledger.claim(job, task_id=job.id, worker="another").verdict == "yours"
    assert run(fleet.undrain(ledger.asked, WORKER))
    assert not run(fleet.undrain(ledger.asked, WORKER))
    assert claim(ledger, make_job()).verdict == "yours"


def test_what_becomes_of_the_job_that_a_drained_worker_has(ledger: Ledger, job: Job) -> None:
    fence = claim(ledger, job).record.fence
    run(fleet.drain(ledger.asked, WORKER, "finish"))
    assert ledger.heartbeat(job.id, fence=fence) == "go_on"
    run(fleet.drain(ledger.asked, WORKER, "checkpoint"))
    assert ledger.heartbeat(job.id, fence=fence) == "leave"
    ledger.cancel(job.id, keep=False)
    assert ledger.heartbeat(job.id, fence=fence) == "cancel", "what its sender wants comes first"


def test_workers_hear_of_it_and_the_registry_shows_it(ledger: Ledger) -> None:
    worker = live_worker(WORKER)
    assert ledger.registry.register(worker) == Heard(0, None, frozenset())
    run(fleet.pause(ledger.asked, "bulk"))
    run(fleet.pause(ledger.asked, "fast"))
    run(fleet.drain(ledger.asked, WORKER, "checkpoint"))
    assert [found.draining for found in ledger.registry.workers()] == ["checkpoint"], "before it has heard of that"
    assert ledger.registry.register(worker) == Heard(0, "checkpoint", frozenset({"bulk", "fast"}))


def test_a_worker_is_drained_for_as_long_as_it_is_heard_of(ledger: Ledger) -> None:
    run(fleet.drain(ledger.asked, WORKER, "finish"))
    ledger.redis.expire(drain_key(WORKER), 10)
    ledger.registry.register(live_worker(WORKER))
    assert int(ledger.redis.ttl(drain_key(WORKER))) > DRAINED_S - 100


def test_nothing_is_estimated_of_drained_workers(ledger: Ledger) -> None:
    ledger.registry.register(live_worker(WORKER))
    assert run(ledger.asked.begins_s("paint")) == 0
    run(fleet.drain(ledger.asked, WORKER, "finish"))
    assert run(ledger.asked.begins_s("paint")) is None
