"""Redis's users: each role has the rights that docker/valkey/users.conf gives it, and does with them what it has to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import NoPermissionError

from stylequeue import asking_events, doctor
from stylequeue.aclient import AsyncStyleQueue
from stylequeue.broker.lists import CELERYS_DEFAULT_QUEUE
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, JobCancelled, Unavailable
from stylequeue.contract.job import TASK_NAME
from stylequeue.delivery.hooks import Hooks
from stylequeue.keeper import Keeper
from stylequeue.ledger import Ledger, names, rights
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.support.by_hand import refuse
from tests.support.deliveries import Operator, delivering
from tests.support.deployment import Deployment
from tests.support.door import Door, call
from tests.support.jobs import make_job
from tests.support.listening import keys, listening, operated, until
from tests.support.processes import wait_for
from tests.support.receiver import Receiver
from tests.support.redis_server import redis_server
from tests.support.roles import RIGHTS, make_users
from tests.uploads.shapes import SHAPES

ROOT = Path(__file__).parents[2]
PASSWORD = "password"


@pytest.fixture(scope="module")
def server_port() -> Iterator[int]:
    with redis_server("appendonly yes", "maxmemory-policy noeviction") as port, Redis(host=HOST, port=port) as redis:
        make_users(redis, PASSWORD)
        yield port


@pytest.fixture
def port(server_port: int) -> int:
    """Of a server that is empty."""
    with Redis(host=HOST, port=server_port) as redis:
        redis.flushdb()
    return server_port


def settings_of(port: int, role: str, others: Settings | None = None) -> Settings:
    own = {"redis_url": SecretStr(f"redis://{role}:{PASSWORD}@{HOST}:{port}/0"), "redis_timeout_s": 2}
    return Settings(**{**(others.model_dump() if others else {}), **own})


def redis_of(port: int, role: str) -> Any:
    return Redis(host=HOST, port=port, username=role, password=PASSWORD, decode_responses=True)


def test_each_does_its_part(port: int) -> None:
    job, unwanted = make_job(), make_job()
    with StyleQueue(settings_of(port, "producer")) as producer, StyleQueue(settings_of(port, "monitor")) as monitor:
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
        assert producer.status(job.id).state == monitor.status(job.id).state == "succeeded"
        assert [event.kind for event in monitor.watch(job.id)][-1] == "succeeded"
        assert [status.standing is not None for status in monitor.jobs(state="queued")] == [True]
        assert monitor.load("paint").waiting == 1
        assert monitor.census().memory is not None
        keeper = Keeper(settings_of(port, "keeper"))
        keeper.reconcile()
        keeper.reconcile()
        assert redis_of(port, "worker").llen("paint") == 1, "the message that somebody took is missed"
        producer.cancel(unwanted.id)
        door.close()


def test_a_keepers_round(port: int, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Each thing that it does: a lease that ran out, a deadline, a lost message, an end that is to be told."""
    left, late, lost, ended = jobs = [make_job() for _ in range(4)]
    redis: Any = Redis(host=HOST, port=port)
    with closing(redis), StyleQueue(settings_of(port, "producer", settings)) as producer:
        producer.submit_many(jobs)
        ledger = Ledger(settings_of(port, "worker", settings))
        ledger.claim(left, task_id=left.id, worker="gone", recorded=True)
        redis.hset(names.record_key(left.id), "lease_until_ms", 1)
        redis.hset(names.record_key(late.id), "deadline_ms", 1)
        redis.zadd(names.LEASES_KEY, {left.id: 1})
        redis.zadd(names.DEADLINES_KEY, {late.id: 1})
        redis.delete("paint")
        producer.cancel(ended.id)
        redis.zadd(names.UNTOLD_KEY, {ended.id: 1})
        keeper = Keeper(settings_of(port, "keeper", settings))
        keeper.round()
        keeper.reconcile()
        keeper.reconcile()
        assert producer.status(left.id).state == "queued"
        assert producer.status(late.id).state == "expired"
        assert ended.id.encode() not in redis.zrange(names.UNTOLD_KEY, 0, -1)
        assert lost.id.encode() in b"".join(redis.lrange("paint", 0, -1))
        ledger.close()
    assert "left for the next round" not in caplog.text


