"""One painting for one fingerprint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stylequeue.contract.job import Job
from stylequeue.ledger import Ledger, names
from stylequeue.ledger.names import (
    record_key,
)
from tests.support.jobs import make_job
from tests.support.ledger import FAILED, claim, keys, lose_lease


def woken(ledger: Ledger) -> list[str]:
    """Jobs for which a fresh message is due; taken."""
    return [due.job_id for due in ledger.take_due()]


def reserve(ledger: Ledger, job: Job, **how: Any) -> str:
    fence = claim(ledger, job).record.fence
    return ledger.reserve(job.id, fence=fence, fingerprint="f", **how).verdict


def test_what_is_painted_is_reused(ledger: Ledger) -> None:
    first, second, third = make_job(), make_job(), make_job()
    assert reserve(ledger, first) == "paint"
    ledger.finish(first.id, fence=1, data=FAILED, painted=json.dumps({"job_id": first.id}))
    assert reserve(ledger, second) == "reuse"
    assert reserve(ledger, third, forget=True) == "paint"


@pytest.mark.parametrize("spoilt", ["[" * 2000, "nonsense", "7", '{"job_id": 7}', ""])
def test_a_job_is_deleted_whatever_somebody_wrote_of_its_picture(ledger: Ledger, spoilt: str) -> None:
    job = make_job()
    assert reserve(ledger, job) == "paint"
    ledger.finish(job.id, fence=1, data=FAILED, painted=json.dumps({"job_id": job.id}))
    ledger.redis.set(names.painted_key("f"), spoilt, keepttl=True)
    ledger.delete(job.id)
    assert not ledger.redis.exists(record_key(job.id))
    assert ledger.redis.get(names.painted_key("f")) == spoilt, "it may be another's"


def test_what_is_being_painted_is_waited_for(ledger: Ledger) -> None:
    first, second = make_job(), make_job()
    assert reserve(ledger, first) == "paint"
    assert reserve(ledger, second) == "wait"
    assert ledger.record(second.id).state == "queued"
    assert ledger.take_due() == []
    assert second.id not in ledger.queued_task_ids(10), "it needs no message"
    ledger.finish(first.id, fence=1, data=FAILED)
    assert [due.job_id for due in ledger.take_due()] == [second.id]
    assert reserve(ledger, second) == "paint"
    assert ledger.record(second.id).attempt == 2


@pytest.mark.parametrize("harm", ["put back", "lease lost", "expired"])
def test_waiters_are_freed_when_the_painter_comes_to_harm(ledger: Ledger, harm: str) -> None:
    first, second = make_job(), make_job()
    assert reserve(ledger, first) == "paint"
    assert reserve(ledger, second) == "wait"
    if harm == "put back":
        ledger.put_back(ledger.record(first.id), error="harm", delay_s=1000)
    elif harm == "lease lost":
        lose_lease(ledger, first)
        claim(ledger, first)
    else:
        ledger.redis.hset(record_key(first.id), "deadline_ms", 1)
        ledger.expire(first.id)
    assert second.id in [due.job_id for due in ledger.take_due()]
    assert reserve(ledger, second) == "paint"


def test_many_waiters_are_woken_in_measure(ledger: Ledger) -> None:
    painter, *waiters = [make_job() for _ in range(31)]
    for job in (painter, *waiters):
        assert reserve(ledger, job) == ("paint" if job is painter else "wait")
    ledger.finish(painter.id, fence=1, data=FAILED, painted=json.dumps({"job_id": painter.id}))
    by_id = {job.id: job for job in waiters}
    at_once = []
    while ids := woken(ledger):
        at_once.append(len(ids))
        for job_id in ids:
            assert reserve(ledger, by_id.pop(job_id)) == "reuse"
            ledger.finish(job_id, fence=ledger.record(job_id).fence, data=FAILED)
    assert at_once == [1, 2, 4, 8, 15], "each that came wakes two, until all have come"
    assert not by_id


@pytest.mark.parametrize("end", ["cancelled", "expired", "failed before it asked", "another picture"])
def test_whoever_was_woken_and_does_not_come_wakes_another(ledger: Ledger, end: str) -> None:
    painter, *waiters = [make_job() for _ in range(4)]
    for job in (painter, *waiters):
        reserve(ledger, job)
    ledger.put_back(ledger.record(painter.id), error="harm", delay_s=1000)
    [first] = woken(ledger)
    if end == "cancelled":
        ledger.cancel(first, keep=False)
    elif end == "expired":
        ledger.redis.hset(names.record_key(first), "deadline_ms", 1)
        ledger.expire(first)
    else:
        taken = claim(ledger, next(job for job in waiters if job.id == first)).record
        if end == "another picture":
            ledger.reserve(first, fence=taken.fence, fingerprint="another")
        else:
            ledger.finish(first, fence=taken.fence, data=FAILED)
    [second] = woken(ledger)
    assert second in {job.id for job in waiters} - {first}
    assert reserve(ledger, next(job for job in waiters if job.id == second)) == "paint"
    assert woken(ledger) == []


def test_waiters_whose_records_are_gone_stand_in_nobodys_way(ledger: Ledger) -> None:
    """Redis may have had too little memory."""
    painter, *gone, there = [make_job() for _ in range(6)]
    for job in (painter, *gone, there):
        reserve(ledger, job)
    ledger.redis.delete(*(record_key(job.id) for job in gone))
    ledger.finish(painter.id, fence=1, data=FAILED)
    assert woken(ledger) == [there.id]
    assert ledger.redis.exists(*(record_key(job.id) for job in gone)) == 0, "no more than before"
    # Of what is gone much is left.
    ledger.redis.flushdb()


def test_a_waiter_can_be_cancelled(ledger: Ledger) -> None:
    first, second = make_job(), make_job()
    reserve(ledger, first)
    reserve(ledger, second)
    ledger.cancel(second.id, keep=False)
    ledger.finish(first.id, fence=1, data=FAILED)
    assert ledger.take_due() == []
    assert {key for key in keys(ledger) if "waiters" in key or "painting" in key} == set()
