"""A TCP proxy that does to a connection what networks do, at the moment a test chooses.

    with Proxy("127.0.0.1", redis_port) as proxy:
        held = proxy.hold(b"lpush")
        ...                       # somebody speaks to proxy.port
        held.wait(timeout_s=5)    # its LPUSH is on the way now, and goes no further
        held.release()

It knows bytes, not protocols (but for HTTP's `100 Continue`). A pattern is looked for in what clients send, upper and
lower case alike, also where it is spread over several segments. What came before the pattern has passed on; from its
first byte on that is still here, nothing does: a command or request is never complete at the server before the pattern
in it has passed.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from stylequeue.local.server import HOST, free_ports

_CHUNK_BYTES = 1024 * 1024
_LONGEST_PATTERN_BYTES = 1024
_PATIENCE_S = 60
"""For what the proxy does itself, and never waits for others in."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_HTTP_INTERIM, _HTTP_HEAD_END = b"HTTP/1.1 100", b"\r\n\r\n"

Verdict = Literal["release", "drop"]


class _Dropped(Exception):
    """This connection ends here."""


class Held:
    """What is to be kept back once: a command, or the answer to it."""

    def __init__(self, proxy: Proxy, pattern: bytes, *, answer: bool) -> None:
        self.pattern = pattern
        self._what = f"{'an answer to' if answer else 'something with'} {pattern!r}"
        self._proxy = proxy
        self._caught = threading.Event()
        self._verdict: asyncio.Future[Verdict] = proxy._loop.create_future()

    def wait(self, timeout_s: float) -> None:
        """Return when it is held. AssertionError, with what has passed, if it is not within `timeout_s`."""
        if not self._caught.wait(timeout_s):
            raise AssertionError(f"{self._what} did not come by within {timeout_s:g} s; {self._proxy.seen()}")

    def release(self) -> None:
        """Let it pass, and what is behind it; also when its sender is gone by now."""
        self._decide("release")

    def drop(self) -> None:
        """Close the connection without delivering it."""
        self._decide("drop")

    def _decide(self, verdict: Verdict) -> None:
        if not self._caught.is_set():
            raise AssertionError(f"{self._what} is not held; {self._proxy.seen()}")
        self._proxy._loop.call_soon_threadsafe(self._settle, verdict)

    def _settle(self, verdict: Verdict) -> None:
        if not self._verdict.done():  # its connection may be gone
            self._verdict.set_result(verdict)

    async def _catch(self) -> None:
        """In the proxy's thread: hold it until somebody decides."""
        self._caught.set()
        if await self._verdict == "drop":
            raise _Dropped


@dataclass(frozen=True)
class _Rule:
    """What to do the next time `pattern` comes by; happens once."""

    pattern: bytes
    action: Literal["hold", "hold_answer", "answer"]
    held: Held | None = None
    answer: bytes = b""


@dataclass(eq=False)
class _Link:
    """A client's connection and the one to the server that belongs to it."""

    client: socket.socket
    server: socket.socket
    window: bytes = b""
    """The end of what the client has sent since the last pattern was found."""
    answer_to_hold: Held | None = None
    task: asyncio.Task[None] = field(init=False)

    def close(self, *, reset: Sequence[socket.socket] = ()) -> None:
        for end in reset:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.client.close()
        self.server.close()


