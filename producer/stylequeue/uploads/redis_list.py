"""Notices from a list in Redis that a store appends to: MinIO's and RustFS's target `redis`, in the format `access`.

Entries are read where they lie and removed once their jobs are on record, so whoever breaks off in between loses none.
Two listeners may look at the same ones: what both take in is one job.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import SecretStr

from ..connection import connect_async, redis_asked
from ..settings import Settings
from .intake import Intake
from .patience import Patience

_AT_ONCE = 100
_LOOK_S = 1.0
"""Between two looks at a list that has no more."""


class RedisListSource:
    """Fetches from a list, in our own Redis or at `url`, and has it taken in."""

    def __init__(self, name: str, key: str, url: SecretStr | None, settings: Settings) -> None:
        self.name = name
        self._key = key
        self._settings = settings if url is None else settings.model_copy(update={"redis_url": url})

    async def run(self, intake: Intake, stopping: asyncio.Event) -> None:
        """Until `stopping`. Raises Unavailable where the list cannot be reached."""
        patience, for_room = Patience(stopping), Patience(stopping)
        skipped = 0
        redis = connect_async(self._settings)
        try:
            while not stopping.is_set():
                with redis_asked(self._settings):
                    entries = await self._look(redis, skipped)
                if not entries:
                    skipped = 0
                    await patience.pause(_LOOK_S)
                    continue
                found = await patience.until(lambda: intake.read_each(entries, source=self.name), source=self.name)  # noqa: B023
                if found is None:
                    return
                settled = [all(outcome.is_settled for outcome in outcomes) for outcomes in found]
                with redis_asked(self._settings):
                    await self._remove(redis, [one for one, is_done in zip(entries, settled, strict=True) if is_done])
                # What has to wait stays in front, and is looked at again once the others were.
                skipped += settled.count(False)
                if any(settled):
                    for_room.end()
                else:
                    await for_room.pause()
        finally:
            await redis.aclose()

    async def _look(self, redis: Any, skipped: int) -> list[bytes]:
        """The oldest entries behind those, undecoded: anybody may have put anything there."""
        from redis.client import NEVER_DECODE

        last = skipped + _AT_ONCE - 1
        entries: Any = await redis.execute_command("LRANGE", self._key, skipped, last, **{NEVER_DECODE: True})
        return list(entries)

    async def _remove(self, redis: Any, entries: list[bytes]) -> None:
        pipeline: Any = redis.pipeline(transaction=False)
        for entry in entries:
            pipeline.lrem(self._key, 1, entry)
        await pipeline.execute()
