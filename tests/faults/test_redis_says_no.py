"""Fault 51: Redis answers no instead of going away. Workers and keepers live, say which, go on when it is mended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from redis import Redis, ResponseError

from stylequeue.contract.job import TASK_NAME, Job
from stylequeue.local import Process
from stylequeue.local.server import HOST, free_ports
from tests.faults.conftest import Own
from tests.support.deployment import WAIT_S, Deployment
from tests.support.processes import pause, resume, wait_for
from tests.support.proxy import Proxy

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {
    "lease_s": 60,
    "heartbeat_s": 0.5,
    "keeper_interval_s": 0.5,
    "retry_delay_s": 0.1,
    "job_time_limit_s": 12,
    "visibility_timeout_s": 24,
}
STEPS = 300
"""Takes 3 s."""
LASTS_S = 4


@pytest.fixture
def own_settings() -> dict[str, Any]:
    return SETTINGS


@contextmanager
def readonly(own: Own) -> Iterator[None]:
    """As for the seconds after a failover: a replica, here of nobody."""
    own.redis.execute_command("REPLICAOF", HOST, free_ports(1)[0])
    yield
    own.redis.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def masterdown(own: Own) -> Iterator[None]:
    own.redis.config_set("replica-serve-stale-data", "no")
    with readonly(own):
        yield


@contextmanager
def misconf(own: Own) -> Iterator[None]:
    """It cannot write its dump, as on a full disk."""
    in_the_way = own.valkey.directory / "dump.rdb"
    in_the_way.unlink(missing_ok=True)
    in_the_way.mkdir()
    own.redis.config_set("save", "3600 1000000")
    _save(own, "err")
    yield
    in_the_way.rmdir()
    _save(own, "ok")


def _save(own: Own, status: str) -> None:
    def is_saved() -> bool:
        own.redis.bgsave()
        time.sleep(0.2)
        return bool(own.redis.info("persistence")["rdb_last_bgsave_status"] == status)

    wait_for(is_saved, WAIT_S, f"a dump that ends with {status}")


@contextmanager
def oom(own: Own) -> Iterator[None]:
    own.redis.config_set("maxmemory", 1)
    yield
    own.redis.config_set("maxmemory", 0)


@contextmanager
def noperm(own: Own) -> Iterator[None]:
    forbidden = ("brpop", "evalsha", "zadd")
    own.redis.execute_command("ACL", "SETUSER", "default", *(f"-{command}" for command in forbidden))
    yield
    own.redis.execute_command("ACL", "SETUSER", "default", *(f"+{command}" for command in forbidden))


@contextmanager
def busy(own: Own) -> Iterator[None]:
    """A script that does not end."""
    own.redis.config_set("busy-reply-threshold", 50)

    def loop() -> None:
        with Redis.from_url(own.valkey.url(), socket_timeout=WAIT_S) as client, pytest.raises(ResponseError):
            client.eval("while true do end", 0)

    looping = threading.Thread(target=loop)
    looping.start()
    time.sleep(0.3)
    yield
    with Redis.from_url(own.valkey.url()) as client:
        client.script_kill()
    looping.join()


FAULTS: dict[str, tuple[Callable[[Own], Any], str, set[str]]] = {
    "READONLY": (readonly, "takes no writes: it is a replica", {"fake"}),
    "MASTERDOWN": (masterdown, "is a replica that has lost its primary", {"fake", "keeper"}),
    "MISCONF": (misconf, "takes no writes: it could not save to its disk", {"fake"}),
    "OOM": (oom, "is full", set()),
    "NOPERM": (noperm, "forbids this user a command", {"fake", "keeper"}),
    "BUSY": (busy, "is held up by a script", {"fake", "keeper"}),
}
"""How each is brought about, what is said of it, and who notices although there is nothing to do."""


def works(deployment: Deployment, steps: int = 3) -> Job:
    job = deployment.job(steps)
    deployment.queue.submit(job)
    assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == steps
    deployment.until_told(job)
    return job


def said(process: Process, what: str) -> None:
    wait_for(lambda: what in process.log_text(), WAIT_S, f"{process.name} to say {what!r}")


@pytest.mark.parametrize("name", FAULTS)
def test_51_idle_and_busy(own: Own, name: str) -> None:
    fault, what, who = FAULTS[name]
    worker, keeper = own.deployment.worker(), own.deployment.keeper()
    before = works(own.deployment)
    with fault(own):
        for process in (worker, keeper):
            if process.name in who:
                said(process, what)
        time.sleep(LASTS_S)
    after = works(own.deployment, 4)

    job = own.deployment.job(STEPS)
    own.deployment.queue.submit(job)
    own.deployment.until_painting(job)
    with fault(own):
        time.sleep(LASTS_S)
    assert own.deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == STEPS
    assert own.deployment.queue.status(job.id).attempt == 1
    last = works(own.deployment, 5)
    assert worker.running
    assert keeper.running
    assert "Traceback" not in keeper.log_text()
    own.deployment.check(before, after, job, last)


def test_51_loading(own: Own) -> None:
    """After a restart with much to read."""
    loading = b"-LOADING Redis is loading the dataset in memory\r\n"
    with Proxy(HOST, own.valkey.port) as proxy:
        worker = own.deployment.worker(redis=proxy)
        for _ in range(3):
            proxy.answer_once(b"BRPOP", loading)
            proxy.answer_once(own.deployment.move("claim"), loading)
        job = works(own.deployment)
        assert "is still loading its data" in worker.log_text()
        assert worker.running
        own.deployment.check(job)


@pytest.mark.parametrize("name", ["OOM", "NOPERM"])
def test_51_a_message_that_is_all_there_is_of_its_job(own: Own, name: str) -> None:
    """Redis gives it out and has no note taken of that: it is not forgotten."""
    fault, what, _ = FAULTS[name]
    worker = own.deployment.worker()
    url = own.valkey.url()
    kwargs = {"job": own.deployment.job(3).model_dump(mode="json", exclude_none=True, exclude={"id"})}
    if name == "NOPERM":
        fault = _noperm_to_note
    pause(worker.pid)
    with Celery("somebody", broker=url, backend=url, set_as_current=False) as sender:
        result = sender.send_task(TASK_NAME, kwargs=kwargs, queue="paint")
        with fault(own):
            resume(worker.pid)
            said(worker, what)
        assert result.get(timeout=WAIT_S)["report"]["steps"] == 3
    assert worker.running


@contextmanager
def _noperm_to_note(own: Own) -> Iterator[None]:
    own.redis.execute_command("ACL", "SETUSER", "default", "-zadd", "-rpush")
    yield
    own.redis.execute_command("ACL", "SETUSER", "default", "+zadd", "+rpush")
