from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stylequeue.contract.errors import EventsLost, JobNotFound, JobOpen, LeaseLost
from stylequeue.contract.events import ExpiredData, FailedData, ProgressData, event_id
from stylequeue.contract.job import Job
from stylequeue.ledger import ClaimAnswer, Ledger, names
from stylequeue.ledger.moves import Overdue
from stylequeue.ledger.names import (
    COUNTERS_KEY,
    CREATED_KEY,
    DEADLINES_KEY,
    DUE_KEY,
    EVENTS_KEY,
    LEASES_KEY,
    UNTOLD_KEY,
    events_key,
    gone_key,
    queue_key,
    record_key,
    state_key,
)
from stylequeue.settings import Settings
from tests.support.jobs import make_job

FAILED = FailedData(code="image_empty", message="there is nothing")


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = Ledger(settings)
    yield ledger
    ledger.close()


def limited(settings: Settings, **limits: Any) -> Ledger:
    return Ledger(settings.model_copy(update=limits))


def claim(ledger: Ledger, job: Job) -> ClaimAnswer:
    return ledger.claim(job, task_id=job.id, worker="tester")


def lose_lease(ledger: Ledger, job: Job) -> None:
    """As if its worker had not been heard of for long enough."""
    ledger.redis.hset(record_key(job.id), "lease_until_ms", 1)
    ledger.redis.zadd(LEASES_KEY, {job.id: 1})


def types(ledger: Ledger, job: Job) -> list[str]:
    return [event.type.split(".")[-2] for event in ledger.job_events(job.id)]


def keys(ledger: Ledger) -> set[str]:
    return set(ledger.redis.keys())  # type: ignore[arg-type]


def test_the_life_of_a_job(ledger: Ledger) -> None:
    job = make_job(labels={"user": 'é"@run@'})
    [answer] = ledger.accept([job])
    assert (answer.verdict, ledger.record(job.id).state) == ("new", "queued")

    taken = claim(ledger, job)
    assert (taken.verdict, taken.record.state, taken.record.attempt, taken.record.run) == ("yours", "running", 1, 1)
    told = ProgressData(number=1, stage="painting", step=3, steps=10, losses={"style": 1e11, "content": 0.0})
    assert ledger.heartbeat(job.id, fence=taken.record.fence, data=told) == "go_on"
    running = ledger.record(job.id)
    assert running.status.progress is not None
    assert running.status.progress.data.losses == told.losses

    event = ledger.finish(job.id, fence=taken.record.fence, data=FAILED.model_copy(update={"labels": job.labels}))
    ended = ledger.record(job.id)
    assert (ended.state, ended.outcome) == ("failed", event)
    assert Job.model_validate_json(ended.job) == job

    events = ledger.job_events(job.id)
    assert [e.type.split(".")[-2] for e in events] == ["accepted", "started", "progress", "failed"]
    assert [int(e.sequence) for e in events] == [1, 2, 3, 4]
    assert all(e.subject == job.id and e.data.labels == job.labels for e in (events[0], events[1], events[3]))
    lifecycle = [e.type.split(".")[-2] for _, e in ledger.deployment_events(after="0")]
    assert lifecycle == ["accepted", "started", "failed"]


def test_event_ids_can_be_derived_by_anyone(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job])
    taken = claim(ledger, job)
    ledger.heartbeat(job.id, fence=taken.record.fence, data=ProgressData(number=7, stage="painting"))
    ledger.finish(job.id, fence=taken.record.fence, data=FAILED)
    accepted, started, progress, failed = ledger.job_events(job.id)
    assert accepted.id == event_id(job_id=job.id, run=1, event_type=accepted.type, attempt=0)
    assert started.id == event_id(job_id=job.id, run=1, event_type=started.type, attempt=1)
    assert progress.id == event_id(job_id=job.id, run=1, event_type=progress.type, attempt=1, number="7")
    assert failed.id == event_id(job_id=job.id, run=1, event_type=failed.type)


