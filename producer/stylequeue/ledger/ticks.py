"""Hearing at once that a job has an event: scripts publish its id. What is missed is found by looking again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ..awaiting import cancellation_heard, for_all
from ..connection import redis_asked
from ..contract.errors import StyleQueueError
from ..settings import Settings
from . import names

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

_LISTEN_S = 1.0
"""At a time: between two, the connection is checked when that is due."""
_AGAIN_S = (0.1, 5.0)
"""From one try to subscribe to the next, at first and at most; each is twice as long."""


class Ticks:
    """What is published, heard by one subscription for however many wait. Of one event loop.

    It begins with the first who waits and lasts until `close`.
    """

    def __init__(self, settings: Settings, redis: Callable[[], Redis]) -> None:
        self._settings = settings
        self._redis = redis
        database = str(settings.redis.database)
        self._lifecycle, self._progress = names.lifecycle_channel(database), names.progress_channel(database)
        self._of_jobs: list[Callable[[str | None], None]] = []
        self._of_lives: set[asyncio.Event] = set()
        self._listening: asyncio.Task[None] | None = None

    def tell_of_jobs(self, heard: Callable[[str | None], None]) -> None:
        """Have `heard` called with each job that may have a new event; with None where any job may.

        It is, once somebody listens.
        """
        self._of_jobs.append(heard)

    @contextmanager
    def of_lives(self) -> Iterator[asyncio.Event]:
        """Set whenever there may be a new event on the deployment's stream."""
        self.listen()
        tick = asyncio.Event()
        self._of_lives.add(tick)
        try:
            yield tick
        finally:
            self._of_lives.discard(tick)

    async def close(self) -> None:
        """Hear no more."""
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening
            self._listening = None

    def listen(self) -> None:
        """Hear from now on, for as long as it is not closed."""
        if self._listening is None or self._listening.done():
            self._listening = for_all(self._go_on_listening())

    async def _go_on_listening(self) -> None:
        again_s, most_s = _AGAIN_S
        while True:
            try:
                with redis_asked(self._settings):
                    async with self._redis().pubsub() as pubsub:
                        with cancellation_heard():
                            await pubsub.subscribe(self._lifecycle, self._progress)
                        while True:
                            with cancellation_heard():
                                message = await pubsub.get_message(timeout=_LISTEN_S)
                            if message is not None:
                                again_s = _AGAIN_S[0]
                                self._pass_on(message)
            except StyleQueueError as error:
                log.warning("events are found by looking every few seconds: %s", error)
            await asyncio.sleep(again_s)
            again_s = min(2 * again_s, most_s)

    def _pass_on(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            # Some may have been missed until now.
            self._tell(None, is_life=True)
        elif message["type"] == "message":
            self._tell(message["data"], is_life=message["channel"] == self._lifecycle)

    def _tell(self, job_id: str | None, *, is_life: bool) -> None:
        for heard in self._of_jobs:
            heard(job_id)
        if is_life:
            for tick in self._of_lives:
                tick.set()
