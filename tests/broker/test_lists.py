"""Messages as they lie on the broker's lists."""

from __future__ import annotations

import base64
import json
import time
import tracemalloc
from typing import Any

import pytest

from stylequeue.broker import lists as module
from stylequeue.broker.lists import UNACKED_INDEX_KEY, UNACKED_KEY, Lists
from stylequeue.broker.messages import RECORDED_HEADER, Message
from stylequeue.client import StyleQueue
from stylequeue.contract.base import QUEUES
from stylequeue.contract.errors import Preempted
from stylequeue.contract.job import TASK_NAME
from tests.support.jobs import make_job
from tests.support.messages import BAD_MESSAGES


@pytest.fixture
def lists(queue: StyleQueue) -> Lists:
    return Lists(queue._ledger.redis)


def on(queue: StyleQueue, name: str) -> list[dict[str, Any]]:
    """What lies on a list, the next to be taken first."""
    found: Any = queue._ledger.redis.lrange(name, 0, -1)
    return [json.loads(raw) for raw in reversed(found)]


def deliver(queue: StyleQueue, *, delivered_s_ago: float) -> None:
    """As kombu notes what a worker has taken."""
    redis: Any = queue._ledger.redis
    message = json.loads(redis.rpop("paint"))
    tag = message["properties"]["delivery_tag"]
    redis.hset(UNACKED_KEY, tag, json.dumps([message, "", "paint"]))
    redis.zadd(UNACKED_INDEX_KEY, {tag: time.time() - delivered_s_ago})


def test_a_message_holds_the_whole_job_and_says_that_it_is_recorded(queue: StyleQueue) -> None:
    job = make_job(labels={"customer": "é"})
    queue.submit(job)
    [message] = on(queue, "paint")
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs) == ([], {"job": job.model_dump(mode="json", exclude_none=True)})
    headers = message["headers"]
    assert (headers["task"], headers["id"], headers[RECORDED_HEADER]) == (TASK_NAME, job.id, True)
    assert (headers["argsrepr"], headers["kwargsrepr"]) == ("()", "{}"), "not once more in clear"
    assert (message["content-type"], message["content-encoding"]) == ("application/json", "utf-8")


@pytest.mark.parametrize("name", QUEUES)
def test_each_queue_has_its_list_and_the_first_sent_is_the_first_taken(queue: StyleQueue, name: str) -> None:
    jobs = [make_job(queue=name) for _ in range(3)]
    queue.submit_many(jobs)
    assert [message["headers"]["id"] for message in on(queue, name)] == [job.id for job in jobs]
    assert all(not on(queue, other) for other in QUEUES if other != name)
    assert {message["properties"]["delivery_info"]["routing_key"] for message in on(queue, name)} == {name}


def test_nothing_is_sent_where_nothing_is_to_be(queue: StyleQueue, lists: Lists) -> None:
    queue._messages.send([])
    assert lists.about() == 0


def test_a_task_id_of_another_sender(queue: StyleQueue, lists: Lists) -> None:
    queue._messages.send([Message.of(make_job(), task_id="another")])
    assert lists.missed(["another", "a-third"]) == {"a-third"}


def test_ids_of_all_that_wait_however_many(queue: StyleQueue, lists: Lists) -> None:
    jobs = [make_job(queue=QUEUES[number % len(QUEUES)]) for number in range(1600)]
    queue._messages.send([Message.of(job) for job in jobs])
    assert lists.about() == 1600
    assert lists.missed(["none", *(job.id for job in jobs)]) == {"none"}


@pytest.mark.parametrize(("delivered_s_ago", "counts"), [(1, True), (1000, False)])
def test_what_a_worker_took_just_now_counts_too(
    queue: StyleQueue, lists: Lists, delivered_s_ago: float, counts: bool
) -> None:
    job = make_job()
    queue._messages.send([Message.of(job)])
    deliver(queue, delivered_s_ago=delivered_s_ago)
    assert lists.about() == int(counts)
    assert lists.missed([job.id]) == (set() if counts else {job.id})


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_among_bad_messages_the_good_one_is_found(queue: StyleQueue, lists: Lists, name: str) -> None:
    raw, _ = BAD_MESSAGES[name]
    job = make_job()
    queue._ledger.redis.lpush("paint", raw)
    queue._messages.send([Message.of(job)])
    assert not lists.missed([job.id])
    assert lists.about() == 2
    # Delivered, it is as little in the way.
    queue._ledger.redis.hset(UNACKED_KEY, "tag", raw)
    queue._ledger.redis.zadd(UNACKED_INDEX_KEY, {"tag": time.time()})
    assert not lists.missed([job.id])


def test_put_as_it_came(queue: StyleQueue, lists: Lists) -> None:
    lists.put("bulk", "é, as it is")
    assert queue._ledger.redis.lrange("bulk", 0, -1) == ["é, as it is"]


def test_among_a_heap_of_garbage_little_is_read(
    queue: StyleQueue, lists: Lists, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither too much at once, nor what is large, nor more than so many: then nothing is said to be missed."""
    redis: Any = queue._ledger.redis
    job = make_job()
    queue._messages.send([Message.of(job)])
    redis.lpush("paint", *(b"\xff" * 100 for _ in range(5_000)))
    redis.lpush("paint", *("[" * 5_000_000 for _ in range(5)))
    redis.hset(UNACKED_KEY, mapping={f"tag-{number}": "x" * 100 for number in range(5_000)})
    redis.zadd(UNACKED_INDEX_KEY, {f"tag-{number}": 4e9 + number for number in range(6_000)})
    tracemalloc.start()
    began = time.process_time()
    assert lists.missed([job.id, "none"]) == {"none"}
    assert time.process_time() - began < 5
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    monkeypatch.setattr(module, "MAX_LOOKED_AT", 1_000)
    assert lists.missed(["none"]) == set()
    assert "more than 1000" in caplog.text


def test_a_search_ends_when_nobody_waits_for_it(queue: StyleQueue, lists: Lists) -> None:
    queue._ledger.redis.lpush("paint", *("x" for _ in range(500)))
    checks: list[int] = []

    def stop() -> None:
        checks.append(1)
        if len(checks) == 3:
            raise Preempted

    with pytest.raises(Preempted):
        lists.missed(["none"], stop)
    assert len(checks) == 3
