"""Endpoints that events are delivered to, by HTTP."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.settings import Settings
from tests.delivery.test_deliverer import CRM, ended, id_of, until
from tests.gateway.test_edge import check_problem
from tests.support.deliveries import Operator, delivering
from tests.support.gate import Gate
from tests.support.receiver import Receiver, Reply

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

HOOKS = "/v1/admin/hooks"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def operator(settings: Settings, tmp_path: Path, receiver: Receiver) -> Operator:
    return Operator(settings, tmp_path, crm=receiver.endpoint(), theirs=receiver.endpoint(tenant="acme"))


@pytest.fixture
def gate(operator: Operator, tmp_path: Path) -> Iterator[Gate]:
    with Gate(operator.settings, tmp_path / "keys.json") as gate:
        yield gate


def test_what_did_not_arrive_is_seen_and_sent_again(gate: Gate, operator: Operator, receiver: Receiver) -> None:
    def crm() -> dict[str, Any]:
        found: dict[str, Any] = gate.get(f"{HOOKS}/{CRM}").json()
        return found

    receiver.answer = lambda _: Reply(410, body=b"moved away")
    with StyleQueue(operator.settings) as queue, delivering(operator.settings):
        event = id_of(ended(queue))
        until(lambda: crm()["disabled"], "it to be disabled")
        assert [one["name"] for one in gate.get(HOOKS).json()["endpoints"]] == [CRM, "theirs"]
        page = gate.get(f"{HOOKS}/{CRM}/deliveries?state=given_up&limit=1").json()
        [delivery] = page["deliveries"]
        assert (delivery["id"], page["cursor"]) == (event, None)
        [attempt] = delivery["attempts"]
        assert (attempt["status"], attempt["said"]) == (410, "moved away")
        assert gate.get(f"{HOOKS}/{CRM}/deliveries/{event}").json() == delivery

        receiver.answer = lambda _: Reply()
        assert gate.post(f"{HOOKS}/{CRM}/enable").json() == {"count": 0}
        answer = gate.post(f"{HOOKS}/{CRM}/replay", json={"event": event})
        assert (answer.status_code, answer.json()) == (202, {"count": 1})
        until(lambda: crm()["succeeded_at"], "it to arrive")
        since = {"since": "2020-01-01T00:00:00Z"}
        assert gate.post(f"{HOOKS}/{CRM}/replay", json=since).json() == {"count": 0}
    assert receiver.ids() == [event] * 2


def test_one_is_tried_out_and_has_its_secret_changed(gate: Gate, receiver: Receiver) -> None:
    assert gate.post(f"{HOOKS}/{CRM}/test").json()["status"] == 204
    assert len(receiver.received) == 1
    secret = gate.post(f"{HOOKS}/{CRM}/rotate").json()["secret"]
    assert secret.startswith("whsec_")
    assert gate.get(f"{HOOKS}/{CRM}").json()["secrets"] == 2
    assert secret not in gate.get(HOOKS).text


@pytest.mark.parametrize("why", [errno.EROFS, errno.EACCES])
def test_a_file_that_is_not_the_gateway_s_to_write_stays_as_it_is(
    gate: Gate, operator: Operator, monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    opened, before = Path.open, operator.path.read_text()

    def read_only(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if path.parent == operator.path.parent and "w" in mode:
            raise OSError(why, os.strerror(why))
        return opened(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", read_only)
    problem = check_problem(gate.post(f"{HOOKS}/{CRM}/rotate"), "file_unusable")
    assert problem["status"] == 409
    assert str(operator.path.parent) not in str(problem)
    assert operator.path.read_text() == before
    assert gate.get(f"{HOOKS}/{CRM}").json()["secrets"] == 1


def test_it_takes_an_admins_key(gate: Gate) -> None:
    check_problem(gate.get(HOOKS, key=None), "unauthenticated")
    for role in ("read", "submit", "monitor"):
        check_problem(gate.get(HOOKS, key=gate.key(role)), "forbidden")


def test_a_tenants_admin_looks_after_its_own(gate: Gate) -> None:
    theirs = gate.key("admin", "acme")
    assert [one["name"] for one in gate.get(HOOKS, key=theirs).json()["endpoints"]] == ["theirs"]
    for ask in (
        gate.get(f"{HOOKS}/{CRM}", key=theirs),
        gate.get(f"{HOOKS}/{CRM}/deliveries", key=theirs),
        gate.post(f"{HOOKS}/{CRM}/test", key=theirs),
        gate.post(f"{HOOKS}/{CRM}/rotate", key=theirs),
        gate.post(f"{HOOKS}/{CRM}/enable", key=theirs),
        gate.post(f"{HOOKS}/{CRM}/replay", key=theirs, json={"event": "e"}),
        gate.get(f"{HOOKS}/nobody"),
    ):
        check_problem(ask, "endpoint_not_found")


@pytest.mark.parametrize(
    "body", [{}, {"event": "e", "since": "2020-01-01T00:00:00Z"}, {"since": "2020-01-01"}, {"x": 1}]
)
def test_what_is_no_replay(gate: Gate, body: dict[str, Any]) -> None:
    check_problem(gate.post(f"{HOOKS}/{CRM}/replay", json=body), "invalid_job")


def test_what_is_not_there(gate: Gate) -> None:
    check_problem(gate.post(f"{HOOKS}/{CRM}/replay", json={"event": "e"}), "delivery_not_found")
    check_problem(gate.get(f"{HOOKS}/{CRM}/deliveries/e"), "delivery_not_found")
    check_problem(gate.get(f"{HOOKS}/{CRM}/deliveries?cursor=x"), "invalid_request")
    check_problem(gate.get(f"{HOOKS}/{CRM}/deliveries?limit=1000"), "invalid_request")
