"""Looks through a bucket now and then for uploads that nobody told of.

A list has no "since": all that lies under the prefix is looked at, 1000 objects a request, and what is newer than the
last sweep is taken in. What is known already is the same job.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from itertools import count

from pydantic import AwareDatetime, BaseModel, ValidationError

from ..aclient import AsyncStyleQueue
from ..contract.errors import QueueFull, TooManyOpenJobs
from ..contract.uploads import ListedUpload, UploadListing
from .intake import Intake, Outcome
from .notices import Notice
from .patience import Patience

log = logging.getLogger(__name__)

_SHARE = 0.9
"""Of the time between two sweeps, before which one of another listener's counts as ours."""
_ROUNDS = 4
"""In which a sweep tries a page whose queue is full, before it goes on: the next sweep looks at it again."""


def notice_of(upload: ListedUpload, *, source: str) -> Notice:
    """What a store would have told of it: its job has the same id."""
    return Notice(
        source=source,
        bucket=upload.bucket,
        key=upload.key,
        version=upload.version_id,
        etag=upload.etag or None,
        size_bytes=upload.size_bytes,
        event_time=upload.written_at,
    )


async def pages(
    queue: AsyncStyleQueue, bucket: str, prefix: str, *, after: str | None = None
) -> AsyncIterator[UploadListing]:
    """All that lies there, behind the key `after`, 1000 objects a request. Raises what the store does."""
    by_version = await queue.keeps_versions(bucket)
    while True:
        page = await queue.list_uploads(bucket, prefix, after=after, by_version=by_version)
        yield page
        if page.after is None:
            return
        after = page.after


async def take_in(
    intake: Intake, notices: Sequence[Notice], patience: Patience, *, source: str, rounds: int | None = None
) -> list[Outcome] | None:
    """Take them all in, and wait where a queue is full, for `rounds` tries at most (None: as long as it takes).

    What waits for anything else, and what found no room in time, is still unsettled. None where the listener is to stop
    before.
    """
    ended: list[Outcome] = []
    for_room = Patience(patience.stopping)
    for tried in count(1):
        outcomes = await patience.until(lambda: intake.take(notices), source=source)  # noqa: B023
        if outcomes is None:
            return None
        if tried == rounds:
            return ended + outcomes
        ended += [outcome for outcome in outcomes if not _waits_for_room(outcome)]
        notices = [outcome.notice for outcome in outcomes if _waits_for_room(outcome)]
        if not notices:
            break
        await for_room.pause()
    return ended


def _waits_for_room(outcome: Outcome) -> bool:
    return not outcome.is_settled and isinstance(outcome.error, QueueFull | TooManyOpenJobs)


class _State(BaseModel):
    """How far a sweep has got: kept in Redis, for whoever sweeps next."""

    first: AwareDatetime
    """When the place was swept first, by the store's clock: what lay there before is no upload of ours."""
    behind: AwareDatetime
    """When the last sweep that left nothing behind began, likewise."""
    at_s: float
    """When the last that came to its end did, by the clock here; 0: none yet."""


class Sweep:
    """Looks through one place, `every_s` seconds, at what came there since `overlap_s` before the last look."""

    def __init__(self, name: str, bucket: str, prefix: str, *, every_s: float, overlap_s: float) -> None:
        self.name = name
        self._bucket, self._prefix = bucket, prefix
        self._every_s = every_s
        self._overlap = timedelta(seconds=overlap_s)
        self._position = f"sweep:{bucket}/{prefix}"

    async def run(self, intake: Intake, stopping: asyncio.Event) -> None:
        """Until `stopping`. Raises what Redis and the store do."""
        patience = Patience(stopping)
        while not stopping.is_set():
            state = await self._state(intake.queue)
            wait_s = self._every_s if state is None else state.at_s + self._every_s - time.time()
            if state is None or wait_s <= self._every_s * (1 - _SHARE):
                await self.round(intake, patience)
                wait_s = self._every_s
            await patience.pause(min(max(wait_s, 0.0), self._every_s))

    async def round(self, intake: Intake, patience: Patience) -> int:
        """One sweep: how many uploads became jobs that nobody had told of. Raises what Redis and the store do."""
        queue = intake.queue
        state, began = await self._state(queue), None
        found, left = 0, 0
        async for page in pages(queue, self._bucket, self._prefix):
            began = began or page.listed_at
            state = state or await self._begin(queue, began)
            since = max(state.first, state.behind - self._overlap)
            newer = [notice_of(upload, source=self.name) for upload in page.uploads if upload.written_at >= since]
            # Where one page found no room the others hardly will.
            outcomes = await take_in(intake, newer, patience, source=self.name, rounds=1 if left else _ROUNDS)
            if outcomes is None or patience.stopping.is_set():
                return found  # all is looked at again
            found += sum(outcome.verdict == "recorded" for outcome in outcomes)
            left += sum(not outcome.is_settled for outcome in outcomes)
        if state is not None and began is not None:
            # What waits for so long is given up: what was painted meanwhile would be again, for nobody remembers it.
            behind = max(state.behind, began - self._remembered(queue)) if left else began
            await self._keep(queue, _State(first=state.first, behind=behind, at_s=time.time()))
        if found:
            log.warning("source=%s %d uploads became jobs that nobody had told of", self.name, found)
        if left:
            log.warning("source=%s %d uploads have to wait: the next sweep looks at them again", self.name, left)
        return found

    def _remembered(self, queue: AsyncStyleQueue) -> timedelta:
        """How far behind a sweep the next one may look, less the overlap: all that came since is on record still."""
        return timedelta(seconds=queue.settings.record_ttl_s - self._every_s) - self._overlap

    async def _begin(self, queue: AsyncStyleQueue, began: datetime) -> _State:
        """From here on uploads are ours, whether or not this first sweep comes to its end."""
        # Another listener may have begun while the first page was asked for.
        state = await self._state(queue) or _State(first=began, behind=began, at_s=0)
        await self._keep(queue, state)
        return state

    async def _keep(self, queue: AsyncStyleQueue, state: _State) -> None:
        await queue.keep_upload_position(self._position, state.model_dump_json())

    async def _state(self, queue: AsyncStyleQueue) -> _State | None:
        told = await queue.upload_position(self._position)
        try:
            return _State.model_validate_json(told) if told else None
        except ValidationError:
            log.warning("source=%s where it was is not to be read: it begins anew", self.name)
            return None
