"""Messages that would end, stall or mislead a worker that trusts what it reads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis

from stylequeue.contract.errors import Code
from stylequeue.contract.job import TASK_NAME
from stylequeue.contract.status import DeadLetter
from stylequeue.ledger import Ledger
from stylequeue.local import Process, Stack
from stylequeue.settings import Settings
from stylequeue_worker.process.inspection import MAX_BURIED_BYTES
from tests.support.deployment import Deployment
from tests.support.fake_worker import start_fake_worker
from tests.support.messages import BAD_MESSAGES, NOTHING_TASK, REFUSED_TASKS, encoded, message
from tests.support.processes import REQUIRED, child_of, wait_for

WAIT_S = 30
QUEUE = "paint"


@dataclass
class Service:
    """One worker for all that is thrown at it."""

    worker: Process
    settings: Settings
    ledger: Ledger
    redis: Redis

    def push(self, *items: bytes) -> None:
        """As kombu does."""
        self.redis.lpush(QUEUE, *items)

    def run(self, whole: dict[str, Any]) -> None:
        """Return when the worker has done this task."""
        self.push(json.dumps(whole).encode())
        key = f"celery-task-meta-{whole['headers']['id']}"
        wait_for(lambda: b'"SUCCESS"' in (self.redis.get(key) or b""), WAIT_S, "the task's result")

    def wait_for_letters(self, number: int) -> list[DeadLetter]:
        wait_for(lambda: len(self.ledger.dead_letters()) >= number, WAIT_S, f"{number} dead letters")
        return self.ledger.dead_letters()

    def works(self) -> None:
        """The worker does a job that comes now, and what came before has left nothing on the broker."""
        self.run(message())
        wait_for(lambda: not self.redis.exists(QUEUE, "unacked", "unacked_index"), WAIT_S, "an empty broker")


@pytest.fixture(scope="module")
def only_worker(stack: Stack, module_settings: Settings) -> Iterator[Process]:
    redis_url = module_settings.redis_url.get_secret_value()
    worker = start_fake_worker(stack, "thrown-at", STYLEQUEUE_REDIS_URL=redis_url)
    child = child_of(worker)
    yield worker
    assert worker.running, worker.log_tail()
    assert child_of(worker) == child
    assert worker.log_text().count("Connected to redis://") == 1, "no message made it begin again"
    worker.stop()


@pytest.fixture
def service(only_worker: Process, module_settings: Settings) -> Iterator[Service]:
    assert only_worker.running, only_worker.log_tail()
    ledger = Ledger(module_settings)
    for letter in ledger.dead_letters():
        ledger.delete(letter.id)
    with Redis.from_url(module_settings.redis_url.get_secret_value()) as redis:
        yield Service(only_worker, module_settings, ledger, redis)
    ledger.close()


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_24_a_bad_message_is_buried_once(service: Service, name: str) -> None:
    item, code = BAD_MESSAGES[name]
    service.push(item)
    service.works()
    [letter] = service.ledger.dead_letters()
    assert (letter.queue, letter.code) == (QUEUE, code)
    assert letter.reason
    assert letter.message.startswith(item[:MAX_BURIED_BYTES].decode(errors="backslashreplace"))


@pytest.mark.parametrize("name", REFUSED_TASKS)
def test_24_a_task_that_asks_too_much_fails_on_record(service: Service, name: str) -> None:
    item, code = REFUSED_TASKS[name]
    service.push(item)
    service.works()
    [letter] = service.ledger.dead_letters()
    assert (letter.queue, letter.code, letter.message) == (QUEUE, code, '{"args": [], "kwargs": {}}')
    assert service.ledger.record(letter.id).state == "failed"


def test_24_nothing_of_a_message_is_obeyed_in_the_log(service: Service) -> None:
    """Nor begins a line there: each begins with the time, or is set off."""
    before = len(service.worker.log_text())
    hostile = "a\x1b[2J\n2026-01-01 00:00:00 CRITICAL forged\r\u202e\u2028\x9b\x85"
    job = {
        "id": hostile,
        hostile: hostile,
        "labels": {hostile: hostile},
        "content": {"bucket": hostile, "key": hostile},
    }
    bodies = (
        [[hostile], {}, {}],
        [[], {"job": job}, {}],
        [[], {hostile: hostile}, {}],
        [[], {}, {"chord": {hostile: 1}}],
    )
    for headers in (
        {"id": hostile},
        {"task": hostile},
        {"id": str(uuid.uuid4()), "task": TASK_NAME, "origin": hostile, "root_id": hostile, "shadow": hostile},
        {"id": hostile, "task": TASK_NAME, "lang": hostile, "argsrepr": hostile, "kwargsrepr": hostile},
        {"eta": hostile, "expires": hostile},
        {hostile: hostile},
    ):
        for body in bodies:
            service.push(json.dumps(message(headers=headers, body=encoded(body))).encode())
    service.push(hostile.encode(), json.dumps(hostile).encode(), json.dumps({hostile: hostile}).encode())
    service.works()
    said = service.worker.log_text()[before:]
    assert "forged" in said
    assert {character for character in said if not character.isprintable()} <= {"\n"}
    assert all(json.loads(line).keys() >= REQUIRED for line in said.splitlines())


def test_24_a_heap_of_bad_messages_keeps_no_job_waiting(stack: Stack, service: Service) -> None:
    service.push(*(item for item, _ in BAD_MESSAGES.values()))
    with Deployment(stack, service.settings) as deployment:
        job = deployment.job(steps=2)
        deployment.queue.submit(job)
        assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == 2
    service.works()
    assert len(service.ledger.dead_letters()) == len(BAD_MESSAGES)


@pytest.mark.parametrize("kwargs", [{}, {"task": 1}, {"job": None}, {"job": {"id": 5}}])
def test_24_what_celery_bears_but_is_no_job_is_buried_too(service: Service, kwargs: dict[str, Any]) -> None:
    service.push(json.dumps(message(task=TASK_NAME, body=encoded([[], kwargs, None]))).encode())
    [letter] = service.wait_for_letters(1)
    assert letter.code == Code.INVALID_JOB
    service.works()


def test_24_the_smallest_message_is_good(service: Service) -> None:
    task_id = str(uuid.uuid4())
    smallest = {
        "body": "[[],{},null]",
        "content-type": "application/json",
        "headers": {"task": NOTHING_TASK, "id": task_id},
        "properties": {"delivery_tag": task_id, "delivery_info": {"exchange": "", "routing_key": QUEUE}},
    }
    service.run(smallest)
    assert service.ledger.dead_letters() == []


@pytest.mark.parametrize("header", ["root_id", "parent_id", "group", "origin", "argsrepr", "kwargsrepr", "lang", "own"])
def test_24_headers_that_celery_bears_pass(service: Service, header: str) -> None:
    values: list[object] = [5, "x", [], {"a": []}, True]
    for value in values:
        service.run(message(headers={header: value}))
    assert service.ledger.dead_letters() == []


def test_24_a_bad_message_left_unacknowledged_is_buried_when_it_is_put_back(service: Service) -> None:
    bad = message(task="stylequeue.sculpt")
    tag = bad["properties"]["delivery_tag"]
    service.redis.hset("unacked", tag, json.dumps([bad, "", QUEUE]))
    service.redis.zadd("unacked_index", {tag: 1})
    [letter] = service.wait_for_letters(1)
    assert letter.code == Code.UNKNOWN_TASK
    service.works()
