"""Jobs and dead letters, the newest first, page by page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from ..connection import Ask
from ..contract.delivery import Delivery
from ..contract.errors import InvalidRequest
from ..contract.status import DeadLetter, JobState, JobStatus, Page
from . import names
from .names import KeyOfEach
from .record import Record, dead_letter_from_redis, delivery_from_redis

MAX_PAGE = 1000
"""Entries of one page."""
_INDEX_PAGE = 500
"""Entries of an index looked at in one round trip; far more than can be made in one millisecond, its resolution."""
_HASH_PAGE = 100
"""Hashes read in one round trip."""

_T = TypeVar("_T")
_Entry = tuple[int, str]
"""Where something stands in its index: the moment in milliseconds, and its id."""


async def jobs(
    ask: Ask,
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

    def wanted(fields: dict[str, str]) -> JobStatus | None:
        record = Record.from_redis(fields)
        is_wanted = state in (None, record.state) and label.items() <= record.labels.items()
        return record.status if is_wanted else None

    index = names.tenant_key(tenant) if tenant else names.CREATED_KEY
    among = None if state is None else names.state_key(state)
    return await _page(ask, index, among, names.record_key, wanted, after, limit)


async def dead_letters(ask: Ask, *, tenant: str | None, after: str | None, limit: int) -> Page[DeadLetter]:
    """Up to `limit` dead letters behind `after`, all or those of a `tenant`'s jobs. Raises InvalidRequest."""
    among = None if tenant is None else names.tenant_key(tenant)
    return await _page(ask, names.DEAD_KEY, among, names.dead_key, dead_letter_from_redis, after, limit)


async def deliveries(ask: Ask, endpoint: str, *, state: str | None, after: str | None, limit: int) -> Page[Delivery]:
    """Up to `limit` deliveries behind `after` to an endpoint, those in `state` alone if it is given.

    Raises InvalidRequest.
    """

    def wanted(fields: dict[str, str]) -> Delivery | None:
        return delivery_from_redis(fields) if state in (None, fields["state"]) else None

    key = KeyOfEach(names.delivery_key(f"{endpoint}:"))
    return await _page(ask, names.deliveries_key(endpoint), None, key, wanted, after, limit)


async def _page(
    ask: Ask,
    index: str,
    among: str | None,
    key: KeyOfEach,
    wanted: Callable[[dict[str, str]], _T | None],
    after: str | None,
    limit: int,
) -> Page[_T]:
    """Of an index, those that stand in index `among` too and are `wanted`, by their hashes."""
    if not (isinstance(limit, int) and 1 <= limit <= MAX_PAGE):
        raise InvalidRequest(f"limit {limit} is out of range", f"ask for 1 to {MAX_PAGE} at once")
    found: list[_T] = []
    behind = None if after is None else _parse(after)
    while entries := await _newest(ask, index, behind):
        behind = entries[-1]
        if among is not None:
            entries = await _among(ask, among, entries)
        for start in range(0, len(entries), _HASH_PAGE):
            some = entries[start : start + _HASH_PAGE]
            for (moment_ms, entry_id), fields in zip(some, await _hashes(ask, key, some), strict=True):
                one = wanted(fields) if fields else None  # else it has expired by now
                if one is None:
                    continue
                if len(found) == limit:
                    return Page(found, after=after)
                found.append(one)
                after = f"{moment_ms}-{entry_id}"
    return Page(found)


async def _newest(ask: Ask, index: str, behind: _Entry | None) -> list[_Entry]:
    newest = "+inf" if behind is None else behind[0]
    entries = await ask(
        lambda redis: redis.zrange(
            index, newest, "-inf", desc=True, byscore=True, withscores=True, offset=0, num=_INDEX_PAGE
        )
    )
    there = [(int(moment_ms), entry_id) for entry_id, moment_ms in entries]
    # Of those of the same millisecond, the greatest id comes first.
    return [entry for entry in there if behind is None or entry < behind]


async def _among(ask: Ask, index: str, entries: Sequence[_Entry]) -> list[_Entry]:
    """Those entries whose ids stand in another index too."""
    scores = await ask(lambda redis: redis.zmscore(index, [entry_id for _, entry_id in entries]))
    return [entry for entry, score in zip(entries, scores, strict=True) if score is not None]


async def _hashes(ask: Ask, key: KeyOfEach, entries: Sequence[_Entry]) -> list[dict[str, str]]:
    def read(redis: Any) -> Any:
        pipeline = redis.pipeline(transaction=False)
        for _, entry_id in entries:
            pipeline.hgetall(key(entry_id))
        return pipeline.execute()

    hashes: list[dict[str, str]] = await ask(read)
    return hashes


def _parse(position: str) -> _Entry:
    if not (parts := re.fullmatch(r"(\d{1,16})-(.+)", position, re.ASCII)):
        raise InvalidRequest(f"{position!r} is no position in a list", "give the `after` of a page before")
    return int(parts[1]), parts[2]
