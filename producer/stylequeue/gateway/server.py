"""The gateway's process: uvicorn, with limits on what comes before the body, and an end in two steps."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..logs import configure
from ..settings import Settings
from ..tracing import exporting
from .app import create_app
from .state import Serving
from .streams import CONNECTION

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
"""Of a request's line and headers."""
HEAD_TIMEOUT_S = 10
"""In which they come."""
_DRAIN_S = 30
"""For requests that are still being answered when the process is told to stop; then they are broken off."""
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class GuardedProtocol(HttpToolsProtocol):
    """Uvicorn's, for which a request's head may be of any length and take any time; a `streams.Connection`."""

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's."""
        self._have_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, until the head is too long."""
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()
        super().data_received(data)
        if self._head_timer:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.write(_TOO_LONG)
                self.transport.close()

    def on_message_begin(self) -> None:
        """As uvicorn's; one request may follow right behind another."""
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: self}  # type: ignore[dict-item]
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """As uvicorn's."""
        self._have_head()
        super().on_headers_complete()

    def keep_nothing(self) -> None:
        """Have `taken` wait for all that is sent, and not just for most of it."""
        self.transport.set_write_buffer_limits(high=0)

    async def taken(self) -> None:
        """Return when the system has taken what was sent, or the connection is lost."""
        await self.flow.drain()

    def abort(self) -> None:
        """Close the connection, whatever is still to be sent."""
        self.transport.abort()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _have_head(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None


class Server(uvicorn.Server):
    """Uvicorn's; told to stop, it says for a while that it is not ready, before it takes no more requests."""

    def __init__(self, config: uvicorn.Config, serving: Serving) -> None:
        super().__init__(config)
        self._serving = serving
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn calls it
        """The first signal: whoever waits answers now. A second: at once."""
        if self._loop is None or self._serving.stopping.is_set():
            self.should_exit = True
            self.force_exit = sig == signal.SIGINT
            return
        self._loop.call_soon_threadsafe(self._serving.stopping.set)
        self._loop.call_soon_threadsafe(self._loop.call_later, self._serving.settings.gateway_notice_s, self._exit)

    def _exit(self) -> None:
        self.should_exit = True


def server_of(app: FastAPI, *, host: str, port: int, forwarded_allow_ips: str = "127.0.0.1") -> Server:
    """What serves `app` at an address."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=GuardedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,  # ours has a request's id, and no query
        log_config=None,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=forwarded_allow_ips,
        timeout_graceful_shutdown=_DRAIN_S,
        timeout_keep_alive=20,
    )
    return Server(config, app.state.gateway)


def main(settings: Settings, *, host: str, port: int, forwarded_allow_ips: str) -> None:
    """Serve until SIGTERM or SIGINT. Raises InvalidSettings."""
    configure(settings.log_level)
    exporting.set_up("gateway", settings)
    app = create_app(settings)
    log.info("the gateway of deployment %s at http://%s:%d", settings.deployment, host, port)
    server_of(app, host=host, port=port, forwarded_allow_ips=forwarded_allow_ips).run()
    exporting.flush()
