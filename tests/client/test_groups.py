"""Consumers that share the deployment's events, with an event loop and without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from itertools import islice
from typing import Any

import pytest

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import EventsLost, InvalidRequest, JobNotFound
from stylequeue.contract.events import AnyEvent
from stylequeue.ledger.names import EVENTS_KEY
from stylequeue.settings import Settings
from tests.support.jobs import make_job

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

Take = Callable[..., list[tuple[str, AnyEvent]]]


def blocking(settings: Settings, count: int = 1000, tenant: str | None = None, **asked: Any) -> list[Any]:
    with StyleQueue(settings, tenant=tenant) as queue:
        return list(islice(queue.events(follow=False, **asked), count))


def awaited(settings: Settings, count: int = 1000, tenant: str | None = None, **asked: Any) -> list[Any]:
    async def take() -> list[Any]:
        taken: list[Any] = []
        async with (
            AsyncStyleQueue(settings, tenant=tenant) as queue,
            aclosing(queue.events(follow=False, **asked)) as events,
        ):
            async for one in events:
                taken.append(one)
                if len(taken) == count:
                    break
        return taken

    return asyncio.run(take())


@pytest.fixture(params=[blocking, awaited], ids=["blocking", "awaited"])
def take(request: pytest.FixtureRequest) -> Take:
    """A client takes up to `count` events, and handles all but the last: then it is gone."""
    taken: Take = request.param
    return taken


def subjects(events: list[tuple[str, AnyEvent]]) -> list[str]:
    return [event.subject for _, event in events]


def submitted(queue: StyleQueue, count: int = 1) -> list[str]:
    return queue.submit_many([make_job() for _ in range(count)])


def test_each_event_comes_once_where_all_is_well(queue: StyleQueue, take: Take) -> None:
    ids = submitted(queue, 3)
    assert subjects(take(queue.settings, group="crm", consumer="one")) == ids
    assert take(queue.settings, group="crm", consumer="one") == []
    assert subjects(take(queue.settings, group="other", consumer="one")) == ids
    [crm, other] = queue.groups()
    assert (crm.name, crm.consumers, crm.pending, crm.lag) == ("crm", 1, 0, 0)
    assert other.name == "other"


def test_what_is_not_handled_comes_again(queue: StyleQueue, take: Take) -> None:
    ids = submitted(queue, 3)
    assert subjects(take(queue.settings, 2, group="crm", consumer="one")) == ids[:2]
    [group] = queue.groups()
    assert (group.pending, group.lag) == (1, 1)
    assert subjects(take(queue.settings, group="crm", consumer="one")) == ids[1:]


def test_another_takes_what_the_dead_had(queue: StyleQueue, take: Take) -> None:
    ids = submitted(queue, 2)
    take(queue.settings, 1, group="crm", consumer="dead")
    assert subjects(take(queue.settings, 1, group="crm", consumer="two")) == ids[1:], "it may be alive"
    assert subjects(take(queue.settings, group="crm", consumer="two", claim_after_s=0.001)) == [ids[1], ids[0]]


def test_an_event_that_nobody_survives_is_a_dead_letter_to_be_replayed(queue: StyleQueue, take: Take) -> None:
    [poison] = submitted(queue)
    for _ in range(5):
        assert subjects(take(queue.settings, 1, group="crm", consumer="one")) == [poison]
    assert take(queue.settings, group="crm", consumer="one") == []
    [letter] = queue.dead_letters()
    assert (letter.kind, letter.queue, letter.attempts) == ("event", "crm", 5)
    assert queue.dead_letter(letter.id) == letter
    with pytest.raises(JobNotFound):
        queue.for_tenant("acme").replay(letter.id)

    queue.replay(letter.id)
    assert queue.dead_letters() == []
    assert subjects(take(queue.settings, group="crm", consumer="two")) == [poison]


def test_one_that_is_dropped_is_gone(queue: StyleQueue) -> None:
    submitted(queue)
    for _ in range(6):
        blocking(queue.settings, 1, group="crm", consumer="one")
    [letter] = queue.dead_letters()
    queue.drop(letter.id)
    assert queue.dead_letters() == []


def test_what_was_trimmed_unread_is_told_once_with_its_number(queue: StyleQueue, take: Take) -> None:
    ids = submitted(queue, 10)
    take(queue.settings, 1, group="crm", consumer="one")
    queue._ledger.redis.xtrim(EVENTS_KEY, maxlen=4, approximate=False)
    with pytest.raises(EventsLost) as caught:
        take(queue.settings, group="crm", consumer="two")
    assert caught.value.number == 5
    assert subjects(take(queue.settings, group="crm", consumer="two")) == ids[6:]
    with pytest.raises(EventsLost) as caught:
        take(queue.settings, group="crm", consumer="one")
    assert caught.value.number == 1, "the one it had"


def test_a_letter_whose_event_is_gone_says_so(queue: StyleQueue) -> None:
    submitted(queue)
    for _ in range(6):
        blocking(queue.settings, 1, group="crm", consumer="one")
    [letter] = queue.dead_letters()
    queue._ledger.redis.xtrim(EVENTS_KEY, maxlen=0)
    with pytest.raises(EventsLost):
        queue.replay(letter.id)
    queue._ledger.redis.xgroup_destroy(EVENTS_KEY, "crm")
    submitted(queue)
    assert queue.dead_letters() == [letter]


def test_a_tenant_s_group_is_its_own_and_hears_of_its_own(queue: StyleQueue, take: Take) -> None:
    submitted(queue)
    [theirs] = submitted(queue.for_tenant("acme"))
    assert subjects(take(queue.settings, tenant="acme", group="crm", consumer="one")) == [theirs]
    assert len(take(queue.settings, group="crm", consumer="one")) == 2
    assert [group.name for group in queue.for_tenant("acme").groups()] == ["crm"]
    assert [group.name for group in queue.for_tenant("other").groups()] == []
    assert [group.name for group in queue.groups()] == ["acme/crm", "crm"]


def test_a_tenant_hears_what_an_older_worker_told(queue: StyleQueue, take: Take) -> None:
    """It puts nothing beside the event."""
    [theirs] = submitted(queue.for_tenant("acme"))
    redis: Any = queue._ledger.redis
    [(_, fields)] = redis.xrange(EVENTS_KEY)
    redis.xtrim(EVENTS_KEY, maxlen=0)
    redis.xadd(EVENTS_KEY, {"event": fields["event"]})
    assert subjects(take(queue.settings, tenant="acme", group="crm", consumer="one")) == [theirs]


def test_a_group_that_follows_hears_of_what_happens(queue: StyleQueue) -> None:
    with StyleQueue(queue.settings) as other:
        events = other.events(group="crm", after=other.newest_position())
        ids = submitted(queue)
        assert next(events)[1].subject == ids[0]
        ids += submitted(queue)
        assert next(events)[1].subject == ids[1]
        events.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "asked",
    [
        {"group": ""},
        {"group": "a/b"},
        {"group": ":delivery"},
        {"group": "x" * 65},
        {"group": "crm", "consumer": "a b"},
        {"group": "crm", "consumer": ""},
        {"group": "crm", "claim_after_s": 0},
        {"group": "crm", "claim_after_s": float("nan")},
        {"group": "crm", "after": "$"},
    ],
    ids=str,
)
def test_what_is_no_group_or_consumer_is_refused(queue: StyleQueue, take: Take, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        take(queue.settings, **asked)
    assert caught.value.hint
