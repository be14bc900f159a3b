"""The gateway as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from .. import __version__
from ..settings import Settings
from . import batch, events, hooks, jobs, paint, pictures, probes, problems
from .edge import Edge
from .state import Gateway

MAX_JSON_BYTES = 1024**2
"""Of a request's body; a route that takes more says so."""
_ROUTERS = (jobs.router, batch.router, pictures.router, paint.router, events.router, hooks.router, probes.router)


def create_app(settings: Settings) -> FastAPI:
    """The gateway of a deployment; `app.state.gateway` is what its requests share. Raises InvalidSettings."""
    gateway = Gateway.of(settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await gateway.close()

    app = _Application(
        title="stylequeue",
        version=__version__,
        description="Neural style transfer by message queue: submit a job, get a painted picture and an event.",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        max_body_size=MAX_JSON_BYTES,
        redirect_slashes=False,
    )
    app.state.gateway = gateway
    problems.handle(app)
    events.handle(app)
    for router in _ROUTERS:
        app.include_router(router)
    return app


class _Application(FastAPI):
    """FastAPI's, with what stands around all that it does."""

    def build_middleware_stack(self) -> ASGIApp:
        """All of it."""
        gateway: Gateway = self.state.gateway
        return Edge(super().build_middleware_stack(), body_timeout_s=gateway.settings.gateway_body_timeout_s)
