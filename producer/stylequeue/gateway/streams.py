"""The streams that a process has open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from ..contract.errors import StyleQueueError

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Streams:
    """They end when the process is told to stop: it need not wait for them. Of one event loop."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._waiting: set[asyncio.Timeout] = set()
        self._ending: asyncio.Task[None] | None = None
        self.open = 0
        """How many there are."""

    async def until_stopped(self, events: AsyncGenerator[_T, None]) -> AsyncGenerator[_T, None]:
        """What `events` yields, until the process is told to stop or they cannot be read: clients resume."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        async with aclosing(events), self._counted():
            while not self._stopping.is_set():
                try:
                    async with asyncio.timeout(None) as limit:
                        self._waiting.add(limit)
                        event = await anext(events)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    if not limit.expired():
                        raise
                    return
                except StyleQueueError as error:
                    log.warning("a stream is broken off: %s", error)
                    return
                finally:
                    self._waiting.discard(limit)
                yield event

    @asynccontextmanager
    async def _counted(self) -> AsyncGenerator[None]:
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    async def _end(self) -> None:
        await self._stopping.wait()
        for limit in self._waiting:
            limit.reschedule(asyncio.get_running_loop().time())

    async def close(self) -> None:
        """Return when all have been told to end. The process must have been told to stop."""
        if self._ending is not None:
            await self._ending
