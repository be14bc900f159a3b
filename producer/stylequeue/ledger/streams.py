"""Events as they lie in Redis: streams, read in order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

from ..connection import Ask
from ..contract.errors import EventsLost, InvalidRequest
from ..contract.events import AnyEvent, read_event

_PAGE = 100
"""Events of a stream read at once."""
_Entry = tuple[str, dict[str, str]]
"""As it lies in a stream: its position and its fields."""


async def read(ask: Ask, stream: str, after: str, block_ms: int | None) -> list[tuple[str, AnyEvent]]:
    """Some events behind position `after`, with their positions; waits up to `block_ms` for the first.

    What is no event is passed over: whoever can write here may have put it there.
    """
    while True:
        entries = (await _xread(ask, {stream: after}, block_ms)).get(stream, [])
        found = _events(entries)
        if found or not entries:
            return found
        after = entries[-1][0]


async def read_each(ask: Ask, after: Mapping[str, str]) -> dict[str, list[tuple[str, AnyEvent]]]:
    """The same of several streams at once, each behind its own position; without those that have nothing there."""
    found = {stream: (entries, _events(entries)) for stream, entries in (await _xread(ask, after)).items()}
    return {
        stream: events or await read(ask, stream, entries[-1][0], None) for stream, (entries, events) in found.items()
    }


async def _xread(ask: Ask, after: Mapping[str, str], block_ms: int | None = None) -> dict[str, list[_Entry]]:
    answer = await ask(lambda redis: redis.xread(dict(after), count=_PAGE, block=block_ms))
    if isinstance(answer, dict):
        return {stream: entries[0] for stream, entries in answer.items()}
    return dict(answer or ())


def _events(entries: Iterable[_Entry]) -> list[tuple[str, AnyEvent]]:
    found = []
    for position, fields in entries:
        with suppress(InvalidRequest):
            found.append((position, read_event(fields.get("event", ""))))
    return found


async def read_whole(ask: Ask, stream: str, after: str, block_ms: int | None) -> list[tuple[str, AnyEvent]]:
    """The same. Raises EventsLost where some behind `after` have been trimmed away, InvalidRequest for no position."""
    behind = _position(after)
    found = await read(ask, stream, after, block_ms)
    # Read first, checked after: what is trimmed in between cannot hide.
    if behind > (0, 0):
        oldest = await ask(lambda redis: redis.xrange(stream, count=1))
        if oldest and _position(oldest[0][0]) > behind:
            raise EventsLost(after)
    return found


async def newest_position(ask: Ask, stream: str) -> str:
    """The position of the newest event, "0" where there is none."""
    newest = await ask(lambda redis: redis.xrevrange(stream, count=1))
    return str(newest[0][0]) if newest else "0"


def whole(position: str) -> str:
    """A position as Redis writes it. Raises InvalidRequest."""
    moment_ms, number = _position(position)
    return f"{moment_ms}-{number}"


def _position(position: str) -> tuple[int, int]:
    """A position in a stream, which is what Redis calls an entry id. Raises InvalidRequest."""
    if not (parts := re.fullmatch(r"(\d{1,16})(?:-(\d{1,16}))?", position, re.ASCII)):
        raise InvalidRequest(f"{position!r} is no position", "give '0' or what came with an event")
    return int(parts[1]), int(parts[2] or 0)
