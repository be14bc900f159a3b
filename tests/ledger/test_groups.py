"""Groups of consumers: each event to one of them, and none lost on the way."""

from __future__ import annotations

from typing import Any

import pytest

from stylequeue.ledger import Ledger
from stylequeue.ledger.groups import MAX_TIMES, Entry, Taken, replay, take
from stylequeue.ledger.names import EVENTS_KEY
from stylequeue.settings import Settings
from tests.support.jobs import make_job
from tests.support.ledger import limited

GROUP = "crm"


def taken(ledger: Ledger, consumer: str = "one", **asked: Any) -> Taken:
    [answer] = ledger._run([take(ledger._moves, GROUP, consumer, **asked)])
    return answer


def subjects(entries: list[Entry]) -> list[str]:
    return [entry.event.partition('"subject":"')[2].partition('"')[0] for entry in entries]


def accepted(ledger: Ledger, count: int = 1) -> list[str]:
    """Ids of jobs that are new, each of which is one event."""
    jobs = [make_job() for _ in range(count)]
    ledger.accept(jobs)
    return [job.id for job in jobs]


def grow_old(ledger: Ledger, consumer: str, idle_s: float) -> None:
    """As if a consumer had not been heard of for so long, nor done with what it has."""
    redis: Any = ledger.redis
    for entry in redis.xpending_range(EVENTS_KEY, GROUP, "-", "+", 1000, consumername=consumer):
        redis.execute_command(
            "XCLAIM", EVENTS_KEY, GROUP, consumer, 0, entry["message_id"],
            "IDLE", int(idle_s * 1000), "RETRYCOUNT", entry["times_delivered"], "JUSTID",
        )  # fmt: skip


def pending(ledger: Ledger) -> int:
    redis: Any = ledger.redis
    return int(redis.xpending(EVENTS_KEY, GROUP)["pending"])


def test_each_event_comes_to_one_of_them_and_is_let_go_when_it_is_done(ledger: Ledger) -> None:
    ids = accepted(ledger, 4)
    first, second = taken(ledger, "one"), taken(ledger, "two", count=2)
    assert subjects(first.entries + second.entries) == ids[:3]
    assert pending(ledger) == 3
    done = [entry.position for entry in second.entries]
    last = taken(ledger, "two", done=done)
    assert subjects(last.entries) == ids[3:]
    assert pending(ledger) == 2
    assert taken(ledger, "two", done=[last.entries[0].position]).entries == []
    assert pending(ledger) == 1


def test_a_new_group_begins_where_it_is_told_to(ledger: Ledger) -> None:
    ids = accepted(ledger, 2)
    [newest] = ledger.redis.xrevrange(EVENTS_KEY, count=1)  # type: ignore[misc]
    [answer] = ledger._run([take(ledger._moves, "late", "one", after="")])
    assert (answer.entries, answer.behind) == ([], newest[0])
    ids += accepted(ledger)
    [answer] = ledger._run([take(ledger._moves, "late", "one", after="0-0")])
    assert subjects(answer.entries) == ids[2:]
    assert subjects(taken(ledger, after="0-0", count=9).entries) == ids


def test_before_there_is_any_event(ledger: Ledger) -> None:
    assert taken(ledger) == Taken(lost=0, is_again=False, behind="0-0", entries=[])
    assert subjects(taken(ledger, "two").entries) == []
    ids = accepted(ledger)
    assert subjects(taken(ledger).entries) == ids


def test_what_a_consumer_had_in_an_earlier_life_comes_first(ledger: Ledger) -> None:
    ids = accepted(ledger, 2)
    taken(ledger)
    again = taken(ledger, own=True)
    assert (subjects(again.entries), again.is_again) == (ids[:1], True)
    assert subjects(taken(ledger, own=True, done=[again.entries[0].position]).entries) == ids[1:]


def test_what_another_has_had_for_too_long_is_taken_from_it(ledger: Ledger) -> None:
    ids = accepted(ledger, 2)
    taken(ledger, "dead")
    assert subjects(taken(ledger, "two", idle_s=60).entries) == ids[1:], "it may be at work"
    grow_old(ledger, "dead", 61)
    again = taken(ledger, "three", idle_s=60)
    assert (subjects(again.entries), again.is_again) == (ids[:1], True)
    assert taken(ledger, "four", idle_s=60).entries == [], "it is another's now"


