"""`stylequeue listen`, as operators run it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import httpx2
import pytest
import redis

from stylequeue.client import StyleQueue
from stylequeue.local import Process, Stack, environment
from stylequeue.local.server import HOST, free_ports
from stylequeue.settings import Settings
from tests.support.command import BAD_INPUT, Command
from tests.support.gateway_process import listens
from tests.support.processes import wait_for
from tests.support.roles import let_at
from tests.uploads.conftest import WAVE, Operated
from tests.uploads.shapes import SHAPES

TOKEN = "0123456789abcdef01234567"
LIST = "told"
FILE = WAVE + f'[source.minio]\ntokens = ["{TOKEN}"]\n[source.listed]\nredis_list = "{LIST}"\n'
WAIT_S = 60


@pytest.fixture
def listener(stack: Stack, operated: Operated) -> Iterator[tuple[Process, str]]:
    [port] = free_ports(1)
    command = [sys.executable, "-m", "stylequeue.cli", "listen", "--port", str(port)]
    settings = operated(FILE)
    let_at(settings, "listener", LIST)
    process = stack.process("listener", command, env=environment(settings))
    process.wait_until(lambda: listens(port), WAIT_S)
    yield process, f"http://{HOST}:{port}"
    process.stop()


def test_it_takes_what_is_brought_and_fetches_the_rest_until_it_is_told_to_stop(
    listener: tuple[Process, str], settings: Settings, redis_url: str
) -> None:
    process, url = listener
    with httpx2.Client(base_url=url, timeout=WAIT_S) as http, StyleQueue(settings) as queue:
        assert [http.head(path).status_code for path in ("/", "/v1/notices/minio")] == [204, 204]
        assert (http.get("/healthz").status_code, http.get("/readyz").status_code) == (200, 200)
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        told = http.post("/v1/notices/minio", content=SHAPES["minio"].of("in/brought.jpg"), headers=bearer)
        assert told.json() == {"recorded": 1}
        assert http.post("/v1/notices/minio", content=b"{}").status_code == 401
        assert http.get("/v1/jobs").status_code == 404
        with redis.Redis.from_url(redis_url) as client:
            client.rpush(LIST, SHAPES["redis list"].of("in/fetched.jpg"))
            wait_for(lambda: not client.exists(LIST), WAIT_S, "the list to be taken in")
        keys = {status.job["content"]["key"] for status in queue.jobs() if status.job}
        assert keys == {"in/brought.jpg", "in/fetched.jpg"}
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(WAIT_S) == 0


def test_without_a_file_or_with_one_that_cannot_be_it_does_not_start(stylequeue: Command, operated: Operated) -> None:
    assert "STYLEQUEUE_OPERATOR_FILE" in stylequeue("listen", exit_code=BAD_INPUT).stderr
    bad = operated(WAVE.replace('template = "wave"', 'template = "nope"'))
    assert "line 10: rule.0.template" in Command(environment(bad))("listen", exit_code=BAD_INPUT).stderr
