"""The gateway as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp

from ..settings import Settings
from ..uploads import webhook
from ..uploads.intake import Intake
from . import (
    batch,
    estimates,
    events,
    fleet,
    hooks,
    jobs,
    letters,
    metrics,
    page,
    paint,
    pictures,
    probes,
    problems,
    shelf,
    uploads,
    who,
)
from .edge import Edge, Traffic
from .openapi import completed
from .state import Gateway, Serving

VERSION = "1"
"""Of what is served: another one for what breaks a caller."""
MAX_JSON_BYTES = 1024**2
"""Of a request's body; a route that takes more says so."""
_UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked all the time."""
_TELEMETRY: TelemetryConfig = {
    "operation_spans": False,
    "metrics": False,  # ours are of the ledger
    "logs": False,  # with what was sent, where it was wrong
    "auto_configure": False,  # `tracing.exporting` is asked for that
    "exclude": lambda scope: scope.get("path") in _UNTRACED,
}
"""FastAPI's own spans of requests, where there is OpenTelemetry."""
_ROUTERS = (
    jobs.router,
    batch.router,
    estimates.router,
    who.router,
    letters.router,
    uploads.router,
    uploads.streams,
    pictures.router,
    shelf.router,
    paint.router,
    events.router,
    hooks.router,
    fleet.router,
    metrics.router,
    probes.router,
    page.router,
)


def create_app(settings: Settings) -> FastAPI:
    """The gateway of a deployment; `app.state.gateway` is what its requests share. Raises InvalidSettings."""
    app = application()
    app.state.gateway = gateway = Gateway.of(settings)
    if settings.gateway_notices:
        app.include_router(webhook.router)
        app.state.intake = Intake(gateway.queue)
    return app


def application() -> FastAPI:
    """The same without a deployment: it can say what it would serve."""
    app = Application(
        title="stylequeue",
        version=VERSION,
        summary="Neural style transfer by message queue: submit a job, get a painted picture and an event.",
        lifespan=_life,
    )
    events.handle(app)
    for router in _ROUTERS:
        app.include_router(router)
    return app


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    yield
    await app.state.gateway.close()


class Application(FastAPI):
    """FastAPI's, with what stands around all that it does."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            docs_url=None,
            redoc_url=None,
            max_body_size=MAX_JSON_BYTES,
            redirect_slashes=False,
            telemetry=_TELEMETRY,
            **options,
        )
        problems.handle(self)

    def build_middleware_stack(self) -> ASGIApp:
        """All of it."""
        gateway: Serving = self.state.gateway
        self.state.traffic = Traffic()
        return Edge(
            super().build_middleware_stack(),
            body_timeout_s=gateway.settings.gateway_body_timeout_s,
            traffic=self.state.traffic,
        )

    def openapi(self) -> dict[str, Any]:
        """What is served, as OpenAPI 3.1 has it."""
        if self.openapi_schema is None:
            self.openapi_schema = completed(super().openapi())
        return self.openapi_schema
