"""Jobs and dead letters, the newest first, page by page."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, get_args

from ..connection import Ask
from ..contract.delivery import Delivery
from ..contract.errors import InvalidRequest
from ..contract.status import DeadLetter, JobState, Page
from . import names
from .names import KeyOfEach
from .record import Record, dead_letter_from_redis, delivery_from_redis

MAX_PAGE = 1000
"""Entries of one page."""
_BOUND = 1000
"""Entries of an index that a bounded page looks at."""
_INDEX_PAGE = 500
"""Entries of an index looked at in one round trip; far more than can be made in one millisecond, its resolution."""
_HASH_PAGE = 100
"""Hashes read in one round trip, at most, ..."""
_LEAST_HASHES = 25
"""... and at least: not all of them may be wanted."""

_T = TypeVar("_T")
_Entry = tuple[int, str]
"""Where something stands in its index: the moment in milliseconds, and its id."""


@dataclass(frozen=True)
class JobsWanted:
    """Which jobs a list is to have: all or a `tenant`'s, in `state`, with all of these labels, of this time."""

    tenant: str | None
    state: JobState | None
    label: Mapping[str, str]
    created_after: datetime | None
    """That moment included."""
    created_before: datetime | None
    indexed_labels: Collection[str]
    """Of which there are indexes."""


async def jobs(
    ask: Ask, wanted: JobsWanted, *, after: str | None, limit: int, is_bounded: bool = False
) -> Page[Record]:
    """Up to `limit` jobs behind `after`, found by the smallest index that there is.

    `is_bounded`: looks at no more than 1000 entries of it; then a page may have fewer, and yet others follow. Raises
    InvalidRequest.
    """
    if wanted.state is not None and wanted.state not in get_args(JobState):
        raise InvalidRequest(f"there is no state {wanted.state!r}", f"one of {', '.join(get_args(JobState))}")
    base = names.tenant_key(wanted.tenant) if wanted.tenant else names.CREATED_KEY
    by_label = [
        names.label_key(names.label_index(wanted.tenant, name, value))
        for name, value in wanted.label.items()
        if name in wanted.indexed_labels
    ]
    by_state = [names.state_key(wanted.state)] if wanted.state else []
    sizes = await _sizes(ask, [base, *by_label, *by_state])
    walked = min([base, *by_label], key=lambda index: sizes[index])
    others = [*by_state, *(index for index in by_label if index != walked)]

    def read(fields: dict[str, str]) -> Record | None:
        record = Record.from_redis(fields)
        is_wanted = wanted.state in (None, record.state) and wanted.label.items() <= record.labels.items()
        return record if is_wanted else None

    walk = _Walk(ask, walked, _span(wanted))
    if by_state and sizes[by_state[0]] <= min(_BOUND, sizes[walked]):
        # Few are in this state, and their index has another order.
        walk = _Walk(ask, walked, _span(wanted), few=await _members(ask, by_state[0]))
    return await _page(walk, others, names.record_key, read, after, limit, _BOUND if is_bounded else None)


async def dead_letters(ask: Ask, *, tenant: str | None, after: str | None, limit: int) -> Page[DeadLetter]:
    """Up to `limit` dead letters behind `after`, all or those of a `tenant`'s jobs. Raises InvalidRequest."""
    among = [] if tenant is None else [names.tenant_key(tenant)]
    return await _page(_Walk(ask, names.DEAD_KEY), among, names.dead_key, dead_letter_from_redis, after, limit)


async def deliveries(ask: Ask, endpoint: str, *, state: str | None, after: str | None, limit: int) -> Page[Delivery]:
    """Up to `limit` deliveries behind `after` to an endpoint, those in `state` alone if it is given.

    Raises InvalidRequest.
    """

    def wanted(fields: dict[str, str]) -> Delivery | None:
        return delivery_from_redis(fields) if state in (None, fields["state"]) else None

    key = KeyOfEach(names.delivery_key(f"{endpoint}:"))
    return await _page(_Walk(ask, names.deliveries_key(endpoint)), (), key, wanted, after, limit)


