"""Dead letters that are notifications: kept once each, wanted again, and no letters any more when somebody is done."""

from __future__ import annotations

import json

import pytest

from stylequeue.awaiting import run
from stylequeue.contract.errors import Code, JobNotFound
from stylequeue.ledger import Ledger, names, notifications
from stylequeue.local import environment
from stylequeue.settings import Settings
from tests.support.clients import Client
from tests.support.command import Command

RAW = '{"hello": "\x07world"}'


def buried(ledger: Ledger, raw: str = RAW, source: str = "photos") -> str:
    why = {"code": Code.MESSAGE_MALFORMED, "reason": "it says hello"}
    return run(notifications.bury(ledger.asked, raw, source=source, **why))


def wanted(ledger: Ledger, count: int = 10) -> list[str]:
    return [letter.id for letter in run(notifications.wanted_again(ledger.asked, count))]


def test_what_comes_again_is_one_letter(settings: Settings) -> None:
    ledger = Ledger(settings)
    assert buried(ledger) == buried(ledger)
    [letter] = ledger.dead_letters()
    assert (letter.kind, letter.queue, letter.message, letter.reason) == (
        "notification",
        "photos",
        RAW,
        "it says hello",
    )
    others = {buried(ledger, raw="other"), buried(ledger, source="other")}
    assert len({letter.id, *others}) == 3


def test_one_that_is_wanted_again_stays_a_letter_until_somebody_is_done(settings: Settings, client: Client) -> None:
    ledger = Ledger(settings)
    first, second = buried(ledger), buried(ledger, raw="other")
    assert wanted(ledger) == []
    with client(settings) as queue:
        queue.replay(first)
        queue.replay(second)
        queue.replay(first)
        assert set(wanted(ledger)) == {first, second}
        assert len(wanted(ledger, 1)) == 1
        assert {letter.id for letter in queue.dead_letters()} == {first, second}
        buried(ledger)  # no good still
        assert wanted(ledger) == [second]
        queue.drop(second)
        assert wanted(ledger) == []
        with pytest.raises(JobNotFound):
            queue.replay(second)


def test_one_that_had_to_go_meanwhile_is_wanted_no_more(settings: Settings) -> None:
    ledger = Ledger(settings)
    letter = buried(ledger)
    run(ledger.asked.replay_letter(ledger.dead_letter(letter)))
    ledger.redis.delete(names.dead_key(letter))  # as its TTL does
    assert wanted(ledger) == []
    assert not ledger.redis.exists(names.NOTIFIED_AGAIN_KEY)
    ledger.redis.flushdb()


def test_by_the_command(settings: Settings) -> None:
    command = Command(environment(settings))
    ledger = Ledger(settings)
    letter = buried(ledger)
    [listed] = json.loads(command("dead", "list", "--json").stdout)
    assert (listed["id"], listed["kind"], listed["message"]) == (letter, "notification", RAW)
    assert "queued" in command("dead", "replay", letter).stdout
    assert wanted(ledger) == [letter]
    command("dead", "drop", letter)
    assert ledger.dead_letters() == []
