"""Requests that take too long, and such as nobody waits for any more, are ended from outside.

botocore's timeouts are between two bytes: a store that sends one now and then is waited for for ever, and meanwhile
nobody hears that the job was cancelled or the worker told to stop. So a thread looks at all requests under way, and
shuts down the connections of those that have to end.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from ..contract.errors import Code, Unavailable

if TYPE_CHECKING:
    from botocore.client import BaseClient

LOOKS_EVERY_S = 0.2
"""How soon it is heard that nobody waits any more."""
SLOWEST_BYTES_PER_S = 64 * 1024
"""What comes or goes more slowly is given up."""
_MAX_ANSWER_BYTES = 16 * 1024**2
"""Of what is not an object: far more than the longest list or refusal."""

Check = Callable[[], None]
"""Raises where it is of no use any more to wait."""

_heeded: ContextVar[Check] = ContextVar("heeded", default=lambda: None)
_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def heeding(check: Check) -> Iterator[None]:
    """Around all that is asked of the store: each wait ends, with what `check` raises, as soon as it raises.

    `check` is called from several threads.
    """
    token = _heeded.set(check)
    try:
        yield
    finally:
        _heeded.reset(token)


def pause(seconds: float) -> None:
    """Wait, and hear that nobody does any more."""
    ends_at = time.monotonic() + seconds
    while True:
        _heeded.get()()
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            return
        time.sleep(min(left_s, LOOKS_EVERY_S))


class TooSlow(Unavailable):
    """A request that was ended because it took too long. To ask again would take as long."""


class Watch:
    """A request under way."""

    def __init__(self, what: str, limit_s: float) -> None:
        self._what = what
        self._ends_at = time.monotonic() + limit_s
        self._limit_s = limit_s
        self._check = _heeded.get()
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self.reason: BaseException | None = None
        """Why it was ended."""

    def uses(self, connection: socket.socket) -> None:
        """It goes over this connection: from here on, over a duplicate that nobody else closes."""
        with self._lock:
            self._sockets.append(socket.socket(fileno=os.dup(connection.fileno())))
            if self.reason:
                self._shut_down()

    def look(self) -> None:
        """End it, where it has to."""
        if self.reason:
            return
        try:
            self._check()
        except BaseException as error:
            self._end(error)
        else:
            if time.monotonic() > self._ends_at:
                message = f"the store took more than {self._limit_s:.0f} s for {self._what}"
                hint = "see what the store, or what stands between, is busy with; it is tried again later"
                self._end(TooSlow(Code.STORE_UNAVAILABLE, message, hint))

    def close(self) -> None:
        """It is over."""
        with self._lock:
            for one in self._sockets:
                one.close()
            self._sockets.clear()

    def _end(self, reason: BaseException) -> None:
        with self._lock:
            self.reason = reason
            self._shut_down()

    def _shut_down(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Watchman:
    """Looks at the requests of one client. Safe to share between threads, not to carry across a fork."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, what: str, limit_s: float) -> Iterator[None]:
        """Around a request and all that is read of its answer. Within another such block, that one's limit holds.

        Raises TooSlow, or what is heeded does.
        """
        if _watch.get():
            yield
            return
        watch = Watch(what, limit_s)
        token = _watch.set(watch)
        self._begin(watch)
        try:
            yield
        except BaseException:
            if watch.reason is None:
                raise
        finally:
            _watch.reset(token)
            with self._changed:
                self._watches.discard(watch)
            watch.close()
        # An answer that was broken off may look whole.
        if watch.reason:
            raise watch.reason from None

    def _begin(self, watch: Watch) -> None:
        with self._changed:
            self._watches.add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="store watch", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _look(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._watches)
            time.sleep(LOOKS_EVERY_S)
            with self._changed:
                watches = list(self._watches)
            for watch in watches:
                watch.look()


class _Watchable:
    """What connections of both kinds get: they say which request they serve, and take no endless answers."""

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        _uses(made)
        return made

    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.sock is not None:
            _uses(self.sock)
        return super().request(*args, **kwargs)  # type: ignore[misc]

    def getresponse(self) -> Any:
        answer = super().getresponse()  # type: ignore[misc]
        # botocore reads all that is no object by this, whole.
        answer.stream = partial(_no_more_than, _MAX_ANSWER_BYTES, answer.stream)
        return answer


def make_watchable(client: BaseClient) -> None:
    """Have the client's connections be such as a Watch can end."""
    from botocore.awsrequest import (
        AWSHTTPConnection,
        AWSHTTPConnectionPool,
        AWSHTTPSConnection,
        AWSHTTPSConnectionPool,
    )

    def watchable(pool: type, connection: type) -> type:
        connections = type(connection.__name__, (_Watchable, connection), {})
        return type(pool.__name__, (pool,), {"ConnectionCls": connections})

    # botocore has no other door to its connections; `tests/security/test_store.py` notices should this one close.
    session: Any = client._endpoint.http_session  # type: ignore[attr-defined]  # noqa: SLF001
    session._pool_classes_by_scheme.update(  # noqa: SLF001
        http=watchable(AWSHTTPConnectionPool, AWSHTTPConnection),
        https=watchable(AWSHTTPSConnectionPool, AWSHTTPSConnection),
    )


def _uses(connection: socket.socket) -> None:
    if watch := _watch.get():
        watch.uses(connection)


def _no_more_than(most: int, stream: Callable[..., Iterator[bytes]], *args: Any, **kwargs: Any) -> Iterator[bytes]:
    from urllib3.exceptions import ProtocolError

    size = 0
    for chunk in stream(*args, **kwargs):
        size += len(chunk)
        if size > most:
            raise ProtocolError(f"an answer of more than {most} bytes")
        yield chunk
