"""Around every request: its id, headers that protect who reads the answer, slow bodies cut, a line in the log."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter, defaultdict
from typing import Any

import uuid_utils
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import tracing
from ..contract.codes import Code
from ..contract.trace import HEADER, traceparent_of
from .problems import MEDIA_TYPE, problem

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_PROTECTION = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
"""Where the answer says nothing else."""
MIN_BODY_BYTES_PER_S = 16 * 1024
"""At which a body may come as long as it likes, once the time is over that each has."""


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_INSTEAD = {
    Code.BODY_TOO_LARGE: (
        "the body has more bytes than are read here",
        "pictures go to POST /v1/uploads, not into JSON",
    ),
    Code.BODY_TOO_SLOW: ("the body came too slowly", "send it again, in one go"),
}


class Traffic:
    """What this process has answered, by method, route and status. Of one event loop."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, int]] = Counter()
        self.seconds: defaultdict[tuple[str, str, int], float] = defaultdict(float)

    def note(self, method: str, route: str, status: int, took_s: float) -> None:
        """One answer. What is no route of ours is one, whatever was asked for; so is a method that nobody knows."""
        asked = (method if method in _METHODS else "other", route or "other", status)
        self.counts[asked] += 1
        self.seconds[asked] += took_s


class Edge:
    """The application `app`, seen from outside."""

    def __init__(self, app: ASGIApp, *, body_timeout_s: float, traffic: Traffic | None = None) -> None:
        self._app = app
        self._traffic = traffic or Traffic()
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the process's life."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(self._app, scope, receive, send, self._body_timeout_s, self._traffic)
        with tracing.handed(traceparent_of(Headers(scope=scope).get(HEADER))):
            await exchange.run()


class _Exchange:
    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, body_timeout_s: float, traffic: Traffic
    ) -> None:
        self._app, self._scope, self._receive, self._send = app, scope, receive, send
        self._body_timeout_s = body_timeout_s
        self._traffic = traffic
        self._began = time.monotonic()
        self._body_bytes, self._has_body = 0, True
        self._waited_s = 0.0
        """For the body: what is done with it meanwhile, where the store is slow say, is no fault of its sender."""
        self._status = 0
        self._instead: Code | None = None
        """What is answered, whatever the application says."""
        given = Headers(scope=scope).get("x-request-id", "")
        self._id = given if _REQUEST_ID.fullmatch(given) else str(uuid_utils.uuid7())
        self._state: dict[str, Any] = scope.setdefault("state", {})
        self._state["request_id"] = self._id

    async def run(self) -> None:
        try:
            await self._app(self._scope, self._receive_in_time, self._send_protected)
        except Exception:
            # The framework has answered it already, unless the answer had begun.
            log.exception("request=%s ended in a fault of ours", self._id)
        finally:
            if self._instead and not self._status:
                detail, hint = _INSTEAD[self._instead]
                # What of the body is still to come is not waited for.
                headers = {"Connection": "close"}
                response = problem(self._id, self._instead, detail, hint, headers=headers)
                await response(self._scope, self._receive, self._answer)
            self._tell()

    async def _receive_in_time(self) -> Message:
        if not self._has_body:
            return await self._receive()
        left_s = self._body_timeout_s + self._body_bytes / MIN_BODY_BYTES_PER_S - self._waited_s
        began = time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left_s, 0))
        except TimeoutError:
            # To whoever reads, the client is gone, and what was begun is put away.
            self._instead, self._has_body = Code.BODY_TOO_SLOW, False
            return {"type": "http.disconnect"}
        self._waited_s += time.monotonic() - began
        self._body_bytes += len(message.get("body", b""))
        self._has_body = bool(message.get("more_body"))
        return message

    async def _send_protected(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._instead:
            headers = Headers(scope=message)
            # The framework's own words, for a body that says beforehand how large it is.
            if message["status"] == 413 and headers.get("content-type") != MEDIA_TYPE:
                self._instead = Code.BODY_TOO_LARGE
        if not self._instead or self._status:
            await self._answer(message)

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _PROTECTION.items():
                headers.setdefault(name, value)
            headers.update({**self._state.get("headers", {}), "X-Request-ID": self._id})
        await self._send(message)

    def _tell(self) -> None:
        took_ms = (time.monotonic() - self._began) * 1000
        route = getattr(self._scope.get("route"), "path", "")
        self._traffic.note(self._scope["method"], route, self._status, took_ms / 1000)
        log.info(
            "%s %s %d in %.1f ms request=%s key=%s",
            self._scope["method"],
            self._scope["path"],  # without what stands behind the question mark
            self._status,
            took_ms,
            self._id,
            self._state.get("key_id", "-"),
        )
