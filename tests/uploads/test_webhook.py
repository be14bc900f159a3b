"""Where stores bring their notices: taken once all is on record, and told to come again while it is not."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from stylequeue.client import StyleQueue
from stylequeue.settings import Settings
from tests.support.gate import Gate
from tests.uploads.conftest import WAVE
from tests.uploads.shapes import SHAPES

TOKEN, OTHER, NEXT = "0123456789abcdef01234567", "fedcba9876543210fedcba98", "next-next-next-next-next-"
FILE = (
    WAVE
    + f"""
[source.minio]
tokens = ["{TOKEN}", "{NEXT}"]

[source.ceph]
tokens = ["{OTHER}"]
"""
)
PATH = "/v1/notices/minio"
TELLING = SHAPES["minio"].of("in/photo.jpg")


@pytest.fixture
def taking(settings: Settings, tmp_path: Path) -> Settings:
    """A gateway's that takes notices."""
    path = tmp_path / "operator.toml"
    path.write_text(FILE)
    return settings.model_copy(update={"operator_file": path, "gateway_notices": True})


@pytest.fixture
def gate(taking: Settings, tmp_path: Path) -> Iterator[Gate]:
    with Gate(taking, tmp_path / "keys.json") as gate:
        yield gate


def test_a_notice_is_answered_once_its_job_is_on_record(gate: Gate, queue: StyleQueue) -> None:
    for verdict in ("recorded", "known"):
        answer = gate.post(PATH, key=TOKEN, content=TELLING)
        assert (answer.status_code, answer.json()) == (200, {verdict: 1})
    [status] = queue.jobs()
    assert status.state == "queued"
    assert queue.upload_counts()["minio"].outcomes == {"recorded": 1, "known": 1}


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"somebody:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (PATH, {"Authorization": f"Bearer {TOKEN}"}),
        (PATH, {"Authorization": f"bearer {NEXT}"}),
        (PATH, {"Authorization": TOKEN}),
        (PATH, basic(TOKEN)),
        (PATH, {"X-Api-Key": TOKEN}),
        (f"{PATH}?token={TOKEN}", {}),
        ("/v1/notices/ceph", {"Authorization": f"Bearer {OTHER}"}),
    ],
)
def test_a_token_comes_as_each_store_can_send_it(gate: Gate, path: str, headers: Mapping[str, str]) -> None:
    assert gate.post(path, key=None, headers=headers, content=TELLING).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (PATH, {}),
        (PATH, {"Authorization": "Bearer "}),
        (PATH, {"Authorization": f"Bearer {TOKEN}x"}),
        (PATH, {"Authorization": f"Bearer {OTHER}"}),
        (PATH, {"Authorization": f"Basic {TOKEN}"}),
        (PATH, basic("")),
        (PATH, {"X-Api-Key": "wäve"}),
        (f"{PATH}?token=", {}),
        ("/v1/notices/none", {"Authorization": f"Bearer {TOKEN}"}),
        ("/v1/notices/none", {"Authorization": "Bearer no source has this token"}),
        ("/v1/notices/wave", {"Authorization": f"Bearer {TOKEN}"}),
    ],
)
def test_whoever_has_none_of_that_source_is_not_heard(
    gate: Gate, queue: StyleQueue, path: str, headers: Mapping[str, str]
) -> None:
    answer = gate.post(
        path, key=None, headers={name: value.encode() for name, value in headers.items()}, content=TELLING
    )
    assert answer.status_code == 401
    assert TOKEN not in answer.text
    assert queue.jobs() == []


def test_a_gateways_key_is_no_token(gate: Gate) -> None:
    assert gate.post(PATH, key=gate.admin, content=TELLING).status_code == 401


def test_tokens_change_without_a_restart(gate: Gate, taking: Settings) -> None:
    assert taking.operator_file
    taking.operator_file.write_text(FILE.replace(TOKEN, "another-another-another-"))
    assert gate.post(PATH, key=TOKEN, content=TELLING).status_code == 401
    assert gate.post(PATH, key="another-another-another-", content=TELLING).status_code == 200


def test_whoever_only_asks_whether_somebody_is_there_is_answered(gate: Gate) -> None:
    for method, path in (("GET", PATH), ("HEAD", PATH), ("HEAD", "/"), ("GET", "/v1/notices/none")):
        answer = gate.ask(method, path, key=None)
        assert answer.is_success, (method, path)
        assert path == "/" or answer.status_code == 204


def test_what_is_no_notification_is_kept_and_does_not_come_again(gate: Gate, queue: StyleQueue) -> None:
    for body in (b"hello", b"{}", b"\xff"):
        answer = gate.post(PATH, key=TOKEN, content=body)
        assert (answer.status_code, answer.json()) == (200, {})
    assert {letter.kind for letter in queue.dead_letters()} == {"notification"}
    assert len(queue.dead_letters()) == 3


def test_what_is_too_long_is_not_read(gate: Gate) -> None:
    assert gate.post(PATH, key=TOKEN, content=b"x" * (1024**2 + 1)).status_code == 413


def test_while_redis_is_away_it_is_to_come_again(taking: Settings, tmp_path: Path) -> None:
    away = taking.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0"), "redis_timeout_s": 1})
    with Gate(away, tmp_path / "keys.json") as gate:
        for body in (TELLING, b"no notification"):
            answer = gate.post(PATH, key=TOKEN, content=body)
            assert answer.status_code == 503
            assert answer.headers["Retry-After"]
            assert answer.json()["code"] == "broker_unavailable"


def test_while_the_queue_is_full_as_well(taking: Settings, tmp_path: Path, queue: StyleQueue) -> None:
    with Gate(taking.model_copy(update={"max_open_jobs": 1}), tmp_path / "keys.json") as gate:
        assert gate.post(PATH, key=TOKEN, content=TELLING).status_code == 200
        other = SHAPES["minio"].of("in/other.jpg")
        assert gate.post(PATH, key=TOKEN, content=other).json()["code"] == "queue_full"
        queue.cancel(queue.jobs()[0].id)
        assert gate.post(PATH, key=TOKEN, content=other).json() == {"recorded": 1}


def test_where_it_is_not_switched_on_there_is_nothing(taking: Settings, tmp_path: Path) -> None:
    with Gate(taking.model_copy(update={"gateway_notices": False}), tmp_path / "keys.json") as gate:
        assert gate.post(PATH, key=TOKEN, content=TELLING).status_code == 404