def test_what_nobody_is_done_with_becomes_a_dead_letter(ledger: Ledger) -> None:
    [poison] = accepted(ledger)
    [entry] = taken(ledger).entries
    for _ in range(MAX_TIMES - 1):
        assert subjects(taken(ledger, own=True).entries) == [poison]
    [fine] = accepted(ledger)
    assert subjects(taken(ledger, own=True).entries) == [fine]
    [letter] = ledger.dead_letters()
    assert (letter.id, letter.kind, letter.queue) == (f"event:{GROUP}:{entry.position}", "event", GROUP)
    assert (letter.code, letter.attempts, letter.message) == ("event_not_handled", MAX_TIMES, entry.event)
    assert pending(ledger) == 1

    assert ledger._run([replay(ledger._moves, letter.id)]) == ["queued"]
    assert ledger.dead_letters() == []
    again = taken(ledger, "two", idle_s=60)
    assert (subjects(again.entries), again.entries[0].event) == ([poison], entry.event)


def test_a_letter_whose_event_is_kept_no_longer_stays_one(ledger: Ledger) -> None:
    accepted(ledger)
    for _ in range(MAX_TIMES + 1):
        taken(ledger, own=True)
    [letter] = ledger.dead_letters()
    ledger.redis.xtrim(EVENTS_KEY, maxlen=0)
    assert ledger._run([replay(ledger._moves, letter.id)]) == ["lost"]
    assert ledger.dead_letters() == [letter]


def test_a_letter_whose_group_is_gone_stays_one(ledger: Ledger) -> None:
    accepted(ledger)
    for _ in range(MAX_TIMES + 1):
        taken(ledger, own=True)
    [letter] = ledger.dead_letters()
    ledger.redis.xgroup_destroy(EVENTS_KEY, GROUP)
    assert ledger._run([replay(ledger._moves, letter.id)]) == ["unknown"]
    assert ledger.dead_letters() == [letter]


def test_what_was_trimmed_unread_is_counted_once(ledger: Ledger) -> None:
    ids = accepted(ledger, 10)
    first = taken(ledger, count=2)
    ledger.redis.xtrim(EVENTS_KEY, maxlen=3, approximate=False)
    answer = taken(ledger, done=[entry.position for entry in first.entries])
    assert (answer.lost, subjects(answer.entries)) == (5, ids[7:8])
    assert taken(ledger).lost == 0


def test_what_was_trimmed_and_read_is_not_lost(ledger: Ledger) -> None:
    accepted(ledger, 4)
    first = taken(ledger, count=2)
    ledger.redis.xtrim(EVENTS_KEY, maxlen=2, approximate=False)
    answer = taken(ledger, done=[entry.position for entry in first.entries], count=9)
    assert (answer.lost, len(answer.entries)) == (0, 2)


def test_a_group_that_begins_with_what_is_left_lost_nothing(ledger: Ledger) -> None:
    ids = accepted(ledger, 4)
    ledger.redis.xtrim(EVENTS_KEY, maxlen=2, approximate=False)
    assert taken(ledger).lost == 0
    [answer] = ledger._run([take(ledger._moves, "late", "one", after="1-0")])
    assert (answer.lost, subjects(answer.entries)) == (-1, ids[2:3]), "it was to begin with what is gone"


def test_what_was_trimmed_while_a_dead_consumer_had_it_is_lost(ledger: Ledger) -> None:
    ids = accepted(ledger, 4)
    taken(ledger, "dead", count=2)
    grow_old(ledger, "dead", 61)
    ledger.redis.xtrim(EVENTS_KEY, maxlen=2, approximate=False)
    answer = taken(ledger, "two", idle_s=60)
    assert (answer.lost, subjects(answer.entries)) == (2, ids[2:3])


def test_only_a_consumer_that_has_nothing_is_forgotten(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylequeue.ledger.groups._FORGOTTEN_AFTER_S", -1)
    accepted(ledger, 2)
    taken(ledger, "busy")
    [entry] = taken(ledger, "done").entries
    taken(ledger, "done", done=[entry.position])
    taken(ledger, "three", idle_s=60)
    redis: Any = ledger.redis
    assert {consumer["name"] for consumer in redis.xinfo_consumers(EVENTS_KEY, GROUP)} == {"busy", "three"}


def test_two_share_a_thousand(settings: Settings) -> None:
    ledger = limited(settings)
    ids = accepted(ledger, 1000)
    seen: dict[str, list[str]] = {"one": [], "two": []}
    done: dict[str, list[str]] = {"one": [], "two": []}
    while True:
        empty = 0
        for consumer in seen:
            answer = taken(ledger, consumer, done=done[consumer], count=7)
            seen[consumer] += subjects(answer.entries)
            done[consumer] = [entry.position for entry in answer.entries]
            empty += not answer.entries
        if empty == 2:
            break
    assert sorted(seen["one"] + seen["two"]) == sorted(ids)
    assert min(map(len, seen.values())) > 400
    assert pending(ledger) == 0
