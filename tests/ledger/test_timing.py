"""What a sender says by Celery's own means: not before, expires, a time limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stylequeue.awaiting import run
from stylequeue.contract.events import FailedData
from stylequeue.ledger import ClaimAnswer, Ledger, Timing
from stylequeue.ledger.answers import ANY_TIME
from stylequeue.ledger.names import record_key
from stylequeue.setting_values import MAX_DEADLINE_S
from stylequeue.settings import Settings
from tests.support.jobs import make_job

ALMOST_S = 5


def in_s(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def sent_by_celery(ledger: Ledger, job_id: str, *, task_id: str = "", timing: Timing = ANY_TIME) -> ClaimAnswer:
    return ledger.claim(make_job(id=job_id), task_id=task_id or job_id, worker="tester", timing=timing)


def test_not_before_its_time_and_then_by_a_fresh_message(ledger: Ledger) -> None:
    not_before = in_s(0.3)
    answer = sent_by_celery(ledger, "later", timing=Timing(not_before=not_before))
    assert (answer.verdict, answer.record.state, answer.record.attempt) == ("early", "queued", 0)
    assert answer.record.not_before is not None
    assert abs(answer.record.not_before - not_before) < timedelta(seconds=0.002)
    assert ledger.take_due() == []
    assert ledger.messages_expected() == 0, "it waits without a message"
    while not (due := ledger.take_due()):
        pass
    assert datetime.now(UTC) >= not_before - timedelta(seconds=0.05)
    assert [message.job_id for message in due] == ["later"]
    assert sent_by_celery(ledger, "later").verdict == "yours"


def test_a_moment_that_has_passed_is_no_reason_to_wait(ledger: Ledger) -> None:
    assert sent_by_celery(ledger, "late", timing=Timing(not_before=in_s(-5))).verdict == "yours"


def test_the_usual_deadline_counts_from_when_it_may_begin(ledger: Ledger, settings: Settings) -> None:
    not_before = in_s(settings.job_deadline_s * 2)
    record = sent_by_celery(ledger, "next-fortnight", timing=Timing(not_before=not_before)).record
    expected = not_before + timedelta(seconds=settings.job_deadline_s)
    assert abs(record.deadline_at - expected) < timedelta(seconds=ALMOST_S)


def test_no_deadline_is_further_than_the_furthest(ledger: Ledger) -> None:
    record = sent_by_celery(ledger, "far", timing=Timing(not_before=in_s(MAX_DEADLINE_S), deadline=None)).record
    assert abs(record.deadline_at - in_s(MAX_DEADLINE_S)) < timedelta(seconds=ALMOST_S)


def test_expired_before_it_was_seen(ledger: Ledger) -> None:
    answer = sent_by_celery(ledger, "stale", timing=Timing(deadline=in_s(-1)))
    assert (answer.verdict, answer.record.state, answer.record.attempt) == ("ended", "expired", 0)


def test_the_earlier_of_two_deadlines_holds(ledger: Ledger) -> None:
    soon, late = in_s(100), in_s(200)
    for number, (own, celerys) in enumerate([(soon, late), (late, soon)]):
        job = make_job(id=f"job-{number}", deadline=own)
        record = ledger.claim(job, task_id=job.id, worker="tester", timing=Timing(deadline=celerys)).record
        assert abs(record.deadline_at - soon) < timedelta(seconds=0.002)


def test_a_time_limit_is_on_record_for_every_attempt(ledger: Ledger) -> None:
    record = sent_by_celery(ledger, "quick", timing=Timing(time_limit_s=2.5)).record
    assert record.time_limit_s == 2.5
    ledger.put_back(record, error="came to harm")
    again = ledger.claim(make_job(id="quick"), task_id="quick", worker="tester", recorded=True)
    assert (again.verdict, again.record.time_limit_s) == ("yours", 2.5)


# Whoever sends a job first may be a stranger: what it says of the time speaks for no other sender of it.


@pytest.mark.parametrize("timing", [Timing(deadline=in_s(-1)), Timing(deadline=in_s(-1e9), not_before=in_s(600))])
@pytest.mark.parametrize("content", [{}, {"labels": {"sent": "by a stranger"}}])
def test_a_job_that_came_too_late_gives_way(ledger: Ledger, timing: Timing, content: dict[str, Any]) -> None:
    stranger = make_job(id="mine", **content)
    for _ in range(2):
        late = ledger.claim(stranger, task_id="theirs", worker="tester", timing=timing)
        assert (late.verdict, late.record.state) == ("ended", "expired"), "it comes again, and is as late"
    answer = ledger.accept([make_job(id="mine")])[0]
    assert (answer.verdict, answer.gave_way) == ("new", True)
    assert ledger.record("mine").state == "queued"
    assert ledger.claim(make_job(id="mine"), task_id="mine", worker="tester", recorded=True).verdict == "yours"


def test_it_gives_way_also_where_what_was_deleted_does_not_come_again(settings: Settings) -> None:
    ledger = Ledger(settings.model_copy(update={"max_open_jobs": 1}))
    job = make_job(id="mine")
    ledger.claim(job, task_id="theirs", worker="tester", timing=Timing(deadline=in_s(-1)))
    full = run(ledger.asked.accept([make_job(id="first"), job], once=True))
    assert [answer.verdict for answer in full] == ["new", "full"]
    ledger.cancel("first", keep=False)
    [answer] = run(ledger.asked.accept([job], once=True))
    assert answer.verdict == "new"
    ledger.close()


@pytest.mark.parametrize("content", [{}, {"labels": {"sent": "by a stranger"}}])
def test_it_gives_no_way_to_a_tenant_whose_it_is_not(ledger: Ledger, content: dict[str, Any]) -> None:
    ledger.claim(make_job(id="mine"), task_id="mine", worker="tester", timing=Timing(deadline=in_s(-1)))
    before = ledger.redis.hgetall(record_key("mine"))
    answer = ledger.accept([make_job(id="mine", **content)], tenant="acme")[0]
    assert (answer.verdict, answer.gave_way) == ("conflict", False)
    assert ledger.redis.hgetall(record_key("mine")) == before


@pytest.mark.parametrize("content", [{}, {"labels": {"sent": "by a stranger"}}])
def test_it_gives_way_to_a_message_as_well(ledger: Ledger, content: dict[str, Any]) -> None:
    ledger.claim(make_job(id="mine", **content), task_id="theirs", worker="tester", timing=Timing(deadline=in_s(-1)))
    answer = sent_by_celery(ledger, "mine")
    assert (answer.verdict, answer.record.run, answer.is_new) == ("yours", 2, True)


def test_a_message_of_a_recorded_job_brings_no_expired_one_back(ledger: Ledger) -> None:
    sent_by_celery(ledger, "mine", timing=Timing(deadline=in_s(-1)))
    again = ledger.claim(make_job(id="mine"), task_id="mine", worker="tester", recorded=True)
    assert (again.verdict, again.record.state) == ("ended", "expired")


def test_a_job_with_a_late_deadline_of_its_own_gives_no_way(ledger: Ledger) -> None:
    job = make_job(id="mine", deadline=in_s(-1))
    ledger.claim(job, task_id="mine", worker="tester")
    assert ledger.accept([job])[0].verdict == "known"
    assert ledger.accept([make_job(id="mine")])[0].verdict == "conflict"


def test_another_sender_has_more_time(ledger: Ledger, settings: Settings) -> None:
    hurried = Timing(deadline=in_s(3), time_limit_s=0.001)
    ledger.claim(make_job(id="mine"), task_id="theirs", worker="tester", timing=hurried)
    assert sent_by_celery(ledger, "mine").verdict == "held"
    record = ledger.record("mine")
    assert record.time_limit_s is None
    assert record.deadline_at > in_s(settings.job_deadline_s - ALMOST_S)
    assert ledger.task_ids(record) == ["mine", "theirs"]


def test_another_sender_wants_it_sooner(ledger: Ledger) -> None:
    far = Timing(not_before=in_s(MAX_DEADLINE_S - 60))
    assert ledger.claim(make_job(id="mine"), task_id="theirs", worker="tester", timing=far).verdict == "early"
    assert sent_by_celery(ledger, "mine").verdict == "yours"
    assert ledger.claim(make_job(id="yours"), task_id="more", worker="tester", timing=far).verdict == "early"
    assert ledger.accept([make_job(id="yours")])[0].verdict == "known"
    assert ledger.claim(make_job(id="yours"), task_id="yours", worker="tester", recorded=True).verdict == "yours"


def test_a_hurried_sender_takes_no_time_from_another(ledger: Ledger) -> None:
    ledger.accept([make_job(id="mine")])
    before = ledger.record("mine")
    hurried = Timing(deadline=in_s(-1), time_limit_s=0.001, not_before=in_s(600))
    assert ledger.claim(make_job(id="mine"), task_id="theirs", worker="tester", timing=hurried).verdict == "yours"
    after = ledger.record("mine")
    assert (after.deadline_at, after.time_limit_s, after.not_before) == (before.deadline_at, None, None)


@pytest.mark.parametrize("spoilt", ["[" * 2000, "", "7", '{"data": 7}'])
def test_an_end_that_somebody_spoilt_stays_the_end(ledger: Ledger, spoilt: str) -> None:
    record = sent_by_celery(ledger, "mine", timing=Timing(time_limit_s=0.001)).record
    ledger.finish("mine", fence=record.fence, data=FailedData(code="time_limit", message="too slow"))
    ledger.redis.hset(record_key("mine"), "outcome", spoilt)
    assert sent_by_celery(ledger, "mine").verdict == "ended"


def test_one_that_ran_into_a_strangers_limit_gives_way(ledger: Ledger) -> None:
    slow = FailedData(code="time_limit", message="too slow")
    record = ledger.claim(
        make_job(id="mine"), task_id="theirs", worker="tester", timing=Timing(time_limit_s=0.001)
    ).record
    ledger.finish("mine", fence=record.fence, data=slow)
    assert (
        ledger.claim(make_job(id="mine"), task_id="theirs", worker="tester", timing=Timing(time_limit_s=0.001)).verdict
        == "ended"
    ), "with the same limit it is the same"
    assert sent_by_celery(ledger, "mine").verdict == "yours"
