"""Streams as operators meet them: of a process that is told to stop, behind nginx, with messages lost on the way."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from stylequeue import asking_events
from stylequeue.client import StyleQueue
from stylequeue.gateway import keys
from stylequeue.gateway.streams import EventStream, Streams
from stylequeue.ledger import watching
from stylequeue.local import Stack
from stylequeue.local.server import HOST, free_ports
from stylequeue.settings import Settings
from tests.support.gateway_process import Served, listens, serve
from tests.support.jobs import make_job
from tests.support.processes import needed, wait_for
from tests.support.proxy import Proxy
from tests.support.sse import events

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

WAIT_S = 60
STREAMS = 30
AT_ONCE_S = 1
"""In which an event that nothing holds up passes nginx."""
HEALED_S = 2
"""In which what was published and lost is found."""
# As Debian's package has it, but for where it writes and who it is.
NGINX = """
daemon off; pid nginx.pid; error_log stderr;
events {{ worker_connections 768; }}
http {{
  sendfile on; tcp_nopush on; types_hash_max_size 2048; default_type application/octet-stream;
  gzip on; access_log off;
  client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
  server {{ listen {host}:{port}; location / {{ proxy_pass http://{host}:{behind}; }} }}
}}
"""


@pytest.fixture
def proxy(stack: Stack) -> Iterator[Proxy]:
    with Proxy(HOST, stack.valkey.port) as proxy:
        yield proxy


@pytest.fixture
def served(stack: Stack, settings: Settings, proxy: Proxy, tmp_path: Path) -> Iterator[Served]:
    """Its Redis is behind the proxy."""
    url = settings.redis_url.get_secret_value().replace(f":{stack.valkey.port}/", f":{proxy.port}/")
    served = serve(stack, tmp_path, {"STYLEQUEUE_REDIS_URL": url, "STYLEQUEUE_GATEWAY_NOTICE_S": "0.1"})
    yield served
    served.process.stop()


@pytest.fixture
def queue(settings: Settings) -> Iterator[StyleQueue]:
    with StyleQueue(settings) as queue:
        yield queue


def test_open_streams_hold_up_no_process_that_is_told_to_stop(served: Served, queue: StyleQueue) -> None:
    job_id = queue.submit(make_job())
    with ExitStack() as streams:
        paths = [f"/v1/jobs/{job_id}/events", "/v1/events", f"/v1/events?job={job_id}"] * (STREAMS // 3)
        lines = [streams.enter_context(served.stream(path)).iter_lines() for path in paths]
        for stream in lines:
            assert next(stream) == "retry: 2000"
        stalled = streams.enter_context(served.stalled("/v1/events"))
        # Long before it breaks off whoever does not end: else it would be killed.
        assert served.process.stop() != 128 + signal.SIGKILL
        for stream in lines:
            # Each comes to its end, and is not broken off.
            list(events(stream))
        stalled.close()


def test_events_pass_nginx_as_they_happen(served: Served, queue: StyleQueue, tmp_path: Path) -> None:
    program = needed("nginx")
    [port] = free_ports(1)
    (tmp_path / "nginx.conf").write_text(NGINX.format(host=HOST, port=port, behind=served.port))
    with subprocess.Popen([program, "-p", tmp_path, "-c", "nginx.conf"]) as nginx:
        try:
            wait_for(lambda: listens(port), WAIT_S, "nginx to listen")
            job_id = queue.submit(make_job())
            with served.stream(f"/v1/jobs/{job_id}/events", port=port) as one:
                told = events(one.iter_lines())
                # Nothing comes behind it that could push it through.
                assert next(told).kind == "accepted"
                with served.stream("/v1/events", port=port) as many:
                    lines = many.iter_lines()
                    assert next(lines) == "retry: 2000"
                    others = events(lines)
                    took_s = []
                    for _ in range(5):
                        began = time.monotonic()
                        another = queue.submit(make_job())
                        assert next(others).data["subject"] == another
                        took_s.append(time.monotonic() - began)
                    # One that was held up for a while would hold up all.
                    assert min(took_s) < AT_ONCE_S
                    queue.cancel(job_id)
                    assert next(told).kind == "cancelled"
                    assert list(told) == []
        finally:
            nginx.send_signal(signal.SIGTERM)


def test_what_is_published_and_lost_is_found_within_a_few_seconds(
    served: Served, queue: StyleQueue, proxy: Proxy
) -> None:
    assert max(watching.SWEEP_S, asking_events._LOOK_S) <= HEALED_S
    job_id = queue.submit(make_job())
    subscription = proxy.hold_answer(b"subscribe")
    with served.stream(f"/v1/jobs/{job_id}/events") as one, served.stream("/v1/events") as many:
        told, lines = events(one.iter_lines()), many.iter_lines()
        assert next(told).kind == "accepted"
        assert next(lines) == "retry: 2000"
        subscription.wait(WAIT_S)
        began = time.monotonic()
        queue.cancel(job_id)
        assert next(told).kind == "cancelled"
        assert next(events(lines)).kind == "cancelled"
        # On a busy machine as well: where nobody sweeps, it is at the next look at the latest, or at no time.
        assert time.monotonic() - began < asking_events._LOOK_AGAIN_S - HEALED_S
        subscription.drop()


def test_what_a_stream_looks_at_is_no_part_of_its_request(tmp_path: Path) -> None:
    """Of a trace neither: it may go on for hours."""
    _, key = keys.make(role="read")
    keys.add(tmp_path / "keys.json", key)
    ring = keys.KeyRing(tmp_path / "keys.json")
    current, seen, sent = ContextVar("current", default=""), list[str](), list[Any]()

    async def frames() -> AsyncGenerator[bytes, None]:
        seen.append(current.get())
        yield b"told"

    async def stay() -> Any:
        await asyncio.Event().wait()

    async def send(what: Any) -> None:
        sent.append(what)

    async def serve() -> None:
        current.set("a request")
        await EventStream(Streams(asyncio.Event(), ring), key, frames())({"type": "http"}, stay, send)

    asyncio.run(serve())
    assert seen == [""]
    assert b"told" in [one.get("body") for one in sent]