def test_the_same_job_twice_is_one_job(ledger: Ledger) -> None:
    job = make_job()
    verdicts = [answer.verdict for answer in ledger.accept([job, job, job.model_copy(update={"labels": {"a": "b"}})])]
    assert verdicts == ["new", "known", "conflict"]
    assert types(ledger, job) == ["accepted"]


def test_a_job_by_plain_celery_gets_its_record_when_claimed(ledger: Ledger) -> None:
    job = make_job()
    assert claim(ledger, job).verdict == "yours"
    assert types(ledger, job) == ["accepted", "started"]


def test_a_second_message_of_a_running_job_is_turned_away(ledger: Ledger) -> None:
    job = make_job()
    claim(ledger, job)
    assert claim(ledger, job).verdict == "held"
    assert ledger.record(job.id).attempt == 1


def test_a_job_whose_lease_ran_out_is_taken_over(ledger: Ledger) -> None:
    job = make_job()
    first = claim(ledger, job).record
    lose_lease(ledger, job)
    second = claim(ledger, job).record
    assert second.fence > first.fence
    assert second.attempt == 2
    assert ledger.heartbeat(job.id, fence=first.fence, data=ProgressData(number=1, stage="painting")) == "lost"
    with pytest.raises(LeaseLost):
        ledger.finish(job.id, fence=first.fence, data=FAILED)
    ledger.finish(job.id, fence=second.fence, data=FAILED)
    with pytest.raises(LeaseLost):
        ledger.finish(job.id, fence=first.fence, data=FAILED)
    assert types(ledger, job) == ["accepted", "started", "started", "failed"]


def test_an_ended_job_is_not_claimed_again(ledger: Ledger) -> None:
    job = make_job()
    ledger.finish(job.id, fence=claim(ledger, job).record.fence, data=FAILED)
    again = claim(ledger, job)
    assert (again.verdict, again.record.state) == ("ended", "failed")


def test_a_claim_under_the_id_of_another_job_is_refused(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job])
    assert claim(ledger, job.model_copy(update={"labels": {"a": "b"}})).verdict == "conflict"
    assert ledger.record(job.id).state == "queued"


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


def test_a_call_whose_answer_was_lost_may_be_repeated(ledger: Ledger) -> None:
    job = make_job()
    taking = ledger._moves.claim(job, task_id=job.id, worker="tester", token="t", queue="", recorded=False)
    assert [answer.record.fence for answer in ledger._run([taking, taking])] == [1, 1]
    telling = ledger._moves.heartbeat(job.id, fence=1, data=ProgressData(number=1, stage="painting"))
    assert ledger._run([telling, telling]) == ["go_on", "go_on"]
    ending = ledger._moves.finish(job.id, fence=1, data=FAILED, painted="")
    first, second = ledger._run([ending, ending])
    assert first == second
    assert first.verdict == "done"
    assert types(ledger, job) == ["accepted", "started", "progress", "failed"]


def test_a_message_that_is_no_job_is_on_record_under_its_task_id(ledger: Ledger) -> None:
    event = ledger.refuse("task-1", queue="paint", message="{}", data=FAILED)
    assert ledger.record("task-1").state == "failed"
    assert ledger.refuse("task-1", queue="paint", message="{}", data=FAILED) == event
    assert len(ledger.job_events("task-1")) == 1
    [letter] = ledger.dead_letters()
    assert (letter.id, letter.queue, letter.code, letter.message) == ("task-1", "paint", FAILED.code, "{}")


def test_a_bad_message_does_not_touch_the_job_that_has_its_id(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job])
    assert ledger.refuse(job.id, queue="paint", message="{}", data=FAILED) == ""
    assert ledger.record(job.id).state == "queued"


def test_an_unknown_job_is_said_to_be_unknown(ledger: Ledger) -> None:
    with pytest.raises(JobNotFound):
        ledger.record("nobody")


