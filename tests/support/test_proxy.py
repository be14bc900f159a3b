"""The proxy that the fault tests break connections with."""

from __future__ import annotations

import hashlib
import os
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis

from stylequeue.contract.errors import StyleQueueError
from stylequeue.contract.objects import ImageRef
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from stylequeue.store import Origin, Store
from tests.support.processes import wait_for
from tests.support.proxy import Proxy, s3_error

SOON_S = 60
SILENCE_S = 0.1


class Echo(socketserver.BaseRequestHandler):
    """Says everything back and remembers it."""

    heard: bytearray

    def handle(self) -> None:
        while chunk := self.request.recv(65536):
            self.heard += chunk
            self.request.sendall(chunk)
        self.heard += b"<end>"


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        self.RequestHandlerClass.heard += b"<reset>"  # type: ignore[attr-defined]


@pytest.fixture
def heard() -> bytearray:
    """What the server was told."""
    return bytearray()


@pytest.fixture
def proxy(heard: bytearray) -> Iterator[Proxy]:
    handler = type("ThisEcho", (Echo,), {"heard": heard})
    with EchoServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with Proxy(HOST, server.server_address[1]) as proxy:
                yield proxy
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with connect(proxy) as client:
        yield client


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=SOON_S)


def hears(client: socket.socket, expected: bytes) -> None:
    """Exactly this comes, and then nothing for a moment."""
    got = b""
    while len(got) < len(expected):
        chunk = client.recv(65536)
        assert chunk, f"the connection ended after {got!r}"
        got += chunk
    assert got == expected
    hears_nothing(client)


def until(condition: Callable[[], object], what: str) -> None:
    wait_for(condition, SOON_S, what)


def hears_nothing(client: socket.socket) -> None:
    client.settimeout(SILENCE_S)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(SOON_S)


def test_passes_both_ways_and_closes_what_is_closed(proxy: Proxy, client: socket.socket) -> None:
    big = bytes(range(256)) * 20_000
    sender = threading.Thread(target=client.sendall, args=(big,))
    sender.start()
    hears(client, big)
    sender.join()
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""


def test_holds_from_the_pattern_on(proxy: Proxy, client: socket.socket, heard: bytearray) -> None:
    held = proxy.hold(b"SET")
    client.sendall(b"GET a;Set b;GET c;")
    held.wait(SOON_S)
    hears(client, b"GET a;")
    client.sendall(b"GET d;")
    hears_nothing(client)
    with connect(proxy) as other:
        other.sendall(b"SET other;")
        hears(other, b"SET other;")
    held.release()
    hears(client, b"Set b;GET c;GET d;")
    client.sendall(b"SET e;")
    hears(client, b"SET e;")


def test_finds_a_pattern_in_pieces(proxy: Proxy, client: socket.socket) -> None:
    held = proxy.hold(b"PATTERN")
    for piece in (b"a pat", b"", b"te"):
        client.sendall(piece)
        if piece:
            hears(client, piece)
    client.sendall(b"rn and more")
    held.wait(SOON_S)
    hears_nothing(client)
    held.release()
    hears(client, b"rn and more")


def test_a_pattern_is_not_found_in_what_has_passed(proxy: Proxy, client: socket.socket) -> None:
    client.sendall(b"SET a;")
    hears(client, b"SET a;")
    held = proxy.hold(b"SET")
    client.sendall(b"GET a;")
    hears(client, b"GET a;")
    with pytest.raises(AssertionError, match=r"b'set'.*did not come by within 0.01 s.*GET a;"):
        held.wait(0.01)
    with pytest.raises(AssertionError, match="is not held"):
        held.release()


def test_each_pattern_takes_its_own(proxy: Proxy, client: socket.socket) -> None:
    later, first, second = proxy.hold(b"later"), proxy.hold(b"x"), proxy.hold(b"x")
    client.sendall(b"1x2x3later4")
    first.wait(SOON_S)
    hears(client, b"1")
    first.release()
    second.wait(SOON_S)
    hears(client, b"x2")
    second.release()
    later.wait(SOON_S)
    hears(client, b"x3")
    later.drop()
    assert client.recv(1) == b""


