"""Runs the sources of notices that fetch them themselves, each until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from ..contract.errors import StyleQueueError
from .intake import Intake

log = logging.getLogger(__name__)

_AGAIN_S, _AGAIN_MAX_S = 1.0, 30.0
"""Before a source that broke off begins again; doubles each time."""
_STEADY_S = 60.0
"""After which the next break counts as the first."""

Run: TypeAlias = Callable[[Intake, asyncio.Event], Awaitable[None]]
"""Fetches notices and has them taken in, until the event is set: then it ends what it has begun and returns."""


@dataclass(frozen=True)
class Fetching:
    """A source that fetches."""

    name: str
    run: Run


class Listener:
    """All of them. What goes wrong in one is logged, and it begins again; the others go on."""

    def __init__(self, intake: Intake, sources: Sequence[Fetching]) -> None:
        self._intake = intake
        self._sources = sources

    async def run(self, stopping: asyncio.Event) -> None:
        """Fetch until `stopping` is set and all have ended."""
        await asyncio.gather(*[self._keep_running(source, stopping) for source in self._sources])

    async def _keep_running(self, source: Fetching, stopping: asyncio.Event) -> None:
        loop, again_s = asyncio.get_running_loop(), _AGAIN_S
        while not stopping.is_set():
            began = loop.time()
            try:
                await source.run(self._intake, stopping)
            except StyleQueueError as error:
                log.warning("source=%s breaks off, and begins again: %s", source.name, error)
            except Exception:
                log.exception("source=%s breaks off by a fault of ours, and begins again", source.name)
            again_s = _AGAIN_S if loop.time() - began > _STEADY_S else min(again_s * 2, _AGAIN_MAX_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), again_s)
