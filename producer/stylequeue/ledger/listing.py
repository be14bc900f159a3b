"""All jobs on record, the newest first, page by page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from ..contract.errors import InvalidRequest
from ..contract.status import JobPage, JobState, JobStatus
from . import names
from .record import Record

if TYPE_CHECKING:
    from redis import Redis

MAX_PAGE = 1000
"""Jobs of one page."""
_INDEX_PAGE = 500
"""Entries of the index looked at in one round trip; far more than can be made in one millisecond, its resolution."""
_RECORD_PAGE = 100
"""Records read in one round trip."""


def page(redis: Redis, *, state: JobState | None, label: Mapping[str, str], after: str | None, limit: int) -> JobPage:
    """Up to `limit` jobs behind `after`. Raises InvalidRequest."""
    if state is not None and state not in get_args(JobState):
        raise InvalidRequest(f"there is no state {state!r}", f"one of {', '.join(get_args(JobState))}")
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"limit {limit} is out of range", f"ask for 1 to {MAX_PAGE} jobs at once")
    found: list[JobStatus] = []
    for position, record in _records(redis, state, None if after is None else _parse(after)):
        if len(found) == limit:
            return JobPage(found, after=after)
        after = position
        if state in (None, record.state) and label.items() <= record.labels.items():
            found.append(record.status)
    return JobPage(found)


def _records(redis: Redis, state: JobState | None, behind: tuple[int, str] | None) -> Iterator[tuple[str, Record]]:
    """Records behind a position, each with its own, but for those that an index knows to be in another state."""
    while True:
        newest: Any = "+inf" if behind is None else behind[0]
        entries: Any = redis.zrange(
            names.CREATED_KEY, newest, "-inf", desc=True, byscore=True, withscores=True, offset=0, num=_INDEX_PAGE
        )
        there = [(int(created_ms), job_id) for job_id, created_ms in entries]
        # Of those made in the same millisecond, the greatest id comes first.
        fresh = [entry for entry in there if behind is None or entry < behind]
        if not fresh:
            return
        behind = fresh[-1]
        if state is not None:
            scores: Any = redis.zmscore(names.state_key(state), [job_id for _, job_id in fresh])
            fresh = [entry for entry, score in zip(fresh, scores, strict=True) if score is not None]
        for start in range(0, len(fresh), _RECORD_PAGE):
            some = fresh[start : start + _RECORD_PAGE]
            pipeline = redis.pipeline(transaction=False)
            for _, job_id in some:
                pipeline.hgetall(names.record_key(job_id))
            for (created_ms, job_id), fields in zip(some, pipeline.execute(), strict=True):
                if fields:  # else the record has expired by now
                    yield f"{created_ms}-{job_id}", Record.from_redis(fields)


def _parse(position: str) -> tuple[int, str]:
    if not (parts := re.fullmatch(r"(\d{1,16})-(.+)", position, re.ASCII)):
        raise InvalidRequest(f"{position!r} is no position in the list of jobs", "give the `after` of a page before")
    return int(parts[1]), parts[2]
