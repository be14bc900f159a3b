"""What a sender and an operator say by Celery's own means: not before, expires, a time limit, no longer wanted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stylequeue.contract.errors import JobNotFound
from stylequeue.ledger import ClaimAnswer, Ledger, Timing
from stylequeue.ledger.moves import ANY_TIME
from stylequeue.ledger.names import DUE_KEY, job_of_task_key, record_key, revoked_key
from stylequeue.settings import MAX_DEADLINE_S, Settings
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
    assert sent_by_celery(ledger, "quick").record.time_limit_s == 2.5


def test_revoked_where_it_is_on_record(ledger: Ledger) -> None:
    ledger.accept([make_job(id="queued")])
    job_id, answer = ledger.revoke("queued")
    assert (job_id, answer.verdict, ledger.record("queued").state) == ("queued", "cancelled", "cancelled")
    sent_by_celery(ledger, "running")
    assert ledger.revoke("running")[1].verdict == "asked"
    fence = ledger.record("running").fence
    assert ledger.heartbeat("running", fence=fence) == "cancel"
    assert ledger.revoke("queued")[1].verdict == "ended"


def test_revoked_before_anybody_saw_it(ledger: Ledger) -> None:
    assert ledger.revoke("unseen")[1].verdict == "noted"
    with pytest.raises(JobNotFound):
        ledger.record("unseen")
    assert ledger.redis.pttl(revoked_key("unseen")) > 0
    answer = sent_by_celery(ledger, "unseen")
    assert (answer.verdict, answer.record.state, answer.record.attempt) == ("ended", "cancelled", 0)
    assert not ledger.redis.exists(revoked_key("unseen"))


def test_what_was_revoked_can_be_run_again(ledger: Ledger) -> None:
    ledger.revoke("unseen")
    sent_by_celery(ledger, "unseen")
    ledger.replay("unseen")
    assert sent_by_celery(ledger, "unseen").verdict == "yours"


def test_revoked_by_the_task_although_the_job_has_another_name(ledger: Ledger) -> None:
    sent_by_celery(ledger, "named", task_id="task-1")
    assert ledger.redis.pttl(job_of_task_key("task-1")) > 0
    assert ledger.revoke("task-1")[0] == "named"
    assert ledger.heartbeat("named", fence=ledger.record("named").fence) == "cancel"

    ledger.revoke("task-2")
    assert sent_by_celery(ledger, "unseen", task_id="task-2").record.state == "cancelled"


def test_a_job_due_later_is_revoked(ledger: Ledger) -> None:
    sent_by_celery(ledger, "later", timing=Timing(not_before=in_s(100)))
    assert ledger.revoke("later")[1].verdict == "cancelled"
    assert ledger.redis.zscore(DUE_KEY, "later") is None
    assert ledger.redis.hget(record_key("later"), "not_before_ms") is None
