"""Faults 51 and 53: settings that cannot be, whatever starts with them; and the rarer ways to reach a Redis."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import ExitCode, Unavailable
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.support.certificates import make_certificates
from tests.support.deployment import HURRIED, WAIT_S, Deployment
from tests.support.processes import needed, wait_for
from tests.support.proxy import Proxy
from tests.support.redis_server import redis_server

PASSWORD = "hunter2"
START_TIMEOUT_S = 60

PROGRAMS = {
    "worker": ["-m", "stylequeue_worker", "--queues", "paint"],
    "worker by Celery": ["-m", "celery", "--app", "stylequeue_worker.main", "worker"],
    "keeper": ["-m", "stylequeue.cli", "keeper"],
    "command": ["-m", "stylequeue.cli", "status", "somebody"],
    "doctor": ["-m", "stylequeue.cli", "doctor"],
    "models": ["-m", "stylequeue.cli", "models", "list"],
    "up": ["-m", "stylequeue.local", "up"],
    "demo": ["-m", "stylequeue.local", "demo"],
}
WRONG = {
    "STYLEQUEUE_REDIS_URL": f"redis://:{PASSWORD}@h/abc",
    "STYLEQUEUE_S3_ENDPOINT_URL": f"{PASSWORD}:8333",
    "STYLEQUEUE_READ_BUCKET": f'["{PASSWORD}"]',
    "STYLEQUEUE_WRITE_BUCKETS": PASSWORD,
    "STYLEQUEUE_S3_SECRET_KEY_FILE": f"/nowhere/{PASSWORD}",
}


@pytest.mark.parametrize("later", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("program", PROGRAMS)
def test_53_nothing_starts_with_settings_that_cannot_be(program: str, later: int) -> None:
    """Each kind of fault, in turn, so that each process meets some and each fault several."""
    faults = list(WRONG.items())
    name, value = faults[(list(PROGRAMS).index(program) + later) % len(faults)]
    done = subprocess.run(
        [sys.executable, *PROGRAMS[program]],
        env={name: value, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == ExitCode.BAD_INPUT, said
    assert name in said
    assert PASSWORD not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("setting", ["write_buckets", "work_bucket", "read_buckets"])
def test_53_a_worker_does_not_start_without_a_bucket(deployment: Deployment, setting: str) -> None:
    missing: Any = ("uploads", "results", "nowhere") if setting.endswith("s") else "nowhere"
    worker = deployment.start("lost", **{setting: missing})
    assert worker.wait(START_TIMEOUT_S) == ExitCode.BAD_INPUT
    assert "does not start" in worker.log_text()
    assert re.search(r"nowhere\b.*: there is no such bucket", worker.log_text())
    assert f"named by STYLEQUEUE_{setting.upper()}" in worker.log_text()


@pytest.mark.slow
def test_53_what_could_not_be_looked_at_at_the_start_is_looked_at_later(
    deployment: Deployment, store_proxy: Proxy
) -> None:
    store_proxy.refuse()
    worker = deployment.worker("early", store=store_proxy, write_buckets=("results", "nowhere"), s3_attempts=1)
    worker.wait_for_line("could not check that this deployment is safe", WAIT_S)
    assert worker.running
    store_proxy.heal()
    assert worker.wait(START_TIMEOUT_S) == ExitCode.BAD_INPUT
    assert "named by STYLEQUEUE_WRITE_BUCKETS" in worker.log_text()


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as servers:
        yield servers


def at(stack: Stack, url: str, **changes: object) -> Settings:
    """The stack's store, and another Redis."""
    return stack.settings.model_copy(update={"redis_url": SecretStr(url), **changes})


def one_is_done(deployment: Deployment) -> None:
    job = deployment.job(2)
    deployment.queue.submit(job)
    assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == 2


@pytest.mark.slow
def test_51_a_worker_by_tls_as_a_user_with_few_rights_in_a_shop_that_has_a_celery_of_its_own(
    stack: Stack, servers: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With just the rights that the guide names; Celery's own variables, which lead elsewhere, change nothing."""
    make_certificates(tmp_path)
    guide = (Path(__file__).parents[2] / "docs" / "operate.md").read_text()
    (line,) = [line for line in guide.splitlines() if line.startswith("ACL SETUSER stylequeue ")]
    rights = line.partition(">password ")[2]
    port = servers.enter_context(
        redis_server(
            f"tls-cert-file {tmp_path}/server.pem",
            f"tls-key-file {tmp_path}/server.key",
            f"tls-ca-cert-file {tmp_path}/ca.pem",
            "tls-auth-clients no",
            f"user painter on >{PASSWORD} {rights}",
            "user default off",
            program=needed("redis-server"),
            tls=True,
        )
    )
    for name in ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND"):
        monkeypatch.setenv(f"CELERY_{name}", f"redis://{HOST}:1/0")
    settings = at(stack, f"rediss://painter:{PASSWORD}@localhost:{port}/5", redis_ca_file=tmp_path / "ca.pem")
    with Deployment(stack, settings, **HURRIED) as deployment:
        worker, keeper = deployment.worker(), deployment.keeper()
        one_is_done(deployment)
        for process in (worker, keeper):
            assert process.running
            assert "forbids" not in process.log_text()
            assert "NOPERM" not in process.log_text()
            assert PASSWORD not in process.log_text()


def is_back(deployment: Deployment) -> bool:
    try:
        return bool(deployment.queue.workers())
    except Unavailable:
        return False


@pytest.mark.slow
def test_51_sentinels_and_a_failover(stack: Stack, servers: ExitStack) -> None:
    """Ledger, messages and results go where the sentinels say, and on to the new primary once the old one is gone."""
    own = (f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", "repl-diskless-sync-delay 0")
    first = ExitStack()
    servers.callback(first.close)
    primary = first.enter_context(redis_server(*own))
    replica = servers.enter_context(redis_server(*own, f"replicaof {HOST} {primary}"))
    watching = (
        f"sentinel monitor pictures {HOST} {primary} 2",
        f"sentinel auth-pass pictures {PASSWORD}",
        "sentinel down-after-milliseconds pictures 1000",
        "sentinel failover-timeout pictures 5000",
        "requirepass watchword",
        "sentinel sentinel-pass watchword",
    )
    ports = [servers.enter_context(redis_server(*watching)) for _ in range(3)]
    settings = at(
        stack,
        f"sentinel://:{PASSWORD}@{','.join(f'{HOST}:{port}' for port in ports)}/3",
        redis_sentinel_master="pictures",
        redis_sentinel_password=SecretStr("watchword"),
        redis_timeout_s=2,
    )
    with Redis(HOST, replica, password=PASSWORD) as client, Deployment(stack, settings, **HURRIED) as deployment:
        wait_for(lambda: client.info()["master_link_status"] == "up", WAIT_S, "the replica to follow")
        worker, _ = deployment.worker(), deployment.keeper()
        one_is_done(deployment)
        first.close()
        wait_for(lambda: client.info()["role"] == "master", WAIT_S, "the sentinels to make the replica the primary")
        wait_for(lambda: is_back(deployment), WAIT_S, "the worker to be back")
        one_is_done(deployment)
        assert worker.running
        assert PASSWORD not in worker.log_text()
    nobody = settings.model_copy(update={"redis_sentinel_master": "nobody"})
    with StyleQueue(nobody) as queue, pytest.raises(Unavailable, match="no sentinel answers and knows 'nobody'"):
        queue.status("somebody")
