"""Groups of consumers that share the deployment's events among them: the moves of one, and what they answer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..contract.errors import EventsLost
from ..contract.status import EventGroup
from . import names
from .moves import Move, Moves

if TYPE_CHECKING:
    from .aio import AsyncLedger

MAX_TIMES = 5
"""That consumers of a group take an event, of which none is done with it: then it is a dead letter."""
_FORGOTTEN_AFTER_S = 24 * 3600
"""A consumer that has nothing, and was not heard of for so long."""

_LOOKS_SHARE = 0.25
"""Of the time after which an event is taken from who has it, for one look at who has what."""
_LOOK_AT = 100
"""Events that somebody has, in one go."""


@dataclass(frozen=True)
class Entry:
    """One event of the deployment's stream."""

    position: str
    event: str
    """As stored."""
    tenant: str
    """Whose the job is; "": nobody's."""
    notify: str
    """Which endpoints the job names (JSON); "": none."""

    @classmethod
    def of(cls, position: str, fields: Mapping[str, str]) -> Entry:
        """As it lies in Redis."""
        return cls(position, fields.get("event", ""), fields.get("tenant", ""), fields.get("notify", ""))


@dataclass(frozen=True)
class Taken:
    """What a consumer got."""

    lost: int
    """Events that the group has not read or not handled, and that are kept no longer; -1: some."""
    is_again: bool
    """Whether a consumer had them before: this one, or another."""
    behind: str
    """How far the group has read."""
    entries: list[Entry]


def take(
    moves: Moves,
    group: str,
    consumer: str,
    *,
    after: str = "0-0",
    done: Sequence[str] = (),
    own: bool = False,
    idle_s: float = 0,
    count: int = 1,
    max_times: int = MAX_TIMES,
) -> Move[Taken]:
    """Let go of what is `done` (positions), and take up to `count` events, first of all what was taken before.

    That is what this consumer had in an earlier life, if it says `own`, and what others have had for `idle_s`, unless
    that is 0. A group that there is not yet begins behind `after`; "": behind the newest event. What was taken
    `max_times` becomes a dead letter instead; 0: nothing does.
    """
    return moves._move(
        "take_events",
        group=group,
        consumer=consumer,
        after=after,
        done=list(done),
        own=own,
        idle_ms=int(idle_s * 1000),
        count=count,
        look_at=max(count, _LOOK_AT),
        max_times=max_times,
        forget_ms=_FORGOTTEN_AFTER_S * 1000,
        parse=_taken,
    )


def replay(moves: Moves, letter_id: str) -> Move[Literal["queued", "lost", "unknown"]]:
    """Give a dead letter, an event, back to its group."""
    # The group of the deliverers has a colon in its name.
    group, _, position = letter_id.removeprefix("event:").rpartition(":")
    return moves._move("replay_event", id=letter_id, group=group, position=position)


async def known(ledger: AsyncLedger) -> list[EventGroup]:
    """All groups, by their names."""
    if not await ledger._ask(lambda redis: redis.exists(names.EVENTS_KEY)):
        return []
    groups = await ledger._ask(lambda redis: redis.xinfo_groups(names.EVENTS_KEY))
    told = [{**group, "lag": group.get("lag"), "position": group["last-delivered-id"]} for group in groups]
    return sorted(map(EventGroup.model_validate, told), key=lambda group: group.name)


class Consumer:
    """One consumer of a group: takes events, and lets go of them when it takes the next."""

    def __init__(
        self, ledger: AsyncLedger, group: str, name: str, *, after: str, idle_s: float, max_times: int
    ) -> None:
        self._ledger = ledger
        self._group = group
        self._name = name
        self._after = after
        self._idle_s = idle_s
        self._max_times = max_times
        self._had: list[str] = []
        self._behind = "0-0"
        self._has_own = True
        """It may hold some of an earlier life."""
        self._looks_at = 0.0
        """When it looks for what others have had for too long, by the monotonic clock."""

    async def take(self, count: int = 1) -> list[Entry]:
        """The next events, `count` at most. Raises EventsLost, once for all that are lost: who asks again goes on."""
        looks = time.monotonic() >= self._looks_at
        move = take(
            self._ledger._moves,
            self._group,
            self._name,
            after=self._after,
            done=self._had,
            own=self._has_own,
            idle_s=self._idle_s if looks else 0,
            count=count,
            max_times=self._max_times,
        )
        [taken] = await self._ledger.perform([move])
        behind, self._had, self._behind = self._behind, [], taken.behind
        self._has_own = self._has_own and taken.is_again
        if looks and not taken.is_again:
            self._looks_at = time.monotonic() + self._idle_s * _LOOKS_SHARE
        if taken.lost:
            self._has_own = True  # what was taken with it
            raise EventsLost(behind, group=self._group, number=taken.lost if taken.lost > 0 else None)
        self._had = [entry.position for entry in taken.entries]
        return taken.entries

    async def wait(self, wait_s: float) -> None:
        """Return when there is one that the group has not read, or after `wait_s`; for some reasons sooner."""
        await self._ledger.deployment_told(after=self._behind, wait_s=wait_s)


def _taken(answer: Sequence[Any]) -> Taken:
    lost, again, behind, *entries = answer
    return Taken(lost=lost, is_again=again > 0, behind=behind, entries=[Entry(*entry) for entry in entries])
