"""Sends an event by HTTP, as Standard Webhooks has it: the CloudEvent as stored, its id, the time, signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .._version import __version__
from ..contract.delivery import MAX_SAID_CHARS
from ..contract.text import printable
from ..contract.trace import HEADER
from ..tracing import traceparent
from .addresses import AddressRefused, Resolver, resolve
from .schedule import Answer

if TYPE_CHECKING:
    from ..operator_file import Endpoint

TIMEOUT_S = 15.0
"""For all of it: finding the address, connecting, TLS, the answer."""
CONTENT_TYPE = "application/cloudevents+json"
_READ_BYTES = 4 * MAX_SAID_CHARS
"""Of an answer's body."""


class Webhooks:
    """Sends. Safe to share between threads. `proxy` is where all goes through, if anything (`http://host:port`)."""

    def __init__(
        self, proxy: str | None = None, *, resolver: Resolver = socket.getaddrinfo, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._proxy = urlsplit(proxy) if proxy else None
        self._resolver = resolver
        self._timeout_s = timeout_s

    def send(self, endpoint: Endpoint, event_id: str, event: str) -> Answer:
        """Post an event (JSON) to a webhook, once. Never raises for what is the endpoint's, or the network's, fault."""
        began = time.monotonic()
        cut = _Cut(began + self._timeout_s)
        status, retry_after_s = None, None
        try:
            with cut:
                answered = self._post(endpoint, event_id, event.encode(), cut)
                if cut.is_over:  # where it was cut off, it may look like an end
                    raise TimeoutError
            status, said, retry_after_s = answered
        except AddressRefused as error:
            said = str(error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            is_late = cut.is_over or isinstance(error, TimeoutError)
            said = f"no answer within {self._timeout_s:g} s" if is_late else _why(error)
        return Answer(status, printable(said)[:MAX_SAID_CHARS], time.monotonic() - began, retry_after_s)

    def _post(self, endpoint: Endpoint, event_id: str, body: bytes, cut: _Cut) -> tuple[int, str, float | None]:
        address = urlsplit(endpoint.url or "")
        host = address.hostname or ""
        is_tls = address.scheme == "https"
        port = address.port or (443 if is_tls else 80)
        headers = {
            "Host": address.netloc,
            "Content-Type": CONTENT_TYPE,
            "User-Agent": f"stylequeue/{__version__}",
            **({HEADER: context} if (context := traceparent()) else {}),
            **signed(endpoint.keys, event_id, body, at=datetime.now(UTC)),
        }
        with self._connected(host, port, endpoint, cut) as plain:
            connection = http.client.HTTPConnection(host, port)
            connection.sock = _secured(plain, host, endpoint, cut) if is_tls else plain
            with _closing(connection):
                path = (address.path or "/") + (f"?{address.query}" if address.query else "")
                connection.request("POST", path, body, headers)
                response = connection.getresponse()
                said = response.read(_READ_BYTES).decode(errors="replace")
                return response.status, said, _seconds(response.headers)

    @contextmanager
    def _connected(self, host: str, port: int, endpoint: Endpoint, cut: _Cut) -> Iterator[socket.socket]:
        if self._proxy:
            at = [self._proxy.hostname or ""], self._proxy.port or 80
        else:
            allowed = endpoint.allow_networks
            at = resolve(host, port, allowed=allowed, timeout_s=cut.left_s, resolver=self._resolver), port
        with _first(*at, cut) as connected:
            if self._proxy:
                _tunnel(connected, host, port)
            yield connected


def signed(keys: list[bytes], event_id: str, body: bytes, *, at: datetime) -> dict[str, str]:
    """The headers by which a receiver knows that a message is ours: one signature for each live secret."""
    seconds = str(int(at.timestamp()))
    content = f"{event_id}.{seconds}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


class _Cut:
    """Ends a connection at a moment of the monotonic clock, whatever it is at: libraries count from byte to byte."""

    def __init__(self, ends_at: float) -> None:
        self._ends_at = ends_at
        self._connected: socket.socket | None = None
        self._timer = threading.Timer(self.left_s, self._end)
        self._timer.daemon = True
        self.is_over = False

    @property
    def left_s(self) -> float:
        return max(0.001, self._ends_at - time.monotonic())

    def watch(self, connected: socket.socket) -> None:
        """From now on this is what ends. Raises TimeoutError where the moment has come already."""
        self._connected = connected
        if self.is_over:
            raise TimeoutError

    def _end(self) -> None:
        self.is_over = True
        if self._connected:
            with suppress(OSError):
                self._connected.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def _first(addresses: list[str], port: int, cut: _Cut) -> socket.socket:
    """A connection to the first of these that takes one."""
    failed: OSError | None = None
    for number, address in enumerate(addresses):
        try:
            connected = socket.create_connection((address, port), timeout=cut.left_s / (len(addresses) - number))
        except OSError as error:
            failed = error
            continue
        connected.settimeout(cut.left_s)
        cut.watch(connected)
        return connected
    raise failed or OSError("no address")


def _tunnel(connected: socket.socket, host: str, port: int) -> None:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    connected.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
    response = http.client.HTTPResponse(connected, method="CONNECT")
    response.begin()
    if response.status != http.client.OK:
        raise OSError(f"the proxy answers {response.status} {response.reason}")


def _secured(plain: socket.socket, host: str, endpoint: Endpoint, cut: _Cut) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=endpoint.ca_file)
    # Closed with the connection; what it is made of is closed here already.
    secured = context.wrap_socket(plain, server_hostname=host.removesuffix("."))
    cut.watch(secured)
    return secured


@contextmanager
def _closing(connection: http.client.HTTPConnection) -> Iterator[None]:
    try:
        yield
    finally:
        connection.close()


def _seconds(headers: Message) -> float | None:
    """What `Retry-After` says, in seconds or as a date."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    with suppress(ValueError, TypeError, OverflowError):
        until = parsedate_to_datetime(text)
        return max(0.0, (until - datetime.now(UTC)).total_seconds()) if until.tzinfo else None
    return None


_WHY: Mapping[type[Exception], str] = {
    ConnectionRefusedError: "nothing listens there",
    ConnectionResetError: "the connection was broken off",
    http.client.RemoteDisconnected: "the connection was broken off",
}


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be verified: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails: {error.reason or 'the connection was broken off'}"
    known = next((says for kind, says in _WHY.items() if isinstance(error, kind)), None)
    return known or f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
