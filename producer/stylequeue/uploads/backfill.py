"""Makes jobs of what lay in a bucket before anybody listened: by the same rules, under the same ids.

How far it has got is kept, so that one that was broken off goes on there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ValidationError

from ..aclient import AsyncStyleQueue
from ..contract.uploads import ListedUpload
from .intake import Intake, Verdict
from .patience import Patience
from .refusals import why_no_picture
from .rules import Rules
from .sweep import notice_of, pages, take_in

log = logging.getLogger(__name__)

SOURCE = "backfill"
_AT_ONCE = 1000
_NAMED = 100
"""Of what has to wait."""


@dataclass
class Tally:
    """What a backfill has done."""

    listed: int = 0
    """Objects looked at."""
    taken: int = 0
    """Of them, uploads that a rule may be for."""
    requests: int = 0
    """Pages of the bucket's list that were asked for."""
    came_to: Counter[Verdict] = field(default_factory=Counter)
    by_rule: Counter[str] = field(default_factory=Counter)
    """In a dry run: how many a rule has."""
    resumed_behind: str | None = None
    """The key behind which one that was broken off went on."""
    waiting: list[str] = field(default_factory=list)
    """Of what came to `later`, the first hundred: passed by, and taken in by one that begins anew."""
    is_whole: bool = False
    """Whether it came to the end of the list."""


class _Cursor(BaseModel):
    after: str
    since: AwareDatetime | None


class Backfill:
    """Of what lies under a prefix, and came there `since`; at most `limit` uploads, `rate_per_s` of them.

    `asked_since` is `since` as somebody wrote it ("30d"): one that was broken off goes on where the same was written,
    with the time that was meant then.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        since: datetime | None = None,
        asked_since: str | None = None,
        limit: int | None = None,
        rate_per_s: float | None = None,
        dry_run: bool = False,
        anew: bool = False,
    ) -> None:
        self._bucket, self._prefix = bucket, prefix
        self._since = since
        self._limit = limit
        self._rate_per_s = rate_per_s
        self._dry_run = dry_run
        self._anew = anew
        if since and not asked_since:
            asked_since = since.isoformat()
        # No bucket's name has a "=".
        self._position = "backfill:" + (f"since={asked_since}:" if asked_since else "") + f"{bucket}/{prefix}"

    async def run(
        self, intake: Intake, stopping: asyncio.Event, tell: Callable[[Tally], None] = lambda _: None
    ) -> Tally:
        """Until nothing is left, the limit is reached, or `stopping`; `tell` hears how it goes.

        Raises what Redis and the store do; run again, it goes on where it was.
        """
        tally = Tally()
        cursor = await self._cursor(intake.queue)
        tally.resumed_behind = cursor.after if cursor else None
        since = cursor.since if cursor else self._since
        patience = Patience(stopping)
        async for page in pages(intake.queue, self._bucket, self._prefix, after=tally.resumed_behind):
            if stopping.is_set():
                return tally
            tally.requests += 1
            uploads = page.uploads
            while uploads:
                # So small that each takes about a second at the rate that is asked for.
                count = min(_AT_ONCE, max(1, int(self._rate_per_s or _AT_ONCE)))
                if self._limit is not None:
                    count = min(count, self._limit - tally.taken)
                some, uploads = uploads[:count], uploads[count:]
                if not some or stopping.is_set():
                    return tally
                began = time.monotonic()
                taken = await self._take(
                    intake, [one for one in some if not since or one.written_at >= since], patience, tally
                )
                if taken is None:
                    return tally
                tally.listed += len(some)
                if not self._dry_run:
                    kept = _Cursor(after=some[-1].key, since=since)
                    await intake.queue.keep_upload_position(self._position, kept.model_dump_json())
                tell(tally)
                if self._rate_per_s and taken:
                    await patience.pause(max(0.0, taken / self._rate_per_s - (time.monotonic() - began)))
        tally.is_whole = True
        if not self._dry_run:
            await intake.queue.keep_upload_position(self._position, None)
        return tally

    async def _take(
        self, intake: Intake, uploads: Sequence[ListedUpload], patience: Patience, tally: Tally
    ) -> int | None:
        """Take in those that a rule may be for, and say how many; None where told to stop before."""
        found = [
            (notice, intake.rules.candidates(notice)) for notice in (notice_of(one, source=SOURCE) for one in uploads)
        ]
        wanted = [(notice, candidates) for notice, candidates in found if candidates]
        if self._dry_run:
            for notice, candidates in wanted:
                refused = why_no_picture(notice, max_bytes=intake.queue.settings.max_image_bytes)
                tally.came_to["refused" if refused else "recorded"] += 1
                tally.by_rule.update(rule.rule.name for rule in Rules.first(candidates) if not refused)
        else:
            outcomes = await take_in(intake, [notice for notice, _ in wanted], patience, source=SOURCE)
            if outcomes is None:
                return None
            tally.came_to.update(outcome.verdict for outcome in outcomes)
            waiting = [outcome.notice.uri for outcome in outcomes if not outcome.is_settled]
            tally.waiting += waiting[: _NAMED - len(tally.waiting)]
        tally.came_to["no_rule"] += len(uploads) - len(wanted)
        tally.taken += len(wanted)
        return len(wanted)

    async def _cursor(self, queue: AsyncStyleQueue) -> _Cursor | None:
        if self._anew or self._dry_run:
            return None
        told = await queue.upload_position(self._position)
        try:
            return _Cursor.model_validate_json(told) if told else None
        except ValidationError:
            log.warning("where the backfill was is not to be read: it begins anew")
            return None