def test_what_is_dropped_never_arrives(proxy: Proxy, client: socket.socket, heard: bytearray) -> None:
    held = proxy.hold(b"b")
    client.sendall(b"abc")
    held.wait(SOON_S)
    hears(client, b"a")
    held.drop()
    assert client.recv(10) == b""
    until(lambda: heard.endswith(b"<end>"), "the connection to the server to end")
    assert heard == b"a<end>"


@pytest.mark.parametrize("killed", [True, False])
def test_what_is_held_arrives_when_its_sender_is_gone(proxy: Proxy, heard: bytearray, killed: bool) -> None:
    held = proxy.hold(b"b")
    with connect(proxy) as client:
        client.sendall(b"abc")
        held.wait(SOON_S)
        hears(client, b"a")
        proxy.heal()
        if killed:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert heard == b"a"
    held.release()
    until(lambda: heard.startswith(b"abc<"), "it to arrive, and the connection to end")


def test_holds_the_answer(proxy: Proxy, client: socket.socket, heard: bytearray) -> None:
    held = proxy.hold_answer(b"SET")
    client.sendall(b"GET;")
    hears(client, b"GET;")
    client.sendall(b"SET;")
    held.wait(SOON_S)
    assert heard == b"GET;SET;"
    hears_nothing(client)
    held.release()
    hears(client, b"SET;")
    held = proxy.hold_answer(b"SET")
    client.sendall(b"SET;")
    held.wait(SOON_S)
    held.drop()
    assert client.recv(10) == b""


def test_reset(proxy: Proxy, client: socket.socket, heard: bytearray) -> None:
    client.sendall(b"a")
    hears(client, b"a")
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    until(lambda: heard == b"a<reset>", "the server to be reset too")
    with connect(proxy) as other:
        other.sendall(b"b")
        hears(other, b"b")


def test_delay(proxy: Proxy, client: socket.socket) -> None:
    proxy.delay(0.25)
    began_at = time.monotonic()
    client.sendall(b"a")
    hears(client, b"a")
    assert time.monotonic() - began_at >= 0.5
    proxy.heal()
    began_at = time.monotonic()
    client.sendall(b"a")
    assert client.recv(1) == b"a"
    assert time.monotonic() - began_at < 0.5


def test_half_open(proxy: Proxy, client: socket.socket, heard: bytearray) -> None:
    proxy.half_open()
    client.sendall(b"a")
    hears_nothing(client)
    with connect(proxy) as other:
        other.sendall(b"b")
        hears_nothing(other)
        assert heard == b""
        proxy.heal()
        hears(client, b"a")
        hears(other, b"b")


def test_half_open_in_the_middle_of_an_answer_and_reset(proxy: Proxy, client: socket.socket) -> None:
    held = proxy.hold_answer(b"a")
    client.sendall(b"a")
    held.wait(SOON_S)
    proxy.half_open()
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_refuse(proxy: Proxy, client: socket.socket) -> None:
    client.sendall(b"a")
    hears(client, b"a")
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.heal()
    with connect(proxy) as other:
        other.sendall(b"b")
        hears(other, b"b")


def test_a_server_that_is_not_there(heard: bytearray) -> None:
    with socket.create_server((HOST, 0)) as nobody:
        port = nobody.getsockname()[1]
    with Proxy(HOST, port) as proxy, pytest.raises(ConnectionResetError), connect(proxy) as client:
        client.recv(1)


def test_answers_itself_and_closes_in_order(proxy: Proxy, client: socket.socket, heard: bytearray) -> None:
    proxy.answer_once(b"PUT", b"no")
    client.sendall(b"PUT ")
    assert client.recv(10) == b"no"
    client.sendall(b"a body" * 100_000)  # no reset, however late it comes
    assert client.recv(10) == b""
    client.close()
    assert b"PUT" not in heard
    with connect(proxy) as other:
        other.sendall(b"PUT")
        hears(other, b"PUT")


