"""A job's life by the ledger's moves."""

from __future__ import annotations

from collections import UserDict

import pytest

from stylequeue.contract.errors import EventsLost, JobNotFound, LeaseLost
from stylequeue.contract.events import ProgressData, event_id
from stylequeue.contract.job import Job
from stylequeue.ledger import Ledger
from stylequeue.ledger.names import (
    COUNTERS_KEY,
    CREATED_KEY,
    DEADLINES_KEY,
    EVENTS_KEY,
    HISTOGRAMS_KEY,
    LEASES_KEY,
    UNTOLD_KEY,
    events_key,
    queue_key,
    ready_key,
    state_key,
)
from stylequeue.ledger.record import FIELDS, Record
from stylequeue.settings import Settings
from tests.support.jobs import make_job
from tests.support.ledger import FAILED, claim, keys, limited, lose_lease, types


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
    answer = ledger.refuse("task-1", queue="paint", message="{}", data=FAILED)
    assert (answer.verdict, answer.event) == ("refused", ledger.outcome("task-1"))
    assert ledger.record("task-1").state == "failed"
    assert ledger.refuse("task-1", queue="paint", message="{}", data=FAILED) == answer
    assert len(ledger.job_events("task-1")) == 1
    [letter] = ledger.dead_letters()
    assert (letter.id, letter.queue, letter.code, letter.message) == ("task-1", "paint", FAILED.code, "{}")


def test_a_bad_message_does_not_touch_the_job_that_has_its_id(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job])
    assert ledger.refuse(job.id, queue="paint", message="{}", data=FAILED).verdict == "foreign"
    assert ledger.record(job.id).state == "queued"
    [letter] = ledger.dead_letters()
    assert letter.id != job.id


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
        HISTOGRAMS_KEY,
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
    counted = forgetful.redis.hgetall(COUNTERS_KEY)
    assert {state: counted[state] for state in ("queued", "running", "failed")} == {
        "queued": "3",
        "running": "3",
        "failed": "3",
    }


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


def test_a_queued_job_takes_little_memory(ledger: Ledger) -> None:
    """And so does one that has ended: Redis takes 4 kB for a stream's first event, and again now and then."""
    job = make_job()
    ledger.accept([job])
    fence = claim(ledger, job).record.fence
    assert types(ledger, job) == ["accepted", "started"]
    with_two = ledger.redis.memory_usage(events_key(job.id)) or 0
    assert 0 < with_two < 1500
    for number in range(1, 10):
        ledger.heartbeat(job.id, fence=fence, data=ProgressData(stage="painting", number=number))
    ledger.finish(job.id, fence=fence, data=FAILED)
    assert types(ledger, job) == ["accepted", "started", *["progress"] * 9, "failed"]
    assert (ledger.redis.memory_usage(events_key(job.id), samples=0) or 0) < 500 + 12 * 700
    assert ledger.redis.pttl(events_key(job.id)) > 0


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
        [*open_, queue_key("paint"), ready_key("paint"), state_key("queued")],
        [*open_, LEASES_KEY, queue_key("paint"), state_key("running")],
        [CREATED_KEY, state_key("failed"), UNTOLD_KEY],
    ]


def test_a_job_that_only_newer_workers_can_read_is_refused_whole(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job])
    answer = ledger.refuse(job.id, queue="paint", message="{}", data=FAILED, job=job.canonical_json())
    assert (answer.verdict, answer.event) == ("ended", ledger.outcome(job.id))
    assert ledger.refuse(job.id, queue="paint", message="{}", data=FAILED, job=job.canonical_json()) == answer
    assert [letter.id for letter in ledger.dead_letters()] == [job.id]
    ledger.replay(job.id)
    [due] = ledger.take_due()
    assert (due.job_id, due.job, due.queue) == (job.id, job.canonical_json(), "paint")


def test_a_full_queue_takes_no_more(settings: Settings) -> None:
    ledger = limited(settings, max_open_jobs=2)
    jobs = [make_job() for _ in range(3)]
    assert [answer.verdict for answer in ledger.accept(jobs)] == ["new", "new", "full"]
    assert ledger.accept([make_job(recipe={"method": "fast"})])[0].verdict == "new", "another queue has room"
    ledger.cancel(jobs[0].id, keep=False)
    assert ledger.accept([jobs[2]])[0].verdict == "new"


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


def test_whoever_sent_it_waits_for_its_end(ledger: Ledger) -> None:
    job = make_job()
    first = ledger.claim(job, task_id="one", worker="tester").record
    assert ledger.claim(job, task_id="two", worker="tester").verdict == "held"
    assert ledger.task_ids(first) == ["one", "two"]


def test_all_of_a_hash_that_is_read_is_asked_for() -> None:
    read: set[str] = set()
    odd = {"scope": '{"read": [], "write": []}', "notify": "[]", "labels": "{}", "job": "{}"}

    class Hash(UserDict[str, str]):
        def __getitem__(self, name: str) -> str:
            read.add(name)
            return odd.get(name, "1")

        def __contains__(self, name: object) -> bool:
            return True

    Record.from_redis(Hash())
    assert read == set(FIELDS)
