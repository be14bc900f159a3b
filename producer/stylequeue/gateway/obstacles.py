"""What stands in the way of serving requests."""

from __future__ import annotations

import asyncio

from ..aclient import AsyncStyleQueue
from ..awaiting import for_all

_LOOK_S = 3
"""For Redis and the store to answer whoever asks whether a process is ready."""


class Obstacles:
    """Of one process, and one event loop: it looks once for all who ask at the same time."""

    def __init__(self, queue: AsyncStyleQueue, stopping: asyncio.Event) -> None:
        self._queue = queue
        self._stopping = stopping
        self._looking: asyncio.Task[dict[str, str]] | None = None

    async def found(self) -> dict[str, str]:
        """What stands in the way now, by where. In bounded time, however often it is asked."""
        if self._looking is None or self._looking.done():
            self._looking = for_all(self._queue.readiness())
        looking = self._looking
        await asyncio.wait([looking], timeout=_LOOK_S)
        late = {"gateway": f"Redis or the store takes over {_LOOK_S} s"}
        reasons = looking.result() if looking.done() else late
        return {**reasons, "gateway": "it was told to stop"} if self._stopping.is_set() else reasons

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
