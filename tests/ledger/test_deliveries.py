"""Deliveries of events to endpoints, as the ledger keeps them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from stylequeue.contract.delivery import Attempt
from stylequeue.contract.errors import DeliveryNotFound
from stylequeue.ledger import Ledger, names
from stylequeue.ledger.deliveries import IN_FLIGHT, KEPT_S, LEASE_S, PATIENCE_S, Deliveries, ForEndpoint, Settled
from stylequeue.settings import Settings
from tests.support.deliveries import pass_time
from tests.support.ledger import limited

CRM = "crm"


@pytest.fixture
def deliveries(ledger: Ledger) -> Deliveries:
    return Deliveries(ledger)


def event(number: int = 0, *, endpoint: str = CRM, named: bool = True, at_ms: int = 0) -> ForEndpoint:
    text = f'{{"id":"e{number}","a":1.0,"b":[]}}'
    return ForEndpoint(
        endpoint=endpoint, id=f"e{number}", event=text, type="t", job=f"j{number}", at_ms=at_ms, named=named
    )


def ids(deliveries: Deliveries, endpoint: str = CRM, *, token: str = "t") -> list[str]:
    """What is to be sent now."""
    return [one.id for one in deliveries.take(endpoint, token=token).deliveries]


def settle(deliveries: Deliveries, event_id: str = "e0", *, token: str = "t", **said: Any) -> Settled:
    attempt = Attempt(at=datetime.now(UTC), status=said.pop("status", 500), took_ms=3, said="no")
    fields = {"delivered": False, "delay_s": 60, **said}
    return deliveries.settle(CRM, event_id, token=token, attempt=attempt, **fields)


def since_now(ledger: Ledger) -> int:
    seconds, micros = ledger.redis.time()
    return int(seconds * 1000 + micros // 1000)


def test_one_event_is_one_delivery_however_often_it_is_made(deliveries: Deliveries) -> None:
    assert deliveries.deliver([event(), event(), event(1)]) == 2
    assert deliveries.deliver([event()]) == 0
    [first, second] = deliveries.take(CRM, token="t").deliveries
    assert (first.id, first.event, first.tries) == ("e0", event().event, 0)
    assert second.id == "e1"
    assert settle(deliveries, delivered=True, status=200) == Settled("delivered", "")
    assert deliveries.deliver([event()]) == 0
    assert ids(deliveries) == []
    done = deliveries.delivery(CRM, "e0")
    assert (done.state, done.event, done.job, done.next_at) == ("delivered", event().event, "j0", None)
    assert [attempt.status for attempt in done.attempts] == [200]


def test_endpoints_know_nothing_of_each_other(deliveries: Deliveries) -> None:
    assert deliveries.deliver([event(), event(endpoint="audit")]) == 2
    assert ids(deliveries) == ["e0"]
    assert ids(deliveries, "audit") == ["e0"]
    settle(deliveries, disable="gone")
    assert deliveries.health("audit").disabled is None
    assert deliveries.delivery("audit", "e0").state == "pending"


def test_so_many_are_sent_at_once_and_no_more(deliveries: Deliveries) -> None:
    deliveries.deliver([event(number) for number in range(10)])
    assert len(ids(deliveries)) == IN_FLIGHT
    assert ids(deliveries, token="another's") == []
    settle(deliveries, delivered=True)
    assert len(ids(deliveries)) == 1


def test_what_its_sender_never_spoke_of_is_sent_again(ledger: Ledger, deliveries: Deliveries) -> None:
    deliveries.deliver([event()])
    assert ids(deliveries, token="dead") == ["e0"]
    assert ids(deliveries, token="two") == []
    pass_time(ledger.redis, CRM, LEASE_S + 1)
    assert ids(deliveries, token="two") == ["e0"]
    # Not dead after all. What did not arrive is the other's to say; what did has arrived.
    assert settle(deliveries, token="dead").state == "stale"
    assert deliveries.delivery(CRM, "e0").tries == 0
    assert settle(deliveries, token="dead", delivered=True).state == "delivered"
    assert settle(deliveries, token="two").state == "stale"
    assert deliveries.delivery(CRM, "e0").state == "delivered"


def test_it_is_sent_again_when_it_is_due(ledger: Ledger, deliveries: Deliveries) -> None:
    deliveries.deliver([event()])
    ids(deliveries)
    assert settle(deliveries, delay_s=60).state == "pending"
    batch = deliveries.take(CRM, token="t")
    assert batch.deliveries == []
    assert batch.wait_s == pytest.approx(60, abs=5)
    pass_time(ledger.redis, CRM, 61)
    [again] = deliveries.take(CRM, token="t").deliveries
    assert again.tries == 1


def test_who_gives_up_leaves_a_dead_letter(ledger: Ledger, deliveries: Deliveries) -> None:
    deliveries.deliver([event()])
    ids(deliveries)
    assert settle(deliveries, delay_s=None) == Settled("given_up", "")
    [letter] = ledger.dead_letters()
    assert (letter.kind, letter.id, letter.queue) == ("delivery", "delivery:crm:e0", CRM)
    assert (letter.code, letter.reason, letter.message) == ("delivery_given_up", "500: no", event().event)
    assert deliveries.delivery(CRM, "e0").state == "given_up"
    assert ids(deliveries) == []

    deliveries.replay(CRM, "e0")
    assert ledger.dead_letters() == []
    [again] = deliveries.take(CRM, token="t").deliveries
    assert (again.id, again.tries) == ("e0", 0)
    assert len(deliveries.delivery(CRM, "e0").attempts) == 1, "what came before is still known"


def test_what_was_delivered_can_be_sent_once_more(deliveries: Deliveries) -> None:
    deliveries.deliver([event()])
    ids(deliveries)
    settle(deliveries, delivered=True)
    deliveries.replay(CRM, "e0")
    assert ids(deliveries) == ["e0"]
    with pytest.raises(DeliveryNotFound):
        deliveries.replay(CRM, "e1")


def test_what_is_on_its_way_is_sent_once_more_all_the_same(deliveries: Deliveries) -> None:
    """It may have arrived before anybody asked, and only its mark is still to come."""
    deliveries.deliver([event()])
    assert ids(deliveries, token="before") == ["e0"]
    deliveries.replay(CRM, "e0")
    deliveries.replay(CRM, "e0")
    assert settle(deliveries, token="before", delivered=True).state == "stale"
    assert ids(deliveries, token="since") == ["e0"]
    assert settle(deliveries, token="before", delivered=True).state == "stale"
    deliveries.replay(CRM, "e0")
    assert ids(deliveries, token="now") == ["e0"]
    for token in ("before", "since"):
        assert settle(deliveries, token=token, delivered=True).state == "stale"
    assert settle(deliveries, token="now").state == "pending"


def test_an_endpoint_that_asks_for_it_is_left_alone(ledger: Ledger, deliveries: Deliveries) -> None:
    deliveries.deliver([event(), event(1)])
    ids(deliveries)
    settle(deliveries, delay_s=60, hold_s=120)
    settle(deliveries, "e1", delay_s=60, hold_s=5)
    deliveries.deliver([event(2)])
    batch = deliveries.take(CRM, token="t")
    assert batch.deliveries == []
    assert batch.wait_s == pytest.approx(120, abs=5), "the longer one counts"
    pass_time(ledger.redis, CRM, 121)
    assert ids(deliveries) == ["e2", "e0", "e1"]


def test_a_disabled_endpoint_hears_nothing_until_it_is_enabled(ledger: Ledger, deliveries: Deliveries) -> None:
    deliveries.deliver([event(), event(1)])
    ids(deliveries)
    assert settle(deliveries, disable="gone", delay_s=None) == Settled("given_up", "gone")
    assert settle(deliveries, "e1", disable="gone") == Settled("pending", ""), "said once"
    assert deliveries.deliver([event(2)]) == 0
    pass_time(ledger.redis, CRM, 1000)
    assert deliveries.take(CRM, token="t").wait_s is None
    assert deliveries.health(CRM).disabled == "gone"

    assert deliveries.enable(CRM) == 1
    health = deliveries.health(CRM)
    assert (health.disabled, health.disabled_at, health.failing_since) == (None, None, None)
    assert ids(deliveries) == ["e1"]


def test_one_that_takes_nothing_for_days_is_disabled(ledger: Ledger, deliveries: Deliveries) -> None:
    deliveries.deliver([event(number) for number in range(4)])
    ids(deliveries)
    settle(deliveries)
    pass_time(ledger.redis, CRM, PATIENCE_S - 60)
    assert settle(deliveries, "e1").disabled == ""
    settle(deliveries, "e2", delivered=True)
    pass_time(ledger.redis, CRM, 120)
    assert settle(deliveries, "e3").disabled == "", "something had arrived"
    pass_time(ledger.redis, CRM, PATIENCE_S)
    assert ids(deliveries)
    assert settle(deliveries, "e1").disabled == "nothing has arrived for 5 days"


def test_an_endpoint_hears_of_what_happened_since_it_is_known(ledger: Ledger, deliveries: Deliveries) -> None:
    deliveries.take(CRM, token="t")
    now_ms = since_now(ledger)
    old, new = event(0, named=False, at_ms=now_ms - 60_000), event(1, named=False, at_ms=now_ms + 1)
    named = event(2, named=True, at_ms=now_ms - 60_000)
    assert deliveries.deliver([old, new, named]) == 2
    assert ids(deliveries) == ["e1", "e2"]


def test_again_brings_what_was_missed_and_nothing_twice(ledger: Ledger, deliveries: Deliveries) -> None:
    deliveries.deliver([event(number) for number in range(4)])
    ids(deliveries)
    settle(deliveries, "e0", delivered=True)
    settle(deliveries, "e1", delay_s=None)
    settle(deliveries, "e2", delay_s=3600)
    missed = event(4, named=False, at_ms=1)
    assert deliveries.deliver([*(event(number) for number in range(4)), missed], again=True) == 3
    assert ledger.dead_letters() == []
    assert sorted(ids(deliveries)) == ["e1", "e2", "e4"], "e3 is being sent at this moment"


def test_the_oldest_go_where_there_are_too_many(settings: Settings) -> None:
    ledger = limited(settings, max_deliveries=3)
    deliveries = Deliveries(ledger)
    for number in range(5):
        deliveries.deliver([event(number)])
        if number == 0:
            ids(deliveries)
            settle(deliveries, delivered=True)
    assert [delivery.id for delivery in deliveries.list(CRM)] == ["e4", "e3", "e2"]
    assert deliveries.health(CRM).dropped == 1, "the other had been delivered"
    assert ids(deliveries) == ["e2", "e3", "e4"]


def test_they_are_listed_by_state_and_page(deliveries: Deliveries) -> None:
    for number in range(4):
        deliveries.deliver([event(number)])
    ids(deliveries)
    settle(deliveries, "e1", delay_s=None)
    assert [one.id for one in deliveries.list(CRM, state="given_up")] == ["e1"]
    page = deliveries.list(CRM, limit=3)
    rest = deliveries.list(CRM, limit=3, after=page.after)
    assert sorted(one.id for one in [*page, *rest]) == ["e0", "e1", "e2", "e3"]


def test_all_of_it_goes_in_the_end(ledger: Ledger, deliveries: Deliveries) -> None:
    deliveries.deliver([event(), event(1)])
    ids(deliveries)
    settle(deliveries)
    found: Any = ledger.redis.keys("stylequeue:*")
    found.remove(names.COUNTERS_KEY)
    assert len(found) == 6
    assert all(0 < ledger.redis.pttl(key) <= KEPT_S * 1000 for key in found)
    # A delivery goes before the indexes that name it.
    ledger.redis.delete(names.delivery_key("crm:e0"))
    pass_time(ledger.redis, CRM, LEASE_S + 61)
    assert ids(deliveries) == ["e1"]
    assert ledger.redis.zrange(names.deliveries_key(CRM), 0, -1) == ["e1"]
    pass_time(ledger.redis, CRM, KEPT_S)
    deliveries.deliver([event(2)])
    assert ledger.redis.zrange(names.deliveries_key(CRM), 0, -1) == ["e2"]
