"""The gateway's process: what comes before a request's body, and how it ends."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.job import Job
from stylequeue.gateway import keys, server
from stylequeue.local import Stack, environment
from stylequeue.local.server import HOST, free_ports
from stylequeue.settings import Settings
from tests.support.by_hand import paint, tasks
from tests.support.gate import Gate, ServedGate
from tests.support.gateway_process import serve
from tests.support.jobs import job_fields
from tests.support.processes import wait_for
from tests.support.roles import as_role


@pytest.fixture
def gate(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedGate]:
    monkeypatch.setattr(server, "HEAD_TIMEOUT_S", 0.5)
    with ServedGate(settings, tmp_path / "keys.json") as gate:
        yield gate


def said(gate: ServedGate, *pieces: bytes, pause_s: float = 0) -> bytes:
    """What a connection is answered, until it is closed."""
    with socket.create_connection((HOST, gate.port), timeout=20) as connection:
        answer = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause_s)
            while more := connection.recv(65536):
                answer += more
        except ConnectionError:
            pass
        return answer


def test_a_head_without_end_is_cut(gate: ServedGate) -> None:
    line = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
    # Where more has come than was read, the system may throw the answer away with it.
    assert b"200" not in said(gate, line + b"X: " + b"x" * (2 * server.MAX_HEAD_BYTES), b"x" * 10)
    assert b"200" not in said(gate, line, *[b"X: y\r\n" * 1000] * 40, b"\r\n")
    assert b"200 OK" in said(gate, line + b"X: " + b"x" * 30_000 + b"\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("pieces", [[], [b"GET /healthz HT"], [b"\r\n"], [b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 10]])
def test_a_head_that_does_not_come_is_not_waited_for(gate: ServedGate, pieces: list[bytes]) -> None:
    assert said(gate, *pieces, pause_s=0.1) == b""


def test_one_connection_serves_many(gate: ServedGate) -> None:
    connection = http.client.HTTPConnection(HOST, gate.port, timeout=20)
    for _ in range(3):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        time.sleep(0.7)  # longer than a head may take: it has not begun
    connection.close()


def test_told_to_stop_it_is_not_ready_first_then_ends(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    text, key = keys.make(role="admin")
    keys.add(tmp_path / "keys.json", key)
    quick = settings.model_copy(update={"keys_file": tmp_path / "keys.json", "gateway_notice_s": 1.5})
    env = {**os.environ, **environment(as_role(quick, "gateway"))}
    [port] = free_ports(1)
    command = [sys.executable, "-m", "stylequeue.cli", "gateway", "--port", str(port)]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)

    def status(path: str) -> int:
        connection = http.client.HTTPConnection(HOST, port, timeout=20)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {text}"})
            return connection.getresponse().status
        except ConnectionError:
            return 0
        finally:
            connection.close()

    try:
        wait_for(lambda: status("/readyz") == 200, 60, "the gateway to be ready")
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: status("/readyz") == 503, 10, "it to say that it stops")
        assert status("/v1/jobs") == 200
        assert process.wait(30) == 0
        assert status("/healthz") == 0
    finally:
        process.kill()
        _, log = process.communicate()
    assert text not in log
    assert text.split("_")[2] not in log
    assert "GET /v1/jobs 200" in log


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # Celery's own way to store results
def test_killed_between_record_and_message_nothing_is_lost_or_doubled(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    """Whoever asked has no answer, asks another gateway with the same Idempotency-Key, and gets the picture."""
    asking: dict[str, Any] = {"json": job_fields(), "headers": {"Idempotency-Key": "order-7"}}
    env = {**environment(settings), "PYTHONPATH": str(Path(__file__).parents[2])}
    dying = serve(stack, tmp_path, env, module="tests.support.dying_gateway")
    with (
        httpx2.Client(base_url=f"http://{HOST}:{dying.port}", timeout=60) as http,
        pytest.raises(httpx2.RemoteProtocolError),
    ):
        http.post("/v1/jobs", headers={**asking["headers"], "Authorization": f"Bearer {dying.key}"}, json=job_fields())
    assert dying.process.wait(20) == 128 + signal.SIGKILL
    with Gate(settings, tmp_path / "keys.json") as gate, StyleQueue(settings) as queue:
        [recorded] = queue.jobs()
        assert (recorded.state, tasks(queue)) == ("queued", [])
        again = gate.post("/v1/jobs", key=dying.key, **asking)
        assert (again.status_code, again.json()["id"]) == (200, recorded.id)
        assert again.headers["idempotent-replayed"] == "true"
        assert [job.id for job in queue.jobs()] == tasks(queue) == [recorded.id]
        [message] = queue._ledger.redis.lrange("paint", 0, -1)
        _, arguments, _ = json.loads(base64.b64decode(json.loads(message)["body"]))
        paint(queue, Job.model_validate(arguments["job"]))
        done = gate.post("/v1/jobs", key=dying.key, **asking)
        assert (done.status_code, done.json()["id"], done.json()["state"]) == (200, recorded.id, "succeeded")
        assert tasks(queue) == [recorded.id]
