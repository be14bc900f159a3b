"""What a tenant may have: how often it asks, and how many open jobs."""

from __future__ import annotations

from typing import Any

import pytest

from stylequeue.ledger import Ledger, names
from stylequeue.ledger.answers import ThrottleAnswer
from tests.support.jobs import make_job
from tests.support.ledger import FAILED


def asked(
    ledger: Ledger, tenant: str = "acme", *, rate_per_s: float = 0.001, burst: int = 5, count: int = 1
) -> ThrottleAnswer:
    (answer,) = ledger._run([ledger._moves.throttle(tenant, rate_per_s=rate_per_s, burst=burst, count=count)])
    return answer


def test_a_burst_and_no_more(ledger: Ledger) -> None:
    answers = [asked(ledger) for _ in range(7)]
    assert [answer.allowed for answer in answers] == [True] * 5 + [False] * 2
    assert [answer.left for answer in answers] == [4, 3, 2, 1, 0, 0, 0]
    assert all(990 < answer.again_in_s <= 1000 for answer in answers[5:])
    assert 4990 < answers[-1].whole_in_s <= 5000
    assert asked(ledger, "another").allowed
    ttl_ms = ledger.redis.pttl(names.rate_key("acme"))
    assert 0 < ttl_ms <= 5_000_000


def test_several_at_once(ledger: Ledger) -> None:
    assert asked(ledger, count=3).left == 2
    refused = asked(ledger, count=3)
    assert (refused.allowed, refused.left) == (False, 2)
    assert asked(ledger, count=2).left == 0
    assert not asked(ledger, "another", count=6).allowed


def test_what_was_asked_for_is_paid_off_at_the_rate_exactly(ledger: Ledger) -> None:
    """The one number says when; it is set back instead of waiting, at a rate by which real time pays for nothing."""
    rate_per_s, burst = 0.001, 5
    asked(ledger, rate_per_s=rate_per_s, burst=burst, count=burst)
    key = names.rate_key("acme")
    sums = 0.0, 0
    for paid in (1, 2.5, 0.5, 1.2, 0.3, 0.3, 0.3, 4.9):
        until_us = int(ledger.redis.get(key) or 0)
        # A thousandth of one is for the seconds that the test takes.
        ledger.redis.set(key, until_us - round((paid + 0.001) / rate_per_s * 1e6), px=10_000_000)
        allowed = 0
        while asked(ledger, rate_per_s=rate_per_s, burst=burst).allowed:
            allowed += 1
        sums = sums[0] + paid, sums[1] + allowed
        assert sums[1] == int(sums[0] + 0.01), paid
    ledger.redis.delete(key)


def test_after_a_long_while_a_burst_is_allowed_and_no_more(ledger: Ledger) -> None:
    asked(ledger, count=5)
    key = names.rate_key("acme")
    ledger.redis.set(key, int(ledger.redis.get(key) or 0) - 50 * 10**9, px=10_000_000)
    assert [asked(ledger).allowed for _ in range(6)] == [True] * 5 + [False]


def test_open_jobs_of_a_tenant(ledger: Ledger) -> None:
    first, second, third = make_job(), make_job(), make_job()

    def accept(job: object, tenant: str | None = "acme", limit: int | None = 2) -> str:
        move = ledger._moves.accept(job, task_id=job.id, tenant=tenant, max_open_jobs=limit)  # type: ignore[arg-type, attr-defined]
        return ledger._run([move])[0].verdict

    assert [accept(job) for job in (first, second, third, first)] == ["new", "new", "too_many", "known"]
    assert accept(make_job(), tenant="another") == "new"
    assert accept(make_job(), tenant=None) == "new"
    ledger.cancel(first.id, keep=False)
    assert accept(third) == "new"
    assert accept(make_job()) == "too_many"
    # One that is run again is open again.
    ledger.replay(first.id)
    record = ledger.claim(first, task_id=first.id, worker="tester").record
    assert accept(make_job(), limit=3) == "too_many"
    ledger.finish(first.id, fence=record.fence, data=FAILED)
    assert accept(make_job(), limit=3) == "new"
    assert accept(make_job(), limit=None) == "new"


@pytest.mark.parametrize("tenant", [None, "acme"])
def test_labels_have_indexes_as_long_as_their_jobs(ledger: Ledger, tenant: str | None) -> None:
    ledger = Ledger(ledger.settings.model_copy(update={"indexed_labels": ("user", "kind")}))
    one = make_job(labels={"user": "a", "kind": "x", "other": "y"})
    two = make_job(labels={"user": "a"})
    none = make_job(labels={"other": "y"})
    ledger.accept([one, two, none], tenant=tenant)

    def found(name: str, value: str, whose: str | None = None) -> set[str]:
        there: Any = ledger.redis.zrange(names.label_key(names.label_index(whose, name, value)), 0, -1)
        return set(there)

    assert found("user", "a") == found("user", "a", tenant) == {one.id, two.id}
    assert found("kind", "x") == found("kind", "x", tenant) == {one.id}
    assert found("other", "y") == found("user", "b") == found("user", "a", "another") == set()
    for job in (one, two, none):
        ledger.cancel(job.id, keep=False)
        ledger.delete(job.id)
    assert not ledger.redis.keys(names.label_key("*"))
    assert not ledger.redis.exists(names.LABELLED_KEY)
    ledger.close()


def test_a_records_label_indexes_are_trimmed_with_it(ledger: Ledger) -> None:
    ledger = Ledger(ledger.settings.model_copy(update={"indexed_labels": ("user",), "record_ttl_s": 1}))
    old, new = make_job(labels={"user": "a"}), make_job()
    ledger.accept([old, new], tenant="acme")
    ledger.cancel(old.id, keep=False)
    # As if it had ended long ago.
    ledger.redis.zadd(names.state_key("cancelled"), {old.id: 1})
    ledger.redis.delete(names.record_key(old.id), names.events_key(old.id))
    ledger.told(old.id)
    ledger.cancel(new.id, keep=False)
    assert not ledger.redis.keys(names.label_key("*"))
    assert not ledger.redis.exists(names.LABELLED_KEY)
    ledger.close()
