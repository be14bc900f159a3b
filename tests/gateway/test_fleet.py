"""Queues and workers by HTTP: by role, and for nobody who has a tenant."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from stylequeue.client import StyleQueue
from tests.ledger.test_registry import live_worker
from tests.support.gate import Gate
from tests.support.jobs import make_job

NAME = "one@here"
WORKER = f"/v1/admin/workers/{quote(NAME)}"
LOOKS = ["/v1/queues/paint", "/v1/workers"]
CHANGES = ["/v1/admin/queues/paint/pause", "/v1/admin/queues/paint/resume", f"{WORKER}/drain", f"{WORKER}/undrain"]


def test_an_autoscaler_reads_the_load(gate: Gate, queue: StyleQueue) -> None:
    queue.submit_many([make_job(), make_job()])
    answer = gate.get("/v1/queues/paint", key=gate.key("monitor"))
    assert answer.status_code == 200
    names = {"waiting", "due", "parked", "running", "load", "oldest_s", "workers", "rate_per_min", "eta_s"}
    assert names <= answer.json().keys()
    assert (answer.json()["waiting"], answer.json()["load"]) == (2, 2)
    assert gate.get("/v1/queues/nothing").status_code == 400


def test_an_operator_pauses_and_drains(gate: Gate, queue: StyleQueue) -> None:
    queue._ledger.registry.register(live_worker(NAME, job="j"))
    assert gate.ask("POST", CHANGES[0]).json()["paused"]
    assert not gate.ask("POST", CHANGES[1]).json()["paused"]
    for body, said in [(None, "finish"), ({}, "finish"), ({"checkpoint": True}, "checkpoint")]:
        assert gate.ask("POST", f"{WORKER}/drain", json=body).status_code == 204
        [worker] = gate.get("/v1/workers").json()["workers"]
        assert (worker["name"], worker["job"], worker["draining"]) == (NAME, "j", said)
    assert gate.ask("POST", f"{WORKER}/undrain").status_code == 204
    assert queue.fleet()[0].draining is None
    answer = gate.ask("POST", "/v1/admin/workers/nobody/drain")
    assert (answer.status_code, answer.json()["code"]) == (404, "worker_not_found")
    assert gate.ask("POST", f"{WORKER}/drain", json={"at_once": True}).status_code == 422


def test_who_may(gate: Gate, queue: StyleQueue) -> None:
    queue._ledger.registry.register(live_worker(NAME))
    monitor, submitter = gate.key("monitor"), gate.key("submit")
    tenants = gate.key("admin", "acme")
    for path in LOOKS:
        asked = [gate.get(path, key=key).status_code for key in (None, submitter, tenants, monitor)]
        assert asked == [401, 403, 403, 200], path
    for path in CHANGES:
        asked = [gate.ask("POST", path, key=key).status_code for key in (None, submitter, tenants, monitor)]
        assert asked == [401, 403, 403, 403], path
    assert queue.fleet()[0].draining is None
    assert not queue.load("paint").paused


def test_a_monitor_is_not_told_which_jobs_workers_have(gate: Gate, queue: StyleQueue) -> None:
    since = datetime.now(UTC)
    queue._ledger.registry.register(
        live_worker(NAME, job="order-8", job_since=since, stage="painting", step=3, steps=9)
    )
    [told] = gate.get("/v1/workers").json()["workers"]
    answer = gate.get("/v1/workers", key=gate.key("monitor"))
    assert answer.json()["workers"] == [{**told, "job": None}]
    assert (told["job"], told["step"]) == ("order-8", 3)
    assert "order-8" not in answer.text


@pytest.mark.parametrize("path", ["/v1/queues/fast", "/v1/queues/bulk"])
def test_queues_without_anything(gate: Gate, path: str) -> None:
    assert gate.get(path).json()["load"] == 0
