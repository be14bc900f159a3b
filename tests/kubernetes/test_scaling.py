"""The autoscaler's part: what it asks of a gateway, and what it then does with workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.base import QUEUES
from stylequeue.contract.job import Job
from tests.kubernetes.autoscaler import Autoscaler
from tests.kubernetes.conftest import Applied
from tests.support.gate import Gate
from tests.support.jobs import make_job
from tests.support.ledger import FAILED

POLL_S = 15.0
LAST_S = 120.0
"""What a job takes."""


@dataclass
class Asked:
    """What one ScaledObject has the autoscaler ask, of a gateway that is here."""

    gate: Gate
    scaled: dict[str, Any]
    key: str

    def load(self, at: str = "") -> float:
        [trigger] = self.scaled["spec"]["triggers"]
        answer = self.gate.get(urlsplit(trigger["metadata"]["url"]).path, key=self.key)
        assert answer.status_code == 200
        return float(answer.json()[at or trigger["metadata"]["valueLocation"]])


@pytest.fixture
def asked(gate: Gate, everything: Applied) -> dict[str, Asked]:
    """By queue."""
    key = gate.key("monitor")
    scaled = everything.of("ScaledObject")
    return {name: Asked(gate, scaled[f"stylequeue-worker-{name}"], key) for name in QUEUES}


def test_whom_it_scales_and_asks(everything: Applied) -> None:
    scaled = everything.of("ScaledObject")
    assert set(scaled) == set(everything.workers())
    [auth] = everything.of("TriggerAuthentication").values()
    assert [each["parameter"] for each in auth["spec"]["secretTargetRef"]] == ["token"], "as authMode bearer has it"
    for name, each in scaled.items():
        assert (each["spec"]["minReplicaCount"], each["spec"]["cooldownPeriod"]) == (0, 300), (
            "as docs/kubernetes.md says"
        )
        assert each["spec"]["scaleTargetRef"] == {"name": name}
        [trigger] = each["spec"]["triggers"]
        assert (trigger["type"], trigger["metadata"]["authMode"]) == ("metrics-api", "bearer")
        assert trigger["authenticationRef"]["name"] == auth["metadata"]["name"]
        url = urlsplit(trigger["metadata"]["url"])
        service, namespace, svc = str(url.hostname).split(".")
        assert (url.scheme, namespace, svc) == (
            "http",
            everything.of("Service")[service]["metadata"]["namespace"],
            "svc",
        )
        [port] = everything.of("Service")[service]["spec"]["ports"]
        assert url.port == port["port"]
        worker = everything.workers()[name]["metadata"]["labels"]["stylequeue/queue"]
        assert url.path.rsplit("/", 1)[1] == worker


def test_bulk_is_scaled_only_if_that_is_asked_for(applied: Applied, everything: Applied) -> None:
    if applied is not everything:
        assert set(applied.of("ScaledObject")) in ({"stylequeue-worker-fast", "stylequeue-worker-paint"}, set())


def test_the_gateway_answers_what_it_asks(asked: dict[str, Asked], queue: StyleQueue) -> None:
    queue.submit_many([make_job(queue=name) for name in QUEUES for _ in range(2)])
    waits = make_job()
    queue.submit(waits)
    queue._ledger.claim(waits, task_id=waits.id, worker="one")
    assert {name: asked[name].load() for name in QUEUES} == {"fast": 2, "paint": 3, "bulk": 2}


class Fleet:
    """As many workers as there are replicas, whose jobs take their time, on a clock of its own."""

    def __init__(self, queue: StyleQueue, scaler: Autoscaler) -> None:
        self.scaler = scaler
        self.now_s = 0.0
        self._queue = queue
        self._waiting: list[tuple[Job, float]] = []
        self._running: dict[str, tuple[int, float]] = {}
        """Fence, and when it is done."""

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def is_done(self) -> bool:
        return not self._waiting and not self._running

    def submit(self, *last_s: float) -> None:
        jobs = [make_job() for _ in last_s]
        self._queue.submit_many(jobs)
        self._waiting += zip(jobs, last_s, strict=True)

    def work(self) -> None:
        """For one poll."""
        self.now_s += POLL_S
        ledger = self._queue._ledger
        for job_id, (fence, ends_s) in list(self._running.items()):
            if ends_s <= self.now_s:
                ledger.finish(job_id, fence=fence, data=FAILED)
                del self._running[job_id]
        while self._waiting and self.running < self.scaler.replicas:
            job, last_s = self._waiting.pop(0)
            fence = ledger.claim(job, task_id=job.id, worker=f"w{self.running}").record.fence
            self._running[job.id] = (fence, self.now_s + last_s)


def test_a_rush_and_its_end(asked: dict[str, Asked], queue: StyleQueue) -> None:
    """From none to none, by what a gateway answers at each poll: never fewer than paint, and none too early."""
    fleet = Fleet(queue, Autoscaler(asked["paint"].scaled))
    spec = asked["paint"].scaled["spec"]
    fleet.scaler.look(fleet.now_s, asked["paint"].load())
    assert fleet.scaler.replicas == 0
    fleet.submit(LAST_S)
    fleet.scaler.look(fleet.now_s, asked["paint"].load())
    assert fleet.scaler.replicas == 1, "at the first job"
    fleet.submit(*[LAST_S] * 13, 600.0)
    seen: list[int] = []
    while not fleet.is_done:
        fleet.work()
        before, load = fleet.scaler.replicas, asked["paint"].load()
        fleet.scaler.look(fleet.now_s, load)
        assert fleet.running <= load
        assert fleet.running <= fleet.scaler.replicas
        assert before - fleet.scaler.replicas <= 1
        seen.append(fleet.scaler.replicas)
    assert max(seen) == spec["maxReplicaCount"], "as many as may be, while there was work for more"
    assert 1 <= seen[-1] < max(seen), "fewer at the end, though the last job took long"
    idle_s = 0.0
    while fleet.scaler.replicas:
        fleet.work()
        idle_s += POLL_S
        fleet.scaler.look(fleet.now_s, asked["paint"].load())
        assert idle_s <= spec["cooldownPeriod"] + 2 * POLL_S
    assert idle_s >= spec["cooldownPeriod"]


@pytest.mark.parametrize(("where", "left"), [("load", 5), ("waiting", 0)])
def test_by_those_that_wait_alone_painting_ones_would_be_stopped(everything: Applied, where: str, left: int) -> None:
    """Why it is `load`: five jobs that wait, and then are painted for an hour."""
    scaler = Autoscaler(everything.of("ScaledObject")["stylequeue-worker-paint"])
    for poll in range(240):
        told = {"load": 5.0, "waiting": 5.0 if poll < 4 else 0.0}
        scaler.look(poll * POLL_S, told[where])
    assert scaler.replicas == left


@pytest.mark.parametrize("there", [0, 1, 7])
def test_while_the_gateway_is_away_they_stay(everything: Applied, there: int) -> None:
    for scaled in everything.of("ScaledObject").values():
        scaler = Autoscaler(scaled)
        for poll in range(20):
            scaler.look(poll * POLL_S, float(there))
        assert scaler.replicas == there
        least = scaled["spec"]["fallback"]["replicas"]
        seen = set()
        for poll in range(20, 300):
            scaler.look(poll * POLL_S, None)
            seen.add(scaler.replicas)
        assert seen == {there, max(there, least)}, "one comes where there was none: nobody knows whether it is wanted"
