"""A listener's process: where stores bring notices of uploads, and from where those are fetched that have to be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from ..aclient import AsyncStyleQueue
from ..logs import configure
from ..settings import Settings
from ..uploads import webhook
from ..uploads.intake import Intake
from ..uploads.listener import Fetching, Listener
from ..uploads.sources import fetching
from . import probes, problems
from .app import MAX_JSON_BYTES, Application
from .server import server_of

log = logging.getLogger(__name__)

_LOOK_S = 3
"""For Redis and the store to answer whoever asks whether the listener is ready."""
_END_S = 20
"""For sources to end what they have begun."""


@dataclass(frozen=True)
class Listening:
    """What one process's requests and sources share."""

    settings: Settings
    queue: AsyncStyleQueue
    intake: Intake
    sources: Sequence[Fetching]
    stopping: asyncio.Event
    """Set when the process is told to stop: sources end."""

    @classmethod
    def of(cls, settings: Settings) -> Listening:
        """Raises InvalidSettings where the operator's file cannot be read, or its rules or sources cannot be."""
        queue = AsyncStyleQueue(settings)
        intake = Intake(queue)
        return cls(settings, queue, intake, fetching(intake.file.now, settings), asyncio.Event())

    async def readiness(self) -> dict[str, str]:
        """What stands in the way of taking notices in, by where."""
        try:
            async with asyncio.timeout(_LOOK_S):
                reasons = await self.queue.readiness()
        except TimeoutError:
            reasons = {"gateway": f"Redis or the store takes over {_LOOK_S} s"}
        return {**reasons, "gateway": "it was told to stop"} if self.stopping.is_set() else reasons

    async def run(self) -> None:
        """Fetch what is to be fetched, until told to stop."""
        for source in self.sources:
            log.info("source=%s is listened to", source.name)
        await Listener(self.intake, self.sources).run(self.stopping)


def create_listener(settings: Settings) -> FastAPI:
    """A listener of a deployment as an ASGI application. Raises InvalidSettings."""
    app = Application(
        title="stylequeue listen",
        lifespan=_life,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        max_body_size=MAX_JSON_BYTES,
        redirect_slashes=False,
    )
    problems.handle(app)
    app.include_router(webhook.router)
    app.include_router(probes.router)
    app.state.gateway = listening = Listening.of(settings)
    app.state.intake = listening.intake
    return app


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    listening: Listening = app.state.gateway
    running = asyncio.create_task(listening.run())
    try:
        yield
    finally:
        listening.stopping.set()
        done, _ = await asyncio.wait([running], timeout=_END_S)
        if not done:
            log.warning("sources did not end within %d s, and are broken off", _END_S)
            running.cancel()
            await asyncio.wait([running])
        await listening.queue.close()


def main(settings: Settings, *, host: str, port: int, forwarded_allow_ips: str) -> None:
    """Listen until SIGTERM or SIGINT. Raises InvalidSettings."""
    configure(settings.log_level)
    app = create_listener(settings)
    rules = app.state.intake.rules.all
    log.info("%d rules of deployment %s; notices at http://%s:%d", len(rules), settings.deployment, host, port)
    server_of(app, host=host, port=port, forwarded_allow_ips=forwarded_allow_ips).run()
