"""What all requests to one gateway share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends, Request

from ..aclient import AsyncStyleQueue
from ..contract.errors import InvalidSettings
from ..delivery.hooks import Hooks
from ..settings import Settings
from .feed import Feed
from .keys import Key, KeyRing
from .streams import Streams

_STANDING_AGE_S = 1.0
"""Of what is said of workers and of how long the jobs ahead take: it is read for all requests together."""
_LOOK_S = 3
"""For Redis and the store to answer whoever asks whether the gateway is ready."""


class Serving(Protocol):
    """What every process that serves requests has."""

    @property
    def settings(self) -> Settings:
        """How far it may go."""

    @property
    def stopping(self) -> asyncio.Event:
        """Set when it is told to stop."""


@dataclass(frozen=True)
class Gateway:
    """One process's."""

    settings: Settings
    queue: AsyncStyleQueue
    """Sees all jobs: what a caller may see goes by `access.Caller.queue`."""
    keys: KeyRing
    hooks: Hooks
    """All endpoints that events are delivered to: which a caller may look after goes by its tenant."""
    stopping: asyncio.Event
    """Set when the process is told to stop: whoever waits answers, streams end."""
    feed: Feed
    """The deployment's events, for all streams."""
    streams: Streams
    store_origins: set[str] = field(default_factory=set)
    """Where browsers meet the store, worked out once: the page is asked for by anybody, without a key."""
    _looks: list[asyncio.Task[dict[str, str]]] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Settings) -> Gateway:
        """Raises InvalidSettings where there are no keys."""
        if settings.keys_file is None:
            raise InvalidSettings(
                "STYLEQUEUE_KEYS_FILE is not set, and without keys nobody may ask",
                "name a file, and make a key: `stylequeue keys new --role admin`",
            )
        queue, stopping = AsyncStyleQueue(settings, standing_age_s=_STANDING_AGE_S), asyncio.Event()
        hooks = Hooks(settings)
        return cls(settings, queue, KeyRing(settings.keys_file), hooks, stopping, Feed(queue), Streams(stopping))

    def queue_of(self, key: Key) -> AsyncStyleQueue:
        """The deployment as the tenant of a key sees it."""
        return self.queue if key.tenant is None else self.queue.for_tenant(key.tenant, scope=key.scope)

    async def readiness(self) -> dict[str, str]:
        """What stands in the way of serving requests, by where. In bounded time, however often it is asked."""
        if not self._looks or self._looks[0].done():
            self._looks[:] = [asyncio.create_task(self.queue.readiness())]
        done, _ = await asyncio.wait(self._looks, timeout=_LOOK_S)
        reasons = dict(done.pop().result() if done else {"gateway": f"Redis or the store takes over {_LOOK_S} s"})
        return {**reasons, "gateway": "it was told to stop"} if self.stopping.is_set() else reasons

    async def close(self) -> None:
        """Give all connections back."""
        self.stopping.set()
        for look in self._looks:
            look.cancel()
        await self.streams.close()
        await self.feed.close()
        await self.queue.close()
        await asyncio.to_thread(self.hooks.close)


async def _gateway(request: Request) -> Gateway:
    # As all that routes depend on: what is no coroutine is run in a thread, once for each request.
    found: Gateway = request.app.state.gateway
    return found


GatewayState = Annotated[Gateway, Depends(_gateway)]
"""Of a route: what its process shares."""
