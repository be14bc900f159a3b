"""Redis's users: each role has the rights that docs/operations.md names, and does with them what it has to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import NoPermissionError

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, Unavailable
from stylequeue.keeper import Keeper
from stylequeue.ledger import Ledger, rights
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.support.door import Door, call
from tests.support.jobs import make_job
from tests.support.redis_server import redis_server

ROOT = Path(__file__).parents[2]
USERS: dict[str, str] = dict(
    re.findall(r"^ACL SETUSER (\w+) (.+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
)
ROLES = ("producer", "worker", "keeper", "watcher")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with redis_server() as port, Redis(host=HOST, port=port) as redis:
        ask: Any = redis.execute_command
        for name in ROLES:
            ask("ACL", "SETUSER", name, *USERS[name].split())
        yield port


def settings_of(port: int, role: str) -> Settings:
    return Settings(redis_url=SecretStr(f"redis://{role}:password@{HOST}:{port}/0"), redis_timeout_s=2)


def redis_of(port: int, role: str) -> Any:
    return Redis(host=HOST, port=port, username=role, password="password", decode_responses=True)


def test_each_does_its_part(port: int) -> None:
    job, unwanted = make_job(), make_job()
    with StyleQueue(settings_of(port, "producer")) as producer, StyleQueue(settings_of(port, "watcher")) as watcher:
        producer.submit_many([job, unwanted])
        assert producer.cancel(unwanted.id) == "cancelled"
        producer.retry(unwanted.id)
        door = Door(settings_of(port, "worker"))
        taken: list[str] = []
        with door.app.connection_for_read() as connection:

            def take(delivered: Any) -> None:
                taken.append(delivered.headers["id"])
                delivered.ack()

            consumer: Any = door.app.amqp.TaskConsumer(connection.default_channel, on_message=take)
            with consumer:
                while len(taken) < 3:
                    connection.drain_events(timeout=5)
        assert {*taken} == {job.id, unwanted.id}
        door.take(call(job, task_id=job.id, stylequeue_recorded=True))
        assert producer.status(job.id).state == watcher.status(job.id).state == "succeeded"
        assert [event.kind for event in watcher.watch(job.id)][-1] == "succeeded"
        assert watcher.jobs()
        keeper = Keeper(settings_of(port, "keeper"))
        keeper.reconcile()
        keeper.reconcile()
        assert redis_of(port, "worker").llen("paint") == 1, "the message that somebody took is missed"
        producer.cancel(unwanted.id)
        door.close()


def test_a_right_less_is_told(port: int) -> None:
    with StyleQueue(settings_of(port, "watcher")) as watcher:
        forbidden: list[Callable[[], object]] = [lambda: watcher.submit(make_job()), lambda: watcher.cancel("any")]
        for ask in forbidden:
            with pytest.raises(Unavailable) as caught:
                ask()
            assert caught.value.code == Code.BROKER_REFUSED
            assert "forbids" in caught.value.message


@pytest.mark.parametrize(
    ("role", "command"),
    [
        ("producer", ("RPOP", "paint")),
        ("producer", ("LRANGE", "paint", 0, -1)),
        ("producer", ("HGETALL", "unacked")),
        ("producer", ("PUBLISH", "/0.celeryev/worker.x", "")),
        ("producer", ("FLUSHDB",)),
        ("keeper", ("HDEL", "unacked", "x")),
        ("worker", ("GET", "somebody-elses")),
        ("worker", ("CONFIG", "SET", "maxmemory", 1)),
        ("watcher", ("SET", "stylequeue:probe", 1)),
        ("watcher", ("GET", "celery-task-meta-x")),
        ("watcher", ("EVAL", "return 1", 0)),
    ],
)
def test_no_role_does_anothers(port: int, role: str, command: tuple[Any, ...]) -> None:
    with redis_of(port, role) as redis, pytest.raises(NoPermissionError):
        redis.execute_command(*command)


def test_all_that_scripts_call_is_tried(port: int) -> None:
    """By the doctor: a user that lacks one of them is told so, whichever it is."""
    called = set()
    for path in (ROOT / "producer" / "stylequeue" / "ledger").glob("*.lua"):
        called |= set(re.findall(r"redis\.p?call\('(\w+)'", path.read_text()))
    tried = {call.split()[0] for call in rights.CALLS} | {"SET"}
    assert called <= tried
    with Redis(host=HOST, port=port) as redis:
        ask: Any = redis.execute_command
        for name in sorted(tried):
            ask("ACL", "SETUSER", "lacking", *USERS["producer"].split(), f"-{name.lower()}")
            ledger = Ledger(settings_of(port, "lacking"))
            with pytest.raises(Unavailable) as caught:
                ledger.try_out()
            assert caught.value.code == Code.BROKER_REFUSED, name
            ledger.close()
    Ledger(settings_of(port, "producer")).try_out()
