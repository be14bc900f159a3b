"""Around every request: ids, headers, limits, and how what goes wrong is told."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from fastapi import Request

from stylequeue.contract.codes import STATUS, Code
from stylequeue.gateway import edge
from stylequeue.gateway.app import MAX_JSON_BYTES
from stylequeue.gateway.problems import MEDIA_TYPE, meanings
from tests.support.gate import Gate

SECRET = "hunter2"
WITHIN_S = 0.7


def check_problem(response: Any, code: str) -> dict[str, Any]:
    """What an answer says went wrong."""
    assert response.headers["content-type"] == MEDIA_TYPE
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    assert response.status_code == body["status"] == STATUS[Code(code)]
    assert body["type"] == f"/problems/{code}"
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == response.headers["x-request-id"]
    return body


@pytest.fixture
def odd(gate: Gate) -> Gate:
    """A gateway with routes that misbehave."""

    @gate.app.get("/odd/broken")
    async def broken() -> None:
        raise RuntimeError(SECRET)

    @gate.app.post("/odd/body")
    async def body(request: Request) -> int:
        return len(await request.body())

    @gate.app.post("/odd/store")
    async def store(request: Request) -> int:
        taken = 0
        async for piece in request.stream():
            taken += len(piece)
            await asyncio.sleep(WITHIN_S)
        return taken

    return gate


def test_every_answer_protects_whoever_reads_it(odd: Gate) -> None:
    for path in ("/healthz", "/nowhere", "/problems/job_open", "/odd/broken", "/openapi.json"):
        headers = odd.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-request-id"], path
        assert headers["cache-control"], path
        assert "access-control-allow-origin" not in headers, path
        assert "server" not in headers, path


def test_a_requests_id_is_the_callers_where_it_can_be_one(gate: Gate) -> None:
    assert gate.get("/healthz", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    ids = set()
    for given in ("", "a b", "x" * 129, "ä", "{}"):
        answered = gate.get("/healthz", headers={"X-Request-ID": given.encode()}).headers["x-request-id"]
        assert answered != given
        ids.add(answered)
    assert len(ids) == 5


def test_what_is_not_served_is_a_problem(gate: Gate) -> None:
    check_problem(gate.get("/nowhere"), "address_not_found")
    check_problem(gate.get("/docs"), "address_not_found")
    check_problem(gate.get("/redoc"), "address_not_found")
    check_problem(gate.get("/healthz/"), "address_not_found")
    answer = gate.post("/healthz")
    check_problem(answer, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


def test_a_fault_of_ours_says_nothing_of_itself(odd: Gate, caplog: pytest.LogCaptureFixture) -> None:
    answer = odd.get("/odd/broken")
    problem = check_problem(answer, "internal_error")
    assert SECRET not in answer.text + str(answer.headers)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert problem["instance"] in record.getMessage()


def test_a_body_is_read_to_its_limit_and_no_further(odd: Gate) -> None:
    assert odd.post("/odd/body", content=b"x" * MAX_JSON_BYTES).json() == MAX_JSON_BYTES
    check_problem(odd.post("/odd/body", content=b"x" * (MAX_JSON_BYTES + 1)), "body_too_large")
    sent = 0

    async def chunks() -> Any:
        nonlocal sent
        for _ in range(1024):
            sent += 1024**2
            yield b"x" * 1024**2

    check_problem(odd.post("/odd/body", content=chunks()), "body_too_large")
    assert sent < 8 * 1024**2


def test_what_is_not_read_is_limited_too(gate: Gate) -> None:
    check_problem(gate.ask("GET", "/healthz", content=b"x" * (MAX_JSON_BYTES + 1)), "body_too_large")


def test_a_body_that_comes_too_slowly_is_cut(odd: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = odd.app.middleware_stack or odd.app.build_middleware_stack()
    odd.app.middleware_stack = layer
    assert isinstance(layer, edge.Edge)
    layer._body_timeout_s = 0.2

    async def drops(count: int, each: bytes) -> Any:
        for _ in range(count):
            yield each
            await asyncio.sleep(0.05)

    answer = odd.post("/odd/body", content=drops(100, b"x"))
    check_problem(answer, "body_too_slow")
    assert answer.headers["connection"] == "close"
    # At its pace, a large one may take its time.
    assert (
        odd.post("/odd/body", content=drops(10, b"x" * edge.MIN_BODY_BYTES_PER_S)).json()
        == 10 * edge.MIN_BODY_BYTES_PER_S
    )


def test_what_is_done_with_a_body_takes_none_of_its_time(odd: Gate) -> None:
    """A store may take longer for a piece than the sender has for the whole."""
    layer = odd.app.middleware_stack = odd.app.build_middleware_stack()
    assert isinstance(layer, edge.Edge)
    layer._body_timeout_s = WITHIN_S

    async def pieces() -> Any:
        for _ in range(2):
            yield b"x"

    assert odd.post("/odd/store", content=pieces()).json() == 2


def test_the_log_has_a_line_for_each_request_and_no_query(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "stylequeue.gateway"):
        answer = gate.get(f"/nowhere?key={SECRET}")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "stylequeue.gateway.edge"]
    assert line.startswith("GET /nowhere 404 in ")
    assert answer.headers["x-request-id"] in line
    # Whoever asked may log what it asked for.
    assert not [record for record in caplog.records if record.name != "httpx2" and SECRET in record.getMessage()]


class TestProbes:
    def test_alive_and_ready(self, gate: Gate) -> None:
        assert gate.get("/healthz", key=None).json() == {"status": "ok"}
        answer = gate.get("/readyz", key=None)
        assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": {}})

    def test_told_to_stop_it_is_alive_and_not_ready(self, gate: Gate) -> None:
        gate.state.stopping.set()
        assert gate.get("/healthz", key=None).status_code == 200
        answer = gate.get("/readyz", key=None)
        assert answer.status_code == 503
        assert answer.json() == {"ready": False, "reasons": {"gateway": "it was told to stop"}}

    def test_every_code_has_a_page(self, gate: Gate) -> None:
        assert set(meanings()) == set(Code)
        for code in Code:
            page = gate.get(f"/problems/{code}", key=None)
            assert page.status_code == 200
            assert code in page.text
            assert str(STATUS[code]) in page.text
        assert "has not ended" in gate.get("/problems/job_open", key=None).text
        check_problem(gate.get("/problems/nonsense", key=None), "address_not_found")