async def _page(
    walk: _Walk,
    others: Sequence[str],
    key: KeyOfEach,
    read: Callable[[dict[str, str]], _T | None],
    after: str | None,
    limit: int,
    bound: int | None = None,
) -> Page[_T]:
    """Of what is walked, what stands in the `others` too and comes to something when its hash is read."""
    if not (isinstance(limit, int) and 1 <= limit <= MAX_PAGE):
        raise InvalidRequest(f"limit {limit} is out of range", f"ask for 1 to {MAX_PAGE} at once")
    found: list[_T] = []
    looked_at = 0
    behind = None if after is None else _parse(after)
    while entries := await walk.behind(behind):
        behind = entries[-1]
        looked_at += len(entries)
        for index in others:
            entries = await _among(walk.ask, index, entries)
        while entries:
            count = min(max(limit + 1 - len(found), _LEAST_HASHES), _HASH_PAGE)
            some, entries = entries[:count], entries[count:]
            for entry, fields in zip(some, await _hashes(walk.ask, key, some), strict=True):
                one = read(fields) if fields else None  # else it has expired by now
                if one is None:
                    continue
                if len(found) == limit:
                    return Page(found, after=after)
                found.append(one)
                after = _position(entry)
        if bound is not None and looked_at >= bound:
            return Page(found, after=_position(behind))
    return Page(found)


@dataclass(frozen=True)
class _Walk:
    """An index from its newest entry on, within a span of time; only the `few`, where these are given."""

    ask: Ask
    index: str
    span: tuple[int | None, int | None] = (None, None)
    """Milliseconds, the first included, the last not."""
    few: Sequence[str] | None = None

    async def behind(self, entry: _Entry | None) -> list[_Entry]:
        """Some entries behind one, in order; none at the end."""
        first, last = self.span
        if self.few is not None:
            there = sorted(await self._of_few(), reverse=True)
            within = [one for one in there if (first or 0) <= one[0] and (last is None or one[0] < last)]
            return [one for one in within if entry is None or one < entry]
        newest = entry[0] if entry is not None else "+inf" if last is None else f"({last}"
        entries = await self.ask(
            lambda redis: redis.zrange(
                self.index,
                newest,
                "-inf" if first is None else first,
                desc=True,
                byscore=True,
                withscores=True,
                offset=0,
                num=_INDEX_PAGE,
            )
        )
        there = [(int(moment_ms), entry_id) for entry_id, moment_ms in entries]
        # Of those of the same millisecond, the greatest id comes first.
        return [one for one in there if entry is None or one < entry]

    async def _of_few(self) -> list[_Entry]:
        if not self.few:
            return []
        scores = await self.ask(lambda redis: redis.zmscore(self.index, self.few))
        return [(int(score), entry_id) for entry_id, score in zip(self.few, scores, strict=True) if score is not None]


def _span(wanted: JobsWanted) -> tuple[int | None, int | None]:
    first, last = (
        None if moment is None else math.ceil(moment.timestamp() * 1000)
        for moment in (wanted.created_after, wanted.created_before)
    )
    return first, last


async def _sizes(ask: Ask, indexes: Sequence[str]) -> dict[str, int]:
    def read(redis: Any) -> Any:
        pipeline = redis.pipeline(transaction=False)
        for index in indexes:
            pipeline.zcard(index)
        return pipeline.execute()

    return dict(zip(indexes, await ask(read), strict=True))


async def _members(ask: Ask, index: str) -> list[str]:
    members: list[str] = await ask(lambda redis: redis.zrange(index, 0, -1))
    return members


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


def _position(entry: _Entry) -> str:
    return f"{entry[0]}-{entry[1]}"


def _parse(position: str) -> _Entry:
    if not (parts := re.fullmatch(r"(\d{1,16})-(.+)", position, re.ASCII)):
        raise InvalidRequest(f"{position!r} is no position in a list", "give the `after` of a page before")
    return int(parts[1]), parts[2]
