"""A receiver of webhooks, which answers as a test wants."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: bytes
    at: float
    """By the monotonic clock."""

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(frozen=True)
class Reply:
    """What is answered; `after_s` it came."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after_s: float = 0


class Receiver:
    """Listens on a free port until the block ends. What it answers to the next requests is `answer(request)`."""

    def __init__(self, answer: Callable[[Received], Reply] | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer or (lambda _: Reply())
        self.received: list[Received] = []
        self.at_once = 0
        """Most requests that were being answered at one time."""
        self._answering = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(self)

            def do_PATCH(self) -> None:
                receiver._take(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/hook"

    def endpoint(self, **fields: Any) -> dict[str, Any]:
        """What the operator's file says of it."""
        secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
        allowed = {"allow_http": True, "allow_ports": [self.port], "allow_networks": ["127.0.0.0/8"]}
        return {"url": self.url, "secrets": [secret], **allowed, **fields}

    def let_go(self) -> None:
        """Answer at once what is waited with."""
        self._ended.set()

    def ids(self) -> list[str]:
        return [request.id for request in self.received]

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Received(handler.path, headers, body, time.monotonic())
        with self._lock:
            self.received.append(request)
            self._answering += 1
            self.at_once = max(self.at_once, self._answering)
        try:
            reply = self.answer(request)
            if reply.after_s:
                self._ended.wait(reply.after_s)
            handler.send_response(reply.status)
            for name, value in reply.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(reply.body)))
            handler.end_headers()
            handler.wfile.write(reply.body)
        except OSError:
            handler.close_connection = True  # nobody waits any more
        finally:
            with self._lock:
                self._answering -= 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.let_go()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
