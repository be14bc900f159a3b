"""Looks through a bucket now and then for uploads that nobody told of.

A list has no "since": all that lies under the prefix is looked at, 1000 objects a request, and what is newer than the
last sweep is taken in. What is known already is the same job.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ValidationError

from ..aclient import AsyncStyleQueue
from ..contract.uploads import ListedUpload, UploadListing
from .intake import Intake, Outcome
from .notices import Notice
from .patience import Patience

log = logging.getLogger(__name__)

_SHARE = 0.9
"""Of the time between two sweeps, before which one of another listener's counts as ours."""


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


async def take_in(intake: Intake, notices: list[Notice], patience: Patience, *, source: str) -> list[Outcome] | None:
    """Take them all in, and wait where a queue is full; None where the listener is to stop before."""
    settled: list[Outcome] = []
    while notices:
        outcomes = await patience.until(lambda: intake.take(notices), source=source)  # noqa: B023
        if outcomes is None:
            return None
        settled += [outcome for outcome in outcomes if outcome.is_settled]
        notices = [outcome.notice for outcome in outcomes if not outcome.is_settled]
        if notices:
            await patience.pause()
    return settled


class _State(BaseModel):
    """How far a sweep has got: kept in Redis, for whoever sweeps next."""

    first: AwareDatetime
    """When the place was swept first, by the store's clock: what lay there before is no upload of ours."""
    behind: AwareDatetime
    """When the last sweep that came to its end began, likewise."""
    at_s: float
    """When it did, by the clock here."""


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
        state = await self._state(queue)
        began: datetime | None = None
        found = 0
        async for page in pages(queue, self._bucket, self._prefix):
            began = began or page.listed_at
            since = max(state.first, state.behind - self._overlap) if state else began
            newer = [notice_of(upload, source=self.name) for upload in page.uploads if upload.written_at >= since]
            outcomes = await take_in(intake, newer, patience, source=self.name)
            if outcomes is None:
                return found  # all is looked at again
            found += sum(outcome.verdict == "recorded" for outcome in outcomes)
        if began is not None:
            kept = _State(first=state.first if state else began, behind=began, at_s=time.time())
            await queue.keep_upload_position(self._position, kept.model_dump_json())
        if found:
            log.warning("source=%s %d uploads became jobs that nobody had told of", self.name, found)
        return found

    async def _state(self, queue: AsyncStyleQueue) -> _State | None:
        told = await queue.upload_position(self._position)
        try:
            return _State.model_validate_json(told) if told else None
        except ValidationError:
            log.warning("source=%s where it was is not to be read: it begins anew", self.name)
            return None
