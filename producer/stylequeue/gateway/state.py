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
from .obstacles import Obstacles
from .streams import Streams

_STANDING_AGE_S = 1.0
"""Of what is said of workers and of how long the jobs ahead take: it is read for all requests together."""


class Serving(Protocol):
    """What every process that serves requests has."""

    @property
    def settings(self) -> Settings:
        """How far it may go."""

    @property
    def stopping(self) -> asyncio.Event:
        """Set when it is told to stop."""

    @property
    def obstacles(self) -> Obstacles:
        """What stands in the way of serving them."""


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
    obstacles: Obstacles
    store_origins: set[str] = field(default_factory=set)
    """Where browsers meet the store, worked out once: the page is asked for by anybody, without a key."""

    @classmethod
    def of(cls, settings: Settings) -> Gateway:
        """Raises InvalidSettings where there are no keys, or where the operator's file cannot be read."""
        if settings.keys_file is None:
            raise InvalidSettings(
                "STYLEQUEUE_KEYS_FILE is not set, and without keys nobody may ask",
                "name a file, and make a key: `stylequeue keys new --role admin`",
            )
        keys = KeyRing(settings.keys_file)
        queue, stopping = AsyncStyleQueue(settings, standing_age_s=_STANDING_AGE_S), asyncio.Event()
        queue.operator_file.now  # noqa: B018  # one that cannot be read is told of at the start
        return cls(
            settings=settings,
            queue=queue,
            keys=keys,
            hooks=Hooks(settings, file=queue.operator_file),
            stopping=stopping,
            feed=Feed(queue),
            streams=Streams(stopping, keys),
            obstacles=Obstacles(queue, stopping),
        )

    def queue_of(self, key: Key) -> AsyncStyleQueue:
        """The deployment as the tenant of a key sees it."""
        return self.queue if key.tenant is None else self.queue.for_tenant(key.tenant, scope=key.scope)

    async def close(self) -> None:
        """Give all connections back."""
        self.stopping.set()
        self.obstacles.close()
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