def test_nothing_is_left_running(proxy: Proxy) -> None:
    before = threading.active_count()
    with Proxy(HOST, proxy.port) as second, connect(second) as client:
        held = second.hold(b"a")
        client.sendall(b"a")
        held.wait(SOON_S)
        assert threading.active_count() > before
    until(lambda: threading.active_count() <= before, "all threads to end")
    with pytest.raises(ConnectionRefusedError):
        connect(second)


def test_before_redis(stack: Stack, redis_url: str) -> None:
    with (
        Proxy(HOST, stack.valkey.port) as proxy,
        redis.Redis.from_url(redis_url) as direct,
        redis.Redis.from_url(redis_url.replace(str(stack.valkey.port), str(proxy.port))) as client,
    ):
        client.set("before", 1)
        held = proxy.hold(b"incr")
        answers: list[object] = []
        thread = threading.Thread(
            target=lambda: answers.extend(
                client.pipeline(transaction=False).set("a", 1).incr("b").set("c", 1).execute()
            )
        )
        thread.start()
        held.wait(SOON_S)
        until(lambda: direct.exists("a"), "what came before in the pipeline")
        assert not direct.exists("b", "c")
        held.release()
        thread.join()
        assert answers == [True, 1, True]

        held = proxy.hold_answer(b"INCR")
        thread = threading.Thread(target=lambda: answers.append(client.incr("b")))
        thread.start()
        held.wait(SOON_S)
        assert direct.get("b") == b"2"
        assert len(answers) == 3
        held.release()
        thread.join()
        assert answers[-1] == 2
        direct.flushdb()


class TestBeforeS3:
    """boto3 announces bodies by `Expect: 100-continue`."""

    @pytest.fixture
    def proxy(self, stack: Stack) -> Iterator[Proxy]:
        with Proxy(HOST, stack.seaweedfs.port) as proxy:
            yield proxy

    @pytest.fixture
    def store(self, stack: Stack, proxy: Proxy) -> Iterator[Store]:
        """Asks once, so that every error is seen."""
        through = {"s3_endpoint_url": f"http://{HOST}:{proxy.port}", "s3_attempts": 1, "read_buckets": ("results",)}
        with closing(Store(stack.settings.model_copy(update=through))) as store:
            yield store

    def put(self, store: Store, body: bytes) -> None:
        origin = Origin("proxied", hashlib.sha256(body).hexdigest())
        store.write("results", "proxied.bin", body, origin=origin, content_type="image/png", overwrite=True)

    def get(self, store: Store) -> bytes:
        return store.read(store.look(ImageRef(bucket="results", key="proxied.bin")), max_bytes=10_000_000)

    def test_requests_signed_for_the_proxy_are_good(self, store: Store) -> None:
        body = os.urandom(3_000_000)
        self.put(store, body)
        assert self.get(store) == body

    @pytest.mark.parametrize("pattern", [b"PUT /results/proxied.bin", b"proxied.bin", b"xxx"], ids=repr)
    def test_answers_in_its_place(self, proxy: Proxy, store: Store, pattern: bytes) -> None:
        body = b"x" * 3_000_000
        for status, code in ((503, "SlowDown"), (500, "InternalError"), (403, "AccessDenied")):
            proxy.answer_once(pattern, s3_error(status, code))
            with pytest.raises(StyleQueueError, match="denies" if status == 403 else code):
                self.put(store, body)
        self.put(store, body)
        assert self.get(store) == body

    def test_the_write_happened_and_the_client_does_not_know(self, stack: Stack, proxy: Proxy, store: Store) -> None:
        store._client.delete_object(
            Bucket="results", Key="proxied.bin"
        )  # else the first answer may be that something lies there
        held = proxy.hold_answer(b"PUT /results/proxied.bin")
        body = os.urandom(3_000_000)
        thread = threading.Thread(target=self.put, args=(store, body))
        thread.start()
        held.wait(SOON_S)
        with closing(Store(stack.settings.model_copy(update={"read_buckets": ("results",)}))) as direct:
            assert self.get(direct) == body
        assert thread.is_alive()
        held.release()
        thread.join(SOON_S)
        assert not thread.is_alive()
