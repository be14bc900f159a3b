"""Attempts, what is put back, and what becomes a dead letter."""

from __future__ import annotations

import pytest

from stylequeue.contract.errors import JobNotFound, JobOpen
from stylequeue.ledger import Ledger, names
from stylequeue.ledger.answers import Overdue
from stylequeue.ledger.names import (
    DUE_KEY,
    record_key,
)
from stylequeue.settings import Settings
from tests.support.jobs import make_job
from tests.support.ledger import FAILED, claim, limited, lose_lease, types


def bury(ledger: Ledger, *, raw: str = "?", earlier_ms: int = 0) -> str:
    letter_id = ledger.bury(queue="paint", raw=raw, code="message_malformed", reason="no message")
    ledger.redis.zincrby(names.DEAD_KEY, -earlier_ms, letter_id)
    return letter_id


def test_a_job_put_back_is_tried_again_when_it_is_due(ledger: Ledger) -> None:
    job = make_job()
    first = claim(ledger, job).record
    assert ledger.put_back(first, error="oh", delay_s=1000) == "queued"
    record = ledger.record(job.id)
    assert (record.state, record.attempt, record.last_error) == ("queued", 1, "oh")
    assert claim(ledger, job).verdict == "early"
    assert ledger.take_due() == []
    assert ledger.put_back(first, error="oh") == "lost", "it has no fence any more"
    ledger.redis.hset(record_key(job.id), "not_before_ms", 1)
    ledger.redis.zadd(DUE_KEY, {job.id: 1})
    [due] = ledger.take_due()
    assert (due.job_id, due.job, due.task_id) == (job.id, job.canonical_json(), job.id)
    assert ledger.take_due() == []
    assert claim(ledger, job).record.attempt == 2


def test_attempts_used_up_are_a_dead_letter(settings: Settings) -> None:
    ledger = limited(settings, max_attempts=2)
    job = make_job(labels={"a": "b"})
    for left in ("queued", "failed"):
        assert ledger.put_back(claim(ledger, job).record, error="poison") == left
    record = ledger.record(job.id)
    assert record.status.outcome is not None
    assert record.status.outcome.data.model_dump(include={"code", "labels"}) == {
        "code": "attempts_exhausted",
        "labels": job.labels,
    }
    assert "poison" in record.outcome
    [letter] = ledger.dead_letters()
    assert (letter.id, letter.attempts, letter.reason, letter.message) == (job.id, 2, "poison", job.canonical_json())


def test_attempts_of_workers_that_died_count(settings: Settings) -> None:
    ledger = limited(settings, max_attempts=2)
    job = make_job()
    for _ in range(2):
        assert claim(ledger, job).verdict == "yours"
        lose_lease(ledger, job)
    assert ledger.overdue() == Overdue([job.id], [], [])
    assert claim(ledger, job).record.state == "failed"
    assert [letter.id for letter in ledger.dead_letters()] == [job.id]


def test_preemption_is_not_charged(settings: Settings) -> None:
    ledger = limited(settings, max_attempts=1)
    job = make_job()
    for _ in range(5):
        assert ledger.put_back(claim(ledger, job).record, error="preempted", charged=False) == "queued"
    assert ledger.record(job.id).attempt == 5
    assert ledger.put_back(claim(ledger, job).record, error="harm") == "failed"


def test_the_keeper_takes_only_what_is_late(ledger: Ledger) -> None:
    job = make_job()
    record = claim(ledger, job).record
    assert ledger.put_back(record, error="late", late=True) == "lost"
    lose_lease(ledger, job)
    assert ledger.heartbeat(job.id, fence=record.fence) == "go_on", "late, but nobody had taken it"
    assert ledger.put_back(record, error="late", late=True) == "lost"
    lose_lease(ledger, job)
    assert ledger.put_back(record, error="late", late=True) == "queued"
    assert ledger.heartbeat(job.id, fence=record.fence) == "lost"


