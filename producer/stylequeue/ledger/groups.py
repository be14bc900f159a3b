"""Groups of consumers that share the deployment's events among them: the moves of one, and what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .moves import Move, Moves

MAX_TIMES = 5
"""That consumers of a group take an event, of which none is done with it: then it is a dead letter."""
_FORGOTTEN_AFTER_S = 24 * 3600
"""A consumer that has nothing, and was not heard of for so long."""

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
) -> Move[Taken]:
    """Let go of what is `done` (positions), and take up to `count` events, first of all what was taken before.

    That is what this consumer had in an earlier life, if it says `own`, and what others have had for `idle_s`, unless
    that is 0. A group that there is not yet begins behind `after`; "": behind the newest event.
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
        max_times=MAX_TIMES,
        forget_ms=_FORGOTTEN_AFTER_S * 1000,
        parse=_taken,
    )


def replay(moves: Moves, letter_id: str) -> Move[Literal["queued", "lost", "unknown"]]:
    """Give a dead letter, an event, back to its group."""
    _, group, position = letter_id.split(":")
    return moves._move("replay_event", id=letter_id, group=group, position=position)


def _taken(answer: Sequence[Any]) -> Taken:
    lost, again, behind, *entries = answer
    return Taken(lost=lost, is_again=again > 0, behind=behind, entries=[Entry(*entry) for entry in entries])