class Proxy:
    """Listens on `port` of the loopback interface and passes everything on to `host`:`target_port` and back.

    All methods take effect before they return and may be called from any thread. What one end closes is closed
    towards the other as well; what breaks is reset towards the client, and closed towards the server.
    """

    def __init__(self, host: str, target_port: int) -> None:
        self._target = (host, target_port)
        [self.port] = free_ports(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)
        self._links: set[_Link] = set()
        self._rules: list[_Rule] = []
        self._delay_s = 0.0
        self._gate = asyncio.Event()
        self._gate.set()
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._run(self._end_links(reset=False, listening=False))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive()
        self._loop.close()

    def hold(self, pattern: bytes) -> Held:
        """Keep back the next thing with `pattern` in it, and what the same connection sends behind it."""
        return self._hold(pattern, "hold")

    def hold_answer(self, pattern: bytes) -> Held:
        """Let the next thing with `pattern` pass, and keep back what the server says to it, and all behind that.

        In a pipeline this is the first answer after the pattern has passed. HTTP's `100 Continue` is none.
        """
        return self._hold(pattern, "hold_answer")

    def answer_once(self, pattern: bytes, answer: bytes) -> None:
        """Answer the next thing with `pattern` in it with these bytes, and close the connection behind them.

        The server never gets to see it whole. The rest of a request (a body, however it is framed and whether
        `Expect: 100-continue` announced it) is read and thrown away, so that no reset overtakes the answer; the
        client's next request comes by a new connection. For n answers call it n times.
        """
        self._add(_Rule(_checked(pattern), "answer", answer=answer))

    def reset(self) -> None:
        """Reset all connections (RST, no FIN). New ones are welcome."""
        self._run(self._end_links(reset=True))

    def delay(self, seconds: float) -> None:
        """Keep each chunk, in both directions, for so long. A chunk is what was waiting, at most 1 MiB."""
        self._delay_s = seconds

    def half_open(self) -> None:
        """Pass nothing any more, and say nothing of it: connections stay open, new ones are taken and silent.

        As on a real dead link, what was sent meanwhile arrives after `heal`, though its sender may have given up.
        """
        self._call(self._gate.clear)

    def refuse(self) -> None:
        """Reset all connections, and refuse new ones."""
        self._run(self._end_links(reset=True, listening=False))

    def heal(self) -> None:
        """Undo `delay`, `half_open` and `refuse`, and forget patterns that have not come by; what is held stays."""
        self._call(self._heal)

    def seen(self) -> str:
        """For messages: the connections there are, and what each has sent last."""
        last = ", ".join(repr(link.window[-80:]) for link in list(self._links))
        return f"connections through the proxy, by what each has sent last: [{last}]"

    def _hold(self, pattern: bytes, action: Literal["hold", "hold_answer"]) -> Held:
        held = Held(self, _checked(pattern), answer=action == "hold_answer")
        self._add(_Rule(held.pattern, action, held))
        return held

    def _add(self, rule: _Rule) -> None:
        self._call(lambda: self._rules.append(rule))

    def _call(self, change: Callable[[], None]) -> None:
        async def call() -> None:
            change()

        self._run(call())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    # What follows runs in the proxy's thread, which alone touches connections and rules.

    def _listen(self) -> None:
        self._listener = socket.create_server((HOST, self.port))
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # gone before it was taken
            return
        link = _Link(client, socket.socket())
        for end in (link.client, link.server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._links.add(link)
        link.task = self._loop.create_task(self._serve(link))

    def _heal(self) -> None:
        self._rules.clear()
        self._delay_s = 0
        self._gate.set()
        if self._listener is None:
            self._listen()

    async def _end_links(self, *, reset: bool, listening: bool = True) -> None:
        if not listening and self._listener:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        ending, self._links = self._links, set()
        for link in ending:
            link.task.cancel()
        await asyncio.gather(*(link.task for link in ending), return_exceptions=True)
        for link in ending:
            link.close(reset=(link.client, link.server) if reset else ())

    async def _serve(self, link: _Link) -> None:
        reset: list[socket.socket] = []
        try:
            await self._loop.sock_connect(link.server, self._target)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._to_server(link))
                ways.create_task(self._to_client(link))
        except* OSError:
            reset.append(link.client)  # not the server, so that it reads what a client sent before it died
        except* _Dropped:
            pass
        # Where this task was cancelled, whoever did that closes the connection in their own way.
        self._links.discard(link)
        link.close(reset=reset)

    async def _to_server(self, link: _Link) -> None:
        while chunk := await self._receive(link.client):
            while found := self._find(link, chunk):
                start, end, rule = found
                self._rules.remove(rule)
                await self._loop.sock_sendall(link.server, chunk[:start])
                if rule.action == "answer":
                    await self._answer(link, rule.answer)
                if rule.action == "hold_answer":
                    link.answer_to_hold = rule.held
                elif rule.held:
                    await rule.held._catch()
                await self._loop.sock_sendall(link.server, chunk[start:end])
                link.window, chunk = b"", chunk[end:]
            await self._loop.sock_sendall(link.server, chunk)
            link.window = (link.window + chunk)[-_LONGEST_PATTERN_BYTES:]
        link.server.shutdown(socket.SHUT_WR)

    async def _to_client(self, link: _Link) -> None:
        while chunk := await self._receive(link.server):
            if link.answer_to_hold and chunk.startswith(_HTTP_INTERIM):
                interim, end, chunk = chunk.partition(_HTTP_HEAD_END)
                await self._loop.sock_sendall(link.client, interim + end)
            if link.answer_to_hold and chunk:
                held, link.answer_to_hold = link.answer_to_hold, None
                await held._catch()
            await self._loop.sock_sendall(link.client, chunk)
        link.client.shutdown(socket.SHUT_WR)

    async def _receive(self, source: socket.socket) -> bytes:
        """What came, once it may pass; b"" at the end, which takes its time and its chances like everything else."""
        chunk = await self._loop.sock_recv(source, _CHUNK_BYTES)
        await asyncio.sleep(self._delay_s)
        await self._gate.wait()
        return chunk

    async def _answer(self, link: _Link, answer: bytes) -> None:
        await self._loop.sock_sendall(link.client, answer)
        link.client.shutdown(socket.SHUT_WR)
        while await self._loop.sock_recv(link.client, _CHUNK_BYTES):
            pass
        raise _Dropped

    def _find(self, link: _Link, chunk: bytes) -> tuple[int, int, _Rule] | None:
        """Where in `chunk` the next pattern starts (0: or before it) and ends, and whose it is."""
        sent = len(link.window)
        text = (link.window + chunk).lower()
        found = []
        for rule in self._rules:
            # One that ends in what was sent already came by before it was asked for.
            start = text.find(rule.pattern, max(0, sent - len(rule.pattern) + 1))
            if start >= 0:
                found.append((max(0, start - sent), start - sent + len(rule.pattern), rule))
        return min(found, key=lambda place: place[:2], default=None)


def _checked(pattern: bytes) -> bytes:
    assert 0 < len(pattern) <= _LONGEST_PATTERN_BYTES, "a pattern has 1 to 1024 bytes"
    return pattern.lower()


def s3_error(status: int, code: str) -> bytes:
    """An answer of S3's for `answer_once`, such as 503 SlowDown."""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'.encode()
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