def test_a_keeper_delivers_and_a_producer_takes_events(port: int, settings: Settings, tmp_path: Path) -> None:
    with Receiver() as receiver:
        own = Operator(settings_of(port, "keeper", settings), tmp_path, crm=receiver.endpoint())
        producers = settings_of(port, "producer", settings).model_copy(update={"operator_file": own.path})
        with StyleQueue(producers) as producer, delivering(own.settings):
            job = make_job()
            producer.submit(job, notify=["crm"])
            producer.cancel(job.id)
            wait_for(lambda: receiver.received, 60, "the event")
            told = producer.events(group="crm", consumer="one", follow=False)
            assert [event.kind for _, event in told] == ["accepted", "cancelled"]
            hooks = Hooks(producers)
            assert hooks.replay(receiver.ids()[0]) == ["crm"]
            hooks.close()


def test_a_doctors_look(port: int, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    own = settings_of(port, "operator", settings)
    with Redis(host=HOST, port=port) as redis:
        redis.lpush(CELERYS_DEFAULT_QUEUE, "astray")
        findings = {finding.what: finding for finding in doctor.examine(lambda: own)}
    assert f"list {CELERYS_DEFAULT_QUEUE}" in findings, "it looked to the end"
    assert [what for what, finding in findings.items() if finding.state == "bad"] == ["workers"], "there is none"
    assert not [what for what, finding in findings.items() if "forbids" in finding.found]


@pytest.mark.parametrize("role", ["worker", "gateway"])
def test_a_doctor_of_another_role_looks_to_the_end(
    port: int, settings: Settings, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    own = settings_of(port, role, settings)
    findings = {finding.what: finding for finding in doctor.examine(lambda: own)}
    assert findings[f"list {CELERYS_DEFAULT_QUEUE}"].state == "warning"
    assert "upload cors" in findings
    assert [what for what, finding in findings.items() if finding.state == "bad"] == ["workers"], "there is none"


def test_who_sends_by_celery_alone_has_a_result(port: int) -> None:
    url = settings_of(port, "sender").redis_url.get_secret_value()
    with Celery("somebody", broker=url, backend=url, set_as_current=False) as app:
        job = make_job()
        sent = app.send_task(TASK_NAME, kwargs={"job": job.model_dump(mode="json", exclude_none=True)}, queue="paint")
        door = Door(settings_of(port, "worker"))
        door.take(redis_of(port, "worker").rpop("paint").encode())
        assert sent.get(timeout=5)["output"]["key"].startswith(job.id)
        door.close()


@pytest.mark.parametrize("role", ["producer", "operator"])
def test_what_was_refused_is_sent_again(port: int, role: str) -> None:
    """By Celery, which would like to count what lies in the queue, and may not."""
    with StyleQueue(settings_of(port, "worker")) as worker, StyleQueue(settings_of(port, role)) as queue:
        refuse(worker, "sent-by-celery")
        queue.replay("sent-by-celery")
        assert redis_of(port, "worker").llen("paint") == 1


def test_a_listener_fetches_from_the_list_that_it_was_given(
    port: int, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And from no other."""
    lists = '[source.ours]\nredis_list = "minio-events"\n[source.theirs]\nredis_list = "theirs"\n'
    with Redis(host=HOST, port=port) as redis:
        ask: Any = redis.execute_command
        ask("ACL", "SETUSER", "fetching", "on", f">{PASSWORD}", *RIGHTS["listener"].split(), "~minio-events")
        for name in ("minio-events", "theirs"):
            redis.rpush(name, SHAPES["redis list"].of("in/a.jpg"))
        with listening(operated(settings_of(port, "fetching", settings), tmp_path, lists)):
            until(lambda: not redis.exists("minio-events"), "it is empty")
            until(lambda: re.search(r"source=theirs breaks off.*forbids", caplog.text), "a word of the other")
        assert redis.llen("theirs") == 1
        with StyleQueue(settings_of(port, "monitor")) as monitor:
            assert keys(monitor) == ["in/a.jpg"]


def test_a_backup_is_made_and_memory_raised(port: int) -> None:
    with redis_of(port, "backup") as redis:
        redis.bgsave()
        wait_for(lambda: not redis.info("persistence")["rdb_bgsave_in_progress"], 60, "the snapshot")
        redis.config_set("auto-aof-rewrite-percentage", 100)
        redis.config_set("maxmemory", "4gb")
        assert redis.config_get("maxmemory") == {"maxmemory": str(4 * 2**30)}


@pytest.mark.slow
def test_a_worker_paints(port: int, stack: Stack, settings: Settings) -> None:
    """A whole one, with all that Celery and kombu ask for."""
    with Deployment(stack, settings_of(port, "worker", settings)) as workers:
        worker = workers.worker()
        with StyleQueue(settings_of(port, "producer", settings)) as producer:
            job = workers.job(steps=2)
            producer.submit(job)
            assert producer.wait(job.id, timeout_s=60).report.steps == 2
        with Redis(host=HOST, port=port) as redis:
            redis.hset("unacked", "tag", "spoilt")
            redis.zadd("unacked_index", {"tag": 1})
            wait_for(lambda: not redis.hexists("unacked", "tag"), 60, "it to be put back")
            wait_for(lambda: redis.zcard(names.DEAD_KEY), 60, "it to be buried")
        assert "forbids" not in worker.log_text()
        assert "NOPERM" not in worker.log_text()


def test_a_right_less_is_told(port: int) -> None:
    with StyleQueue(settings_of(port, "producer")) as producer, StyleQueue(settings_of(port, "monitor")) as monitor:
        job_id = producer.submit(make_job())
        forbidden: list[Callable[[], object]] = [
            lambda: monitor.submit(make_job()),
            lambda: monitor.cancel(job_id),
            lambda: monitor.pause("paint"),
        ]
        for ask in forbidden:
            with pytest.raises(Unavailable) as caught:
                ask()
            assert caught.value.code == Code.BROKER_REFUSED
            assert "forbids" in caught.value.message
        assert producer.status(job_id).state == "queued"


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
        ("listener", ("LRANGE", "minio-events", 0, -1)),
        ("monitor", ("SET", "stylequeue:probe", 1)),
        ("monitor", ("GET", "celery-task-meta-x")),
        ("monitor", ("EVAL", "return 1", 0)),
        ("sender", ("HGETALL", "stylequeue:job:x")),
        ("sender", ("LRANGE", "paint", 0, -1)),
        ("sender", ("RPOP", "paint")),
        ("sender", ("PUBLISH", "/0.celery.pidbox", "")),
        ("sender", ("SET", "celery-task-meta-x", 1)),
        ("sender", ("EVAL", "return 1", 0)),
        ("backup", ("LRANGE", "paint", 0, -1)),
        ("backup", ("PUBLISH", "stylequeue:lifecycle:0", "x")),
        ("backup", ("SHUTDOWN",)),
        ("backup", ("ACL", "SETUSER", "backup", "+@all")),
    ],
)
def test_no_role_does_anothers(port: int, role: str, command: tuple[Any, ...]) -> None:
    with redis_of(port, role) as redis, pytest.raises(NoPermissionError):
        redis.execute_command(*command)


def test_who_has_no_channels_moves_jobs_and_hears_of_them_later(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user does that was made before there were any."""
    monkeypatch.setattr(asking_events, "_LOOK_S", 0.2)
    with Redis(host=HOST, port=port) as redis:
        ask: Any = redis.execute_command
        ask("ACL", "SETUSER", "old", "on", f">{PASSWORD}", *RIGHTS["producer"].replace(" &stylequeue:*", "").split())

    async def wait() -> None:
        async with AsyncStyleQueue(settings_of(port, "old")) as queue:
            job_id = await queue.submit(make_job())
            waiting = asyncio.create_task(queue.wait(job_id))
            await asyncio.sleep(0)
            assert await queue.cancel(job_id) == "cancelled"
            with pytest.raises(JobCancelled):
                await waiting

    asyncio.run(wait())


@pytest.mark.parametrize("forbidden", ["copy", "rename"])
def test_who_may_not_copy_moves_jobs_all_the_same(port: int, forbidden: str) -> None:
    user = f"without-{forbidden}"
    with Redis(host=HOST, port=port) as redis:
        ask: Any = redis.execute_command
        ask("ACL", "SETUSER", user, "on", f">{PASSWORD}", *RIGHTS["producer"].split(), f"-{forbidden}")
        with StyleQueue(settings_of(port, user)) as queue:
            job_id = queue.submit(make_job())
            assert queue.cancel(job_id) == "cancelled"
            assert len([*queue.watch(job_id)]) == 2
        assert not redis.exists(names.SLIM_KEY)


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
            ask("ACL", "SETUSER", "lacking", "on", f">{PASSWORD}", *RIGHTS["producer"].split(), f"-{name.lower()}")
            ledger = Ledger(settings_of(port, "lacking"))
            with pytest.raises(Unavailable) as caught:
                ledger.try_out()
            assert caught.value.code == Code.BROKER_REFUSED, name
            ledger.close()
    Ledger(settings_of(port, "producer")).try_out()