def test_a_cancelled_job_whose_holder_is_gone_ends_when_it_is_put_back(ledger: Ledger) -> None:
    job = make_job(labels={"a": "b"})
    record = claim(ledger, job).record
    assert ledger.cancel(job.id, keep=False).verdict == "asked"
    lose_lease(ledger, job)
    assert ledger.put_back(record, error="late", late=True) == "cancelled"
    ended = ledger.record(job.id)
    assert (ended.state, ended.status.outcome and ended.status.outcome.data.labels) == ("cancelled", {"a": "b"})
    assert ledger.take_due() == []


def test_replaying_begins_another_run(settings: Settings) -> None:
    ledger = limited(settings, max_attempts=1)
    job = make_job()
    with pytest.raises(JobNotFound):
        ledger.replay(job.id)
    ledger.put_back(claim(ledger, job).record, error="harm")
    ledger.replay(job.id)
    record = ledger.record(job.id)
    assert (record.state, record.run, record.attempt, record.outcome) == ("queued", 2, 0, "")
    assert ledger.dead_letters() == []
    assert ledger.redis.ttl(record_key(job.id)) == -1
    taken = claim(ledger, job).record
    with pytest.raises(JobOpen):
        ledger.replay(job.id)
    ledger.finish(job.id, fence=taken.fence, data=FAILED)
    events = ledger.job_events(job.id)
    assert types(ledger, job) == ["accepted", "started", "failed"] * 2
    assert len({event.id for event in events}) == 6


def test_replaying_and_deleting_twice_is_once(settings: Settings) -> None:
    ledger = limited(settings, max_attempts=1)
    job = make_job()
    ledger.put_back(claim(ledger, job).record, error="harm")
    ledger.replay(job.id)
    ledger.replay(job.id)
    assert ledger.record(job.id).run == 2
    ledger.cancel(job.id, keep=False)
    ledger.delete(job.id)
    ledger.delete(job.id)


def test_dead_letters_are_paged(settings: Settings) -> None:
    ledger = Ledger(settings)
    ids = [bury(ledger) for _ in range(7)]
    pages = [ledger.dead_letters(limit=3)]
    while pages[-1].after:
        pages.append(ledger.dead_letters(after=pages[-1].after, limit=3))
    assert [len(page) for page in pages] == [3, 3, 1]
    listed = [letter.id for page in pages for letter in page]
    assert sorted(listed) == sorted(ids)
    # One that goes in between takes none of its neighbours along.
    page = ledger.dead_letters(limit=1)
    ledger.delete(page[0].id)
    assert [letter.id for letter in ledger.dead_letters(after=page.after)] == listed[1:]


def test_too_many_dead_letters_the_oldest_go(settings: Settings) -> None:
    ledger = Ledger(settings.model_copy(update={"max_dead_letters": 3}))
    ids = [bury(ledger, earlier_ms=9 - number) for number in range(5)]
    assert {letter.id for letter in ledger.dead_letters()} == set(ids[2:])
    assert ledger.redis.hget(names.COUNTERS_KEY, "dead_letters_dropped") == "2"
    assert not ledger.redis.exists(*map(names.dead_key, ids[:2]))


def test_dead_letters_of_too_many_bytes_the_oldest_go(settings: Settings) -> None:
    ledger = Ledger(settings.model_copy(update={"max_dead_letters_bytes": 1024**2}))
    ids = [bury(ledger, raw="x" * 300_000, earlier_ms=9 - number) for number in range(5)]
    assert {letter.id for letter in ledger.dead_letters()} == set(ids[2:])
    # What is dropped by hand makes room.
    ledger.delete(ids[2])
    ids.append(bury(ledger, raw="x" * 300_000))
    assert {letter.id for letter in ledger.dead_letters()} == set(ids[3:])
    for letter_id in ids[3:]:
        ledger.delete(letter_id)
    assert ledger.redis.hget(names.COUNTERS_KEY, "dead_letters_bytes") == "0"
    assert not ledger.redis.exists(names.DEAD_SIZES_KEY)
