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
from ..tracing import exporting
from ..uploads import webhook
from ..uploads.intake import Intake
from ..uploads.listener import Fetching, Listener
from ..uploads.sources import fetching
from . import probes
from .app import Application
from .obstacles import Obstacles
from .server import server_of

log = logging.getLogger(__name__)

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
    obstacles: Obstacles

    @classmethod
    def of(cls, settings: Settings) -> Listening:
        """Raises InvalidSettings where the operator's file cannot be read, or its rules or sources cannot be."""
        queue, stopping = AsyncStyleQueue(settings), asyncio.Event()
        intake = Intake(queue)
        sources = fetching(intake.file.now, settings)
        return cls(settings, queue, intake, sources, stopping, Obstacles(queue, stopping))

    async def run(self) -> None:
        """Fetch what is to be fetched, until told to stop."""
        for source in self.sources:
            log.info("source=%s is listened to", source.name)
        await Listener(self.intake, self.sources).run(self.stopping)


def create_listener(settings: Settings) -> FastAPI:
    """A listener of a deployment as an ASGI application. Raises InvalidSettings."""
    app = Application(title="stylequeue listen", lifespan=_life, openapi_url=None)
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
        listening.obstacles.close()
        await listening.queue.close()


def main(settings: Settings, *, host: str, port: int, forwarded_allow_ips: str) -> None:
    """Listen until SIGTERM or SIGINT. Raises InvalidSettings."""
    configure(settings.log_level)
    exporting.set_up("listener", settings)
    app = create_listener(settings)
    rules = app.state.intake.rules.all
    log.info("%d rules of deployment %s; notices at http://%s:%d", len(rules), settings.deployment, host, port)
    server_of(app, host=host, port=port, forwarded_allow_ips=forwarded_allow_ips).run()
    exporting.flush()