def test_no_key_of_an_ended_job_stays_for_ever(settings: Settings) -> None:
    ledger = limited(settings, record_ttl_s=1000)
    for _ in range(3):
        job = make_job()
        ledger.finish(job.id, fence=claim(ledger, job).record.fence, data=FAILED)
    for key in keys(ledger):
        if ":job:" in key:
            assert 0 < ledger.redis.ttl(key) <= 1000, key
    # What has no TTL is capped, or loses its entries with the records they name.
    assert {key for key in keys(ledger) if ":job:" not in key} == {
        EVENTS_KEY,
        CREATED_KEY,
        COUNTERS_KEY,
        state_key("failed"),
        UNTOLD_KEY,
    }


def test_indexes_forget_records_that_are_gone(settings: Settings) -> None:
    forgetful = limited(settings, record_ttl_s=0)
    for _ in range(3):
        job = make_job()
        forgetful.finish(job.id, fence=claim(forgetful, job).record.fence, data=FAILED)
        forgetful.told(job.id)
    assert forgetful.redis.zcard(state_key("failed")) == 0
    assert forgetful.redis.zcard(CREATED_KEY) == 0
    assert forgetful.redis.hgetall(COUNTERS_KEY) == {"queued": "3", "running": "3", "failed": "3"}


def test_streams_are_capped(settings: Settings) -> None:
    ledger = limited(settings, job_events=10, deployment_events=10)
    job = make_job()
    fence = claim(ledger, job).record.fence
    for number in range(1, 400):
        ledger.heartbeat(job.id, fence=fence, data=ProgressData(number=number, stage="painting"))
    # Redis trims whole nodes of a hundred entries.
    assert ledger.redis.xlen(events_key(job.id)) <= 110


def test_a_reader_that_fell_behind_the_trim_is_told(ledger: Ledger) -> None:
    ledger.accept([make_job() for _ in range(10)])
    everything = ledger.deployment_events(after="0")
    assert ledger.deployment_events(after=everything[4][0]) == everything[5:]
    ledger.redis.xtrim(EVENTS_KEY, maxlen=3, approximate=False)
    assert ledger.deployment_events(after=everything[7][0]) == everything[8:]
    with pytest.raises(EventsLost):
        ledger.deployment_events(after=everything[4][0])


def test_indexes_follow_the_job(ledger: Ledger) -> None:
    job = make_job()
    seen = []
    for move in (
        lambda: ledger.accept([job]),
        lambda: claim(ledger, job),
        lambda: ledger.finish(job.id, fence=1, data=FAILED),
    ):
        move()
        seen.append(sorted(key for key in keys(ledger) if ledger.redis.type(key) == "zset"))
    open_ = [CREATED_KEY, DEADLINES_KEY]
    assert seen == [
        [*open_, queue_key("paint"), state_key("queued")],
        [*open_, LEASES_KEY, queue_key("paint"), state_key("running")],
        [CREATED_KEY, state_key("failed"), UNTOLD_KEY],
    ]


# Attempts


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


def test_a_job_that_only_newer_workers_can_read_is_refused_whole(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job])
    other = make_job().canonical_json()
    assert ledger.refuse(job.id, queue="paint", message="{}", data=FAILED, job=other) == ""
    event = ledger.refuse(job.id, queue="paint", message="{}", data=FAILED, job=job.canonical_json())
    assert ledger.outcome(job.id) == event
    assert ledger.refuse(job.id, queue="paint", message="{}", data=FAILED, job=job.canonical_json()) == event
    assert [letter.id for letter in ledger.dead_letters()] == [job.id]
    ledger.replay(job.id)
    [due] = ledger.take_due()
    assert (due.job_id, due.job, due.queue) == (job.id, job.canonical_json(), "paint")


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


# Cancelling


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


def test_a_full_queue_takes_no_more(settings: Settings) -> None:
    ledger = limited(settings, max_open_jobs=2)
    jobs = [make_job() for _ in range(3)]
    assert [answer.verdict for answer in ledger.accept(jobs)] == ["new", "new", "full"]
    assert ledger.accept([make_job(recipe={"method": "fast"})])[0].verdict == "new", "another queue has room"
    ledger.cancel(jobs[0].id, keep=False)
    assert ledger.accept([jobs[2]])[0].verdict == "new"


