"""How sources wait: until Redis answers, until a queue has room; and no longer than their listener runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from ..contract.errors import Misconfigured, Unavailable

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_FIRST_S, _LONGEST_S = 0.5, 30.0


class Patience:
    """Pauses, each longer than the one before while things do not go well, that end when the listener is to stop."""

    def __init__(self, stopping: asyncio.Event, *, first_s: float = _FIRST_S) -> None:
        self.stopping = stopping
        self._first_s = self._next_s = first_s

    async def pause(self, seconds: float | None = None) -> None:
        """Wait for so long, or for longer than last time."""
        if seconds is None:
            seconds, self._next_s = self._next_s, min(self._next_s * 2, _LONGEST_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    def end(self) -> None:
        """Things go well: the next pause is a short one."""
        self._next_s = self._first_s

    async def until(self, take: Callable[[], Awaitable[_T]], *, source: str) -> _T | None:
        """What `take` returns, once Redis and the store do their part; None where the listener is to stop before."""
        while not self.stopping.is_set():
            try:
                taken = await take()
            except (Unavailable, Misconfigured) as error:
                log.warning("source=%s waits: %s", source, error)
                await self.pause()
                continue
            self.end()
            return taken
        return None
