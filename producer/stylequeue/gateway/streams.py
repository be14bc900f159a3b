"""The streams that a process has open: sent as they come, to readers who take them and whose key is in force, until it
is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Protocol

from fastapi.sse import KEEPALIVE_COMMENT
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ..awaiting import for_all
from ..contract.errors import StyleQueueError
from .keys import Key, KeyRing
from .tasks import ended, gone

log = logging.getLogger(__name__)

PING_S = 15.0
"""In which a stream says something, if only a comment."""
SEND_S = 30.0
"""In which a reader takes what it is sent; one that does not is let go, and resumes."""
STOP_S = 1.0
"""The same once the stream is to end: the process is told to stop, or the key is no longer in force."""
LOOK_S = 1.0
"""From one look at whether the keys of those who read are in force to the next."""
CONNECTION = "stylequeue.connection"
"""The ASGI extension under which the server hands on a request's `Connection`."""
EVENT_STREAM: dict[str, Any] = {
    "text/event-stream": {
        "itemSchema": {
            "type": "object",
            "properties": {
                "data": {"type": "string"},
                "event": {"type": "string"},
                "id": {"type": "string"},
                "retry": {"type": "integer", "minimum": 0},
            },
        }
    }
}
"""As OpenAPI 3.2 describes one."""


class Connection(Protocol):
    """What a stream does with the connection that it is sent by."""

    def keep_nothing(self) -> None:
        """Have `taken` wait for all that is sent, and not just for most of it."""

    async def taken(self) -> None:
        """Return when the system has taken what was sent, or the connection is lost."""

    def abort(self) -> None:
        """Close it, whatever is still to be sent."""


class EventStream(StreamingResponse):
    """Server-sent events as `frames` yields them.

    What a reader has not taken is not read ahead of: a frame is made once the one before it has left this process.
    """

    def __init__(self, streams: Streams, key: Key, frames: AsyncGenerator[bytes, None]) -> None:
        # no-transform: nobody in between may compress what is to arrive at once; nginx: nor keep it back.
        headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
        super().__init__(frames, media_type="text/event-stream", headers=headers)
        self._streams = streams
        self._key = key
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it until it ends; its reader goes, takes nothing or loses the key; or the process is told to stop."""
        sender = Sender(send, scope.get("extensions", {}).get(CONNECTION), self._key)
        left = asyncio.create_task(gone(receive))
        left.add_done_callback(lambda _: sender.send_within(0))
        coming: asyncio.Task[bytes | None] | None = None
        self._streams.add(sender)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while not sender.over.done():
                # No part of the request, which is over for whoever traces it: else each look at Redis would be.
                coming = coming or for_all(_next(self._frames))
                await asyncio.wait({coming, left, sender.over}, timeout=PING_S, return_when=asyncio.FIRST_COMPLETED)
                if left.done():
                    return
                frame: bytes | None = KEEPALIVE_COMMENT
                if coming.done():
                    frame, coming = coming.result(), None
                elif sender.over.done():
                    break
                if frame is None:
                    break
                if not await sender.send(frame):
                    return
            await sender.send(b"", is_last=True)
        finally:
            self._streams.senders.discard(sender)
            await ended({left, coming} if coming else {left})
            await self._frames.aclose()


async def _next(frames: AsyncGenerator[bytes, None]) -> bytes | None:
    """The next one; None at the end, and where they cannot be read: clients resume."""
    try:
        return await anext(frames, None)
    except StyleQueueError as error:
        log.warning("a stream is broken off: %s", error)
        return None


class Streams:
    """All of a process's. They end when it is told to stop: it need not wait for them. One ends as well whose key is no
    longer in force. Of one event loop."""

    def __init__(self, stopping: asyncio.Event, keys: KeyRing) -> None:
        self._stopping = stopping
        self._keys = keys
        self._looking: asyncio.Task[None] | None = None
        self.senders: set[Sender] = set()
        """One for each."""

    def add(self, sender: Sender) -> None:
        """One more, until it is discarded from `senders`."""
        self.senders.add(sender)
        if self._stopping.is_set():
            sender.end()
        elif self._looking is None:
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), LOOK_S)
            for sender in self.senders:
                if self._stopping.is_set() or not self._keys.has(sender.key):
                    sender.end()

    async def close(self) -> None:
        """Return when all have been told to end. The process must have been told to stop."""
        if self._looking is not None:
            await self._looking


class Sender:
    """Sends one, to a reader who takes it."""

    def __init__(self, send: Send, connection: Connection | None, key: Key) -> None:
        self.key = key
        """The reader's."""
        self.over = asyncio.get_running_loop().create_future()
        """Done when it is to end."""
        self._send = send
        self._connection = connection
        self._seconds = SEND_S
        self._limit: asyncio.Timeout | None = None
        if connection:
            connection.keep_nothing()

    @property
    def is_sending(self) -> bool:
        """Whether the reader has yet to take something."""
        return self._limit is not None

    def end(self) -> None:
        """Have it end with what is being sent."""
        if not self.over.done():
            self.over.set_result(None)
            self.send_within(STOP_S)

    def send_within(self, seconds: float) -> None:
        """Have what is sent taken in this time from now on."""
        self._seconds = min(self._seconds, seconds)
        if self._limit:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._seconds)

    async def send(self, frame: bytes, *, is_last: bool = False) -> bool:
        """Whether it was taken; else the connection is no more."""
        limit = self._limit = asyncio.timeout(self._seconds)
        try:
            async with limit:
                await self._send({"type": "http.response.body", "body": frame, "more_body": not is_last})
                if self._connection:
                    await self._connection.taken()
        except TimeoutError:
            if not limit.expired():
                raise
            if self._connection:
                self._connection.abort()
                await self._connection.taken()
            return False
        finally:
            self._limit = None
        return True
