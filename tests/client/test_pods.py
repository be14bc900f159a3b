"""What Kubernetes is told of workers' pods, before an API server that is as strict as its own."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stylequeue import pods
from stylequeue.cli import serve
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import ExitCode, InvalidSettings
from stylequeue.keeper import Keeper
from stylequeue.ledger import Ledger
from stylequeue.ledger.names import DELETION_COSTS_TURN_KEY
from stylequeue.ledger.registry import LiveWorker
from stylequeue.pods import ANNOTATION, DeletionCosts, Kubernetes, Refused, costs_of, is_news
from stylequeue.settings import Settings
from tests.ledger.test_registry import live_worker
from tests.support.certificates import make_certificates
from tests.support.jobs import make_job
from tests.support.processes import wait_for
from tests.support.receiver import Received, Receiver, Reply
from tests.support.roles import as_role

NOW = datetime(2026, 11, 1, tzinfo=UTC)
TOKEN = "a-token-of-the-account"
WAIT_S = 30


def in_pod(pod: str, busy_s: float | None = None, *, now: datetime = NOW, name: str = "") -> LiveWorker:
    has = {} if busy_s is None else {"job": "j", "job_since": now - timedelta(seconds=busy_s)}
    return live_worker(name or f"one@{pod}", pod=pod, **has)


class Api:
    """Has pods with their annotations, and asks for everything that the real one asks for."""

    def __init__(self, directory: Path) -> None:
        make_certificates(directory)
        (directory / "ca.pem").rename(directory / "ca.crt")
        (directory / "token").write_text(f"{TOKEN}\n")
        (directory / "namespace").write_text("painters")
        self.account = directory
        self.costs: dict[str, str | None] = {}
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(directory / "server.pem", directory / "server.key")
        self.receiver = Receiver(self._answer, tls=tls)
        self.status = 200

    def _answer(self, request: Received) -> Reply:
        *_, namespace, kind, pod = request.path.split("/")
        if request.headers["authorization"] != f"Bearer {TOKEN}":
            return Reply(401)
        if request.headers["content-type"] != "application/merge-patch+json":
            return Reply(415)
        if (namespace, kind) != ("painters", "pods") or pod not in self.costs:
            return Reply(404)
        if self.status == 200:
            assert request.path == f"/api/v1/namespaces/painters/pods/{pod}"
            self.costs[pod] = json.loads(request.body)["metadata"]["annotations"][ANNOTATION]
        return Reply(self.status)

    def kubernetes(self, **environment: str) -> Kubernetes:
        there = {"KUBERNETES_SERVICE_HOST": "localhost", "KUBERNETES_SERVICE_PORT": str(self.receiver.port)}
        return Kubernetes(self.account, {**there, **environment})


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("account")


@pytest.fixture(scope="module")
def module_api(account: Path) -> Iterator[Api]:
    api = Api(account)
    with api.receiver:
        yield api


@pytest.fixture
def api(module_api: Api) -> Api:
    module_api.costs, module_api.status = {}, 200
    module_api.receiver.received.clear()
    return module_api


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = Ledger(settings)
    yield ledger
    ledger.close()


def turn(ledger: Ledger, costs: DeletionCosts) -> None:
    """The next one, as if its time had come."""
    ledger.redis.delete(DELETION_COSTS_TURN_KEY)
    costs.round()


def test_idle_pods_cost_nothing_and_busy_ones_their_seconds(settings: Settings, ledger: Ledger, api: Api) -> None:
    api.costs = dict.fromkeys(("idle", "young", "old"))
    now = datetime.now(UTC)
    for worker in in_pod("idle"), in_pod("young", 3, now=now), in_pod("old", 4000, now=now), live_worker("none@vm"):
        ledger.registry.register(worker)
    costs = DeletionCosts(settings, api.kubernetes())
    costs.round()
    told = {pod: int(cost or -1) for pod, cost in api.costs.items()}
    assert api.costs["idle"] == "0"
    assert 3 <= told["young"] < 3 + WAIT_S
    assert 4000 <= told["old"] < 4000 + WAIT_S
    ledger.registry.register(in_pod("old"))
    turn(ledger, costs)
    assert api.costs["old"] == "0", "its job is done"


def test_each_pod_is_told_once_a_turn_by_however_many_keepers(settings: Settings, ledger: Ledger, api: Api) -> None:
    api.costs = {"idle": None, "busy": None}
    ledger.registry.register(in_pod("idle"))
    ledger.registry.register(in_pod("busy", 1000, now=datetime.now(UTC)))
    keepers = [DeletionCosts(settings, api.kubernetes()) for _ in range(3)]
    for keeper in keepers:
        keeper.round()
    assert len(api.receiver.received) == 2
    assert 0 < ledger.redis.pttl(DELETION_COSTS_TURN_KEY) <= pods.TURN_S * 1000
    for keeper in keepers:
        turn(ledger, keeper)
    assert len(api.receiver.received) == 2, "nothing has changed, and another keeper knows what the first one told"


def test_the_most_at_stake_in_a_pod_counts() -> None:
    workers = [in_pod("both", 70, name="a"), in_pod("both", name="b"), in_pod("both", 7, name="c"), live_worker("no")]
    assert costs_of(workers, NOW) == {"both": 70}
    assert costs_of([in_pod("fresh", -1)], NOW) == {"fresh": 1}, "clocks differ; busy is more than idle"
    older = live_worker("older", pod="p", job="j")
    assert costs_of([older], NOW) == {"p": 1}
    assert costs_of([in_pod("p", 0)], NOW + timedelta(days=36500)) == {"p": 2**31 - 1}, "it is read as 32 bits"


@pytest.mark.parametrize(
    ("cost", "told", "expected"),
    [(0, None, True), (0, 0, False), (5, 0, True), (0, 5, True), (9, 5, False), (10, 5, True), (4, 5, True)],
)
def test_what_is_worth_telling(cost: int, told: int | None, expected: bool) -> None:
    assert is_news(cost, told) == expected


def test_a_pod_that_is_gone_is_no_trouble_for_the_others(settings: Settings, ledger: Ledger, api: Api) -> None:
    api.costs = {"there": None}
    for pod in "gone", "there":
        ledger.registry.register(in_pod(pod))
    DeletionCosts(settings, api.kubernetes()).round()
    assert api.costs == {"there": "0"}


@pytest.mark.parametrize("status", [401, 403, 500, 307])
def test_what_kubernetes_refuses_is_told_once_and_tried_again(
    settings: Settings,
    ledger: Ledger,
    api: Api,
    status: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pods, "TURN_S", 0.01)
    api.costs, api.status = {"idle": None}, status
    ledger.registry.register(in_pod("idle"))
    stop = threading.Event()
    running = threading.Thread(target=DeletionCosts(settings, api.kubernetes()).run, args=(stop,))
    with caplog.at_level(logging.WARNING, pods.__name__):
        running.start()
        wait_for(lambda: len(api.receiver.received) > 2, WAIT_S, "several tries")
        api.status = 200
        wait_for(lambda: api.costs["idle"] == "0", WAIT_S, "it to be told")
        stop.set()
        running.join()
    [said] = caplog.messages
    assert f"it answers {status}" in said
    assert TOKEN not in caplog.text


def test_housekeeping_goes_on_while_the_api_is_away(
    settings: Settings, ledger: Ledger, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """A job whose worker was lost is put back, and the costs are told of when the API is there again."""
    ledger.registry.register(in_pod("idle"))
    away = DeletionCosts(settings, api.kubernetes(KUBERNETES_SERVICE_PORT="1"))
    stop = threading.Event()
    running = threading.Thread(target=away.run, args=(stop,))
    with caplog.at_level(logging.WARNING, pods.__name__):
        running.start()
        wait_for(lambda: bool(caplog.messages), WAIT_S, "it to be noticed")
    with StyleQueue(settings) as queue:
        job = make_job()
        queue.submit(job)
        hurried = settings.model_copy(update={"lease_s": 0.01})
        Ledger(hurried).claim(job, task_id=job.id, worker="lost@nowhere")
        keeper = Keeper(as_role(settings, "keeper"))

        def is_put_back() -> bool:
            keeper.round()
            return queue.status(job.id).state == "queued"

        wait_for(is_put_back, WAIT_S, "the job to be put back")
    stop.set()
    running.join()
    assert "does not answer" in caplog.messages[0]
    api.costs = {"idle": None}
    turn(ledger, DeletionCosts(settings, api.kubernetes()))
    assert api.costs == {"idle": "0"}


def test_whom_it_does_not_know_is_told_nothing(settings: Settings, ledger: Ledger, api: Api, tmp_path: Path) -> None:
    """A server whose certificate another authority signed gets no token."""
    make_certificates(tmp_path)
    (tmp_path / "ca.pem").rename(tmp_path / "ca.crt")
    for name in "token", "namespace":
        (tmp_path / name).write_bytes((api.account / name).read_bytes())
    there = {"KUBERNETES_SERVICE_HOST": "localhost", "KUBERNETES_SERVICE_PORT": str(api.receiver.port)}
    ledger.registry.register(in_pod("idle"))
    with pytest.raises(Refused, match="certificate"):
        DeletionCosts(settings, Kubernetes(tmp_path, there)).round()
    assert not api.receiver.received


@pytest.mark.parametrize("lacks", ["token", "namespace", "KUBERNETES_SERVICE_HOST"])
def test_outside_of_a_cluster_it_is_refused(tmp_path: Path, lacks: str) -> None:
    environment: dict[str, Any] = {"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": "443"}
    for name in {"token", "namespace"} - {lacks}:
        (tmp_path / name).write_text("x")
    environment.pop(lacks, None)
    with pytest.raises(InvalidSettings, match="no pod with a service account") as caught:
        Kubernetes(tmp_path, environment)
    assert "docker/kubernetes" in caught.value.hint


def test_a_keeper_that_cannot_tell_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STYLEQUEUE_POD_DELETION_COST", "true")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SystemExit) as caught:
        serve.keeper()
    assert caught.value.code == ExitCode.BAD_INPUT
    assert "STYLEQUEUE_POD_DELETION_COST is on" in capsys.readouterr().err
