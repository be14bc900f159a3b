"""Jobs and dead letters, the newest first, page by page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from ..contract.errors import InvalidRequest
from ..contract.status import DeadLetter, JobState, JobStatus, Page
from . import names
from .names import KeyOfEach
from .record import Record, dead_letter_from_redis

if TYPE_CHECKING:
    from redis import Redis

MAX_PAGE = 1000
"""Entries of one page."""
_INDEX_PAGE = 500
"""Entries of an index looked at in one round trip; far more than can be made in one millisecond, its resolution."""
_HASH_PAGE = 100
"""Hashes read in one round trip."""

_T = TypeVar("_T")
_Entry = tuple[int, str]
"""Where something stands in its index: the moment in milliseconds, and its id."""


def jobs(
    redis: Redis,
    *,
    tenant: str | None,
    state: JobState | None,
    label: Mapping[str, str],
    after: str | None,
    limit: int,
) -> Page[JobStatus]:
    """Up to `limit` jobs behind `after`, all or a `tenant`'s, that are in `state` and have all of these labels.

    Raises InvalidRequest.
    """
    if state is not None and state not in get_args(JobState):
        raise InvalidRequest(f"there is no state {state!r}", f"one of {', '.join(get_args(JobState))}")

    def look(entries: Sequence[_Entry]) -> Iterator[tuple[_Entry, JobStatus]]:
        if state is not None:
            entries = _among(redis, names.state_key(state), entries)
        for entry, fields in _hashes(redis, names.record_key, entries):
            record = Record.from_redis(fields)
            if state in (None, record.state) and label.items() <= record.labels.items():
                yield entry, record.status

    return _page(redis, names.tenant_key(tenant) if tenant else names.CREATED_KEY, look, after, limit)


def dead_letters(redis: Redis, *, tenant: str | None, after: str | None, limit: int) -> Page[DeadLetter]:
    """Up to `limit` dead letters behind `after`, all or those of a `tenant`'s jobs. Raises InvalidRequest."""

    def look(entries: Sequence[_Entry]) -> Iterator[tuple[_Entry, DeadLetter]]:
        if tenant is not None:
            entries = _among(redis, names.tenant_key(tenant), entries)
        for entry, fields in _hashes(redis, names.dead_key, entries):
            yield entry, dead_letter_from_redis(fields)

    return _page(redis, names.DEAD_KEY, look, after, limit)


def _page(
    redis: Redis,
    index: str,
    look: Callable[[Sequence[_Entry]], Iterator[tuple[_Entry, _T]]],
    after: str | None,
    limit: int,
) -> Page[_T]:
    if not (isinstance(limit, int) and 1 <= limit <= MAX_PAGE):
        raise InvalidRequest(f"limit {limit} is out of range", f"ask for 1 to {MAX_PAGE} at once")
    found: list[_T] = []
    for entries in _newest_first(redis, index, None if after is None else _parse(after)):
        for (moment_ms, entry_id), one in look(entries):
            if len(found) == limit:
                return Page(found, after=after)
            found.append(one)
            after = f"{moment_ms}-{entry_id}"
    return Page(found)


def _newest_first(redis: Redis, index: str, behind: _Entry | None) -> Iterator[list[_Entry]]:
    while True:
        newest: Any = "+inf" if behind is None else behind[0]
        entries: Any = redis.zrange(
            index, newest, "-inf", desc=True, byscore=True, withscores=True, offset=0, num=_INDEX_PAGE
        )
        there = [(int(moment_ms), entry_id) for entry_id, moment_ms in entries]
        # Of those of the same millisecond, the greatest id comes first.
        fresh = [entry for entry in there if behind is None or entry < behind]
        if not fresh:
            return
        behind = fresh[-1]
        yield fresh


def _among(redis: Redis, index: str, entries: Sequence[_Entry]) -> list[_Entry]:
    """Those entries whose ids stand in another index too."""
    scores: Any = redis.zmscore(index, [entry_id for _, entry_id in entries])
    return [entry for entry, score in zip(entries, scores, strict=True) if score is not None]


def _hashes(redis: Redis, key: KeyOfEach, entries: Sequence[_Entry]) -> Iterator[tuple[_Entry, dict[str, str]]]:
    for start in range(0, len(entries), _HASH_PAGE):
        some = entries[start : start + _HASH_PAGE]
        pipeline = redis.pipeline(transaction=False)
        for _, entry_id in some:
            pipeline.hgetall(key(entry_id))
        for entry, fields in zip(some, pipeline.execute(), strict=True):
            if fields:  # else it has expired by now
                yield entry, fields


def _parse(position: str) -> _Entry:
    if not (parts := re.fullmatch(r"(\d{1,16})-(.+)", position, re.ASCII)):
        raise InvalidRequest(f"{position!r} is no position in a list", "give the `after` of a page before")
    return int(parts[1]), parts[2]
