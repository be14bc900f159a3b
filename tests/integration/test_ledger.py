from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stylequeue.errors import EventsLost, JobNotFound, LeaseLost
from stylequeue.events import EVENT, ExpiredData, FailedData, ProgressData, event_id
from stylequeue.job import Job
from stylequeue.ledger import ClaimAnswer, Ledger
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


def claim(ledger: Ledger, job: Job, *, redelivered: bool = False) -> ClaimAnswer:
    return ledger.claim(job, task_id=job.id, worker="tester", redelivered=redelivered)


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
    assert ledger.progress(job.id, fence=taken.record.fence, data=told) == "go_on"
    running = ledger.record(job.id)
    assert running.progress is not None
    assert running.progress.data.losses == told.losses

    event = ledger.finish(job.id, fence=taken.record.fence, data=FAILED.model_copy(update={"labels": job.labels}))
    ended = ledger.record(job.id)
    assert (ended.state, ended.outcome) == ("failed", EVENT.validate_json(event))
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
    ledger.progress(job.id, fence=taken.record.fence, data=ProgressData(number=7, stage="painting"))
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


def test_a_redelivered_running_job_is_taken_over(ledger: Ledger) -> None:
    job = make_job()
    first = claim(ledger, job).record
    second = claim(ledger, job, redelivered=True).record
    assert second.fence > first.fence
    assert second.attempt == 2
    assert ledger.progress(job.id, fence=first.fence, data=ProgressData(number=1, stage="painting")) == "lost"
    with pytest.raises(LeaseLost):
        ledger.finish(job.id, fence=first.fence, data=FAILED)
    ledger.finish(job.id, fence=second.fence, data=FAILED)
    with pytest.raises(LeaseLost):
        ledger.finish(job.id, fence=first.fence, data=FAILED)
    assert types(ledger, job) == ["accepted", "started", "started", "failed"]


def test_a_lease_that_ran_out_is_anyones(settings: Settings) -> None:
    ledger = limited(settings, job_time_limit_s=0)
    job = make_job()
    claim(ledger, job)
    assert claim(ledger, job).verdict == "yours"


def test_an_ended_job_is_not_claimed_again(ledger: Ledger) -> None:
    job = make_job()
    ledger.finish(job.id, fence=claim(ledger, job).record.fence, data=FAILED)
    again = claim(ledger, job, redelivered=True)
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
    ledger.redis.hset(f"stylequeue:job:{job.id}", "deadline_ms", 1)
    assert ledger.progress(job.id, fence=fence, data=ProgressData(number=1, stage="painting")) == "overdue"
    ledger.finish(job.id, fence=fence, data=ExpiredData.late({}))
    assert ledger.record(job.id).state == "expired"


def test_a_call_whose_answer_was_lost_may_be_repeated(ledger: Ledger) -> None:
    job = make_job()
    taken = claim(ledger, job)
    progress = ledger._moves.progress(job.id, fence=1, data=ProgressData(number=1, stage="painting"))
    finish = ledger._moves.finish(job.id, fence=1, data=FAILED)
    token = ledger._moves.claim(job, task_id=job.id, worker="tester", token="t", redelivered=True)
    assert taken.record.fence == 1
    ledger._run([progress, progress])
    again = ledger._run([token, token])
    assert [answer.record.fence for answer in again] == [2, 2]
    with pytest.raises(LeaseLost):
        ledger.finish(job.id, fence=1, data=FAILED)
    finish = ledger._moves.finish(job.id, fence=2, data=FAILED)
    first, second = ledger._run([finish, finish])
    assert first == second
    assert first.verdict == "done"
    assert types(ledger, job) == ["accepted", "started", "progress", "started", "failed"]


def test_a_message_that_is_no_job_is_on_record_under_its_task_id(ledger: Ledger) -> None:
    ledger.refuse("task-1", queue="paint", data=FAILED)
    assert ledger.record("task-1").state == "failed"
    assert ledger.refuse("task-1", queue="paint", data=FAILED) == ledger.refuse("task-1", queue="paint", data=FAILED)
    assert len(ledger.job_events("task-1")) == 1


def test_a_bad_message_does_not_touch_the_job_that_has_its_id(ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job])
    assert ledger.refuse(job.id, queue="paint", data=FAILED) == ""
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
        "stylequeue:events",
        "stylequeue:created",
        "stylequeue:counters",
        "stylequeue:state:failed",
    }


def test_indexes_forget_records_that_are_gone(settings: Settings) -> None:
    forgetful = limited(settings, record_ttl_s=0)
    for _ in range(3):
        job = make_job()
        forgetful.finish(job.id, fence=claim(forgetful, job).record.fence, data=FAILED)
    assert forgetful.redis.zcard("stylequeue:state:failed") == 0
    assert forgetful.redis.zcard("stylequeue:created") == 0
    assert forgetful.redis.hgetall("stylequeue:counters") == {"queued": "3", "running": "3", "failed": "3"}


def test_streams_are_capped(settings: Settings) -> None:
    ledger = limited(settings, job_events=10, deployment_events=10)
    job = make_job()
    fence = claim(ledger, job).record.fence
    for number in range(1, 400):
        ledger.progress(job.id, fence=fence, data=ProgressData(number=number, stage="painting"))
    # Redis trims whole nodes of a hundred entries.
    assert ledger.redis.xlen(f"stylequeue:job:{job.id}:events") <= 110


def test_a_reader_that_fell_behind_the_trim_is_told(ledger: Ledger) -> None:
    ledger.accept([make_job() for _ in range(10)])
    everything = ledger.deployment_events(after="0")
    assert ledger.deployment_events(after=everything[4][0]) == everything[5:]
    ledger.redis.xtrim("stylequeue:events", maxlen=3, approximate=False)
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
    created, queue = "stylequeue:created", "stylequeue:queue:paint"
    assert seen == [
        [created, queue, "stylequeue:state:queued"],
        [created, queue, "stylequeue:state:running"],
        [created, "stylequeue:state:failed"],
    ]