def test_the_keeper_expires_what_nobody_takes(ledger: Ledger) -> None:
    job = make_job(deadline="2020-01-01T00:00:00Z")
    other = make_job()
    ledger.accept([job, other])
    assert ledger.overdue() == Overdue([], [job.id], [])
    assert ledger.expire(job.id).verdict == "expired"
    assert ledger.expire(other.id).verdict == "open"
    assert ledger.overdue() == Overdue([], [], [])


# One painting for one fingerprint


def reserve(ledger: Ledger, job: Job, **how: Any) -> str:
    fence = claim(ledger, job).record.fence
    return ledger.reserve(job.id, fence=fence, fingerprint="f", **how).verdict


def test_what_is_painted_is_reused(ledger: Ledger) -> None:
    first, second, third = make_job(), make_job(), make_job()
    assert reserve(ledger, first) == "paint"
    ledger.finish(first.id, fence=1, data=FAILED, painted=json.dumps({"job_id": first.id}))
    assert reserve(ledger, second) == "reuse"
    assert reserve(ledger, third, forget=True) == "paint"


def test_what_is_being_painted_is_waited_for(ledger: Ledger) -> None:
    first, second = make_job(), make_job()
    assert reserve(ledger, first) == "paint"
    assert reserve(ledger, second) == "wait"
    assert ledger.record(second.id).state == "queued"
    assert ledger.take_due() == []
    assert second.id not in ledger.queued_task_ids(), "it needs no message"
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


def woken(ledger: Ledger) -> list[str]:
    """Jobs for which a fresh message is due; taken."""
    return [due.job_id for due in ledger.take_due()]


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


def test_a_waiter_can_be_cancelled(ledger: Ledger) -> None:
    first, second = make_job(), make_job()
    reserve(ledger, first)
    reserve(ledger, second)
    ledger.cancel(second.id, keep=False)
    ledger.finish(first.id, fence=1, data=FAILED)
    assert ledger.take_due() == []
    assert {key for key in keys(ledger) if "waiters" in key or "painting" in key} == set()


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


def test_a_recorded_job_whose_record_has_expired_is_not_painted_again(ledger: Ledger) -> None:
    job = make_job()
    assert ledger.claim(job, task_id=job.id, worker="tester", recorded=True).verdict == "gone"


def test_a_job_keeps_the_queue_its_sender_chose(ledger: Ledger) -> None:
    job = make_job()
    ledger.claim(job, task_id=job.id, worker="tester", queue="bulk")
    assert ledger.record(job.id).queue == "bulk"
    stray = make_job()
    ledger.claim(stray, task_id=stray.id, worker="tester", queue="elsewhere")
    assert ledger.record(stray.id).queue == "paint"


def test_what_was_refused_may_be_a_job_for_a_newer_worker(ledger: Ledger) -> None:
    job = make_job()
    first = ledger.refuse(job.id, queue="paint", message="{}", data=FAILED)
    assert ledger.refuse(job.id, queue="paint", message="{}", data=FAILED) == first, "replayed, and no better"
    assert [letter.id for letter in ledger.dead_letters()] == [job.id]
    assert claim(ledger, job).verdict == "yours"
    assert ledger.dead_letters() == []
    assert ledger.record(job.id).state == "running"
    assert ledger.count("failed") == 0


def test_cancelled_and_then_the_worker_died(ledger: Ledger) -> None:
    job = make_job()
    claim(ledger, job)
    ledger.cancel(job.id, keep=False)
    lose_lease(ledger, job)
    assert claim(ledger, job).record.state == "cancelled"


def test_whoever_sent_it_waits_for_its_end(ledger: Ledger) -> None:
    job = make_job()
    first = ledger.claim(job, task_id="one", worker="tester").record
    assert ledger.claim(job, task_id="two", worker="tester").verdict == "held"
    assert ledger.task_ids(first) == ["one", "two"]


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


def bury(ledger: Ledger, *, raw: str = "?", earlier_ms: int = 0) -> str:
    letter_id = ledger.bury(queue="paint", raw=raw, code="message_malformed", reason="no message")
    ledger.redis.zincrby(names.DEAD_KEY, -earlier_ms, letter_id)
    return letter_id
