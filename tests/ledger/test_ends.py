"""Ends that nobody painted for: cancelled, expired, deleted."""

from __future__ import annotations

import pytest

from stylequeue.contract.errors import JobNotFound, JobOpen, LeaseLost
from stylequeue.contract.events import ExpiredData, ProgressData
from stylequeue.ledger import Ledger
from stylequeue.ledger.answers import Overdue
from stylequeue.ledger.names import (
    COUNTERS_KEY,
    EVENTS_KEY,
    gone_key,
    record_key,
)
from stylequeue.settings import Settings
from tests.support.jobs import make_job
from tests.support.ledger import FAILED, claim, keys, limited, lose_lease, types


def test_a_job_past_its_deadline_expires_unpainted(ledger: Ledger) -> None:
    job = make_job(deadline="2020-01-01T00:00:00Z")
    ledger.accept([job])
    assert claim(ledger, job).record.state == "expired"
    assert types(ledger, job) == ["accepted", "expired"]


def test_a_deadline_that_passes_while_painting_is_told(settings: Settings) -> None:
    ledger = limited(settings, job_deadline_s=0)
    job = make_job(deadline="2100-01-01T00:00:00Z")
    fence = claim(ledger, job).record.fence
    ledger.redis.hset(record_key(job.id), "deadline_ms", 1)
    assert ledger.heartbeat(job.id, fence=fence, data=ProgressData(number=1, stage="painting")) == "overdue"
    ledger.finish(job.id, fence=fence, data=ExpiredData.late())
    assert ledger.record(job.id).state == "expired"


def test_a_deleted_id_that_comes_again_goes_on_where_it_was(ledger: Ledger) -> None:
    job = make_job()
    stale = claim(ledger, job).record
    ledger.finish(job.id, fence=stale.fence, data=FAILED)
    before = {event.id for event in ledger.job_events(job.id)}
    ledger.delete(job.id)
    ledger.accept([job])
    fresh = claim(ledger, job).record
    assert (fresh.run, fresh.attempt) == (stale.run + 1, 1)
    assert fresh.sequence > stale.sequence
    with pytest.raises(LeaseLost):
        ledger.finish(job.id, fence=stale.fence, data=FAILED)
    assert before.isdisjoint(event.id for event in ledger.job_events(job.id))


def test_cancelling_a_queued_job_ends_it(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job])
    assert ledger.cancel(job.id, keep=False).verdict == "cancelled"
    assert ledger.record(job.id).state == "cancelled"
    assert claim(ledger, job).verdict == "ended"
    assert ledger.cancel(job.id, keep=False).verdict == "ended"


def test_a_queued_job_that_was_begun_goes_to_a_worker_that_keeps_what_there_is(ledger: Ledger) -> None:
    job = make_job()
    record = claim(ledger, job).record
    ledger.put_back(record, error="came to harm", delay_s=1000)
    assert ledger.cancel(job.id, keep=True).verdict == "asked"
    assert [message.job_id for message in ledger.take_due()] == [job.id]
    assert ledger.heartbeat(job.id, fence=claim(ledger, job).record.fence) == "keep"


def test_a_queued_job_of_which_there_is_nothing_to_keep(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job])
    assert ledger.cancel(job.id, keep=True).verdict == "cancelled"


@pytest.mark.parametrize("keep", [False, True])
def test_the_holder_of_a_running_job_hears_of_it(ledger: Ledger, keep: bool) -> None:
    job = make_job()
    fence = claim(ledger, job).record.fence
    assert ledger.cancel(job.id, keep=keep).verdict == "asked"
    assert ledger.heartbeat(job.id, fence=fence) == ("keep" if keep else "cancel")
    ledger.cancel(job.id, keep=not keep)
    assert ledger.heartbeat(job.id, fence=fence) == "cancel", "nothing is left to keep"


def test_cancelling_nobody(ledger: Ledger) -> None:
    with pytest.raises(JobNotFound):
        ledger.cancel("nobody", keep=False)


def test_deleting_leaves_nothing(ledger: Ledger) -> None:
    job = make_job()
    before = keys(ledger)
    ledger.accept([job])
    with pytest.raises(JobOpen):
        ledger.delete(job.id)
    ledger.cancel(job.id, keep=False)
    ledger.delete(job.id)
    tombstone = gone_key(job.id)
    assert keys(ledger) - before == {COUNTERS_KEY, EVENTS_KEY, tombstone}
    assert ledger.redis.ttl(tombstone) > 0
    with pytest.raises(JobNotFound):
        ledger.delete(make_job().id)


def test_the_keeper_expires_what_nobody_takes(ledger: Ledger) -> None:
    job = make_job(deadline="2020-01-01T00:00:00Z")
    other = make_job()
    ledger.accept([job, other])
    assert ledger.overdue() == Overdue([], [job.id], [])
    assert ledger.expire(job.id).verdict == "expired"
    assert ledger.expire(other.id).verdict == "open"
    assert ledger.overdue() == Overdue([], [], [])


def test_a_deleted_job_is_not_brought_back_by_its_message(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job])
    ledger.cancel(job.id, keep=False)
    ledger.delete(job.id)
    assert claim(ledger, job).verdict == "gone"
    with pytest.raises(JobNotFound):
        ledger.record(job.id)
    ledger.accept([job])
    assert claim(ledger, job).verdict == "yours", "submitted again, it is wanted again"


def test_cancelled_and_then_the_worker_died(ledger: Ledger) -> None:
    job = make_job()
    claim(ledger, job)
    ledger.cancel(job.id, keep=False)
    lose_lease(ledger, job)
    assert claim(ledger, job).record.state == "cancelled"
