"""The keeper's comparison of ledger and broker."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from stylequeue import keeper as module
from stylequeue.broker.lists import Lists
from stylequeue.broker.messages import Message
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Preempted, Unavailable
from stylequeue.contract.job import Job
from stylequeue.keeper import Keeper
from stylequeue.ledger.names import COMPARED_KEY, LEASES_KEY, ready_key, record_key
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.support.jobs import make_job
from tests.support.processes import wait_for
from tests.support.proxy import Proxy
from tests.support.roles import as_role, everything

WAIT_S = 60


@pytest.fixture
def keeper(queue: StyleQueue) -> Keeper:
    return Keeper(as_role(queue.settings, "keeper"))


def waiting(queue: StyleQueue) -> list[str]:
    """Task ids of the messages that wait for a worker."""
    messages: Any = everything(queue.settings).lrange("paint", 0, -1)
    return sorted(json.loads(message)["headers"]["id"] for message in messages)


def deliver(queue: StyleQueue, *, delivered_s_ago: float = 0) -> None:
    """A worker takes the next message, as kombu does."""
    redis: Any = everything(queue.settings)
    raw = redis.rpop("paint")
    tag = json.loads(raw)["properties"]["delivery_tag"]
    redis.hset("unacked", tag, json.dumps([json.loads(raw), "paint", "paint"]))
    redis.zadd("unacked_index", {tag: time.time() - delivered_s_ago})


def submitted(queue: StyleQueue) -> Job:
    job = make_job()
    queue.submit(job)
    return job


def look_twice(keeper: Keeper, *, thoroughly: bool) -> None:
    """What is absent once may be on its way."""
    for _ in range(2):
        keeper.reconcile(thoroughly=thoroughly)


@pytest.mark.parametrize("thoroughly", [False, True])
def test_nothing_is_sent_twice(queue: StyleQueue, keeper: Keeper, thoroughly: bool) -> None:
    jobs = [submitted(queue) for _ in range(3)]
    deliver(queue)
    look_twice(keeper, thoroughly=thoroughly)
    assert waiting(queue) == sorted(job.id for job in jobs[1:])


@pytest.mark.parametrize("thoroughly", [False, True])
def test_a_lost_message_is_sent_again(queue: StyleQueue, keeper: Keeper, thoroughly: bool) -> None:
    lost, other = submitted(queue), submitted(queue)
    everything(queue.settings).rpop("paint")
    keeper.reconcile(thoroughly=thoroughly)
    assert waiting(queue) == [other.id]
    keeper.reconcile(thoroughly=thoroughly)
    assert waiting(queue) == sorted([lost.id, other.id])


def test_what_dead_workers_had_makes_up_for_nothing(queue: StyleQueue, keeper: Keeper) -> None:
    """Their messages lie with the broker for hours."""
    for _ in range(3):
        job = submitted(queue)
        deliver(queue)
        queue._ledger.claim(job, task_id=job.id, worker="dead")
    lost = submitted(queue)
    everything(queue.settings).rpop("paint")
    look_twice(keeper, thoroughly=False)
    assert waiting(queue) == [lost.id]


def compares(keeper: Keeper, monkeypatch: pytest.MonkeyPatch, *, thoroughly: bool = False) -> bool:
    """Whether it looks at every message now."""
    looked: list[bool] = []
    compare = keeper._compare

    def noted() -> None:
        looked.append(True)
        compare()

    with monkeypatch.context() as patched:
        patched.setattr(keeper, "_compare", noted)
        keeper.reconcile(thoroughly=thoroughly)
    return bool(looked)


def test_what_is_on_its_way_to_a_child_is_no_reason_to_compare(
    queue: StyleQueue, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where many work, something always is; and a full queue takes seconds to compare."""
    submitted(queue)
    painted = submitted(queue)
    for _ in range(2):
        deliver(queue)
    assert not compares(keeper, monkeypatch)
    queue._ledger.claim(painted, task_id=painted.id, worker="somebody")
    assert not compares(keeper, monkeypatch)
    submitted(queue)
    everything(queue.settings).rpop("paint")
    assert compares(keeper, monkeypatch)


def test_of_many_keepers_one_compares_and_rests(
    queue: StyleQueue, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_COMPARING_SHARE", 1e-6)
    lost = submitted(queue)
    everything(queue.settings).rpop("paint")
    other = Keeper(as_role(queue.settings, "keeper"))
    assert compares(keeper, monkeypatch)
    assert not compares(other, monkeypatch)
    assert not compares(other, monkeypatch, thoroughly=True)
    rest_ms: Any = queue._ledger.redis.pttl(COMPARED_KEY)
    assert 0 < rest_ms <= 300_000, "however long that one took"
    # What it misses it looks for once more, whenever that is.
    assert compares(keeper, monkeypatch)
    assert waiting(queue) == [lost.id]


@pytest.mark.parametrize("while_it_compares", [True, False])
def test_what_was_claimed_since_keeps_nobody_from_resting(
    queue: StyleQueue, keeper: Keeper, monkeypatch: pytest.MonkeyPatch, while_it_compares: bool
) -> None:
    """A full queue takes seconds to compare: where many work, something always is."""
    monkeypatch.setattr(module, "_COMPARING_SHARE", 1e-6)
    painted, cancelled = submitted(queue), submitted(queue)
    everything(queue.settings).delete("paint")
    missed = Lists.missed

    def missed_late(*asked: Any) -> set[str]:
        if while_it_compares:
            queue._ledger.claim(painted, task_id=painted.id, worker="somebody")
        return missed(*asked)

    with monkeypatch.context() as patched:
        patched.setattr(Lists, "missed", missed_late)
        assert compares(keeper, monkeypatch)
    if not while_it_compares:
        queue._ledger.claim(painted, task_id=painted.id, worker="somebody")
    queue.cancel(cancelled.id)
    assert not compares(keeper, monkeypatch, thoroughly=True)


@pytest.mark.parametrize(("delivered_s_ago", "sent_again"), [(10, False), (1000, True)])
def test_a_worker_that_died_before_it_claimed_the_job(
    queue: StyleQueue, keeper: Keeper, delivered_s_ago: float, sent_again: bool
) -> None:
    job = submitted(queue)
    deliver(queue, delivered_s_ago=delivered_s_ago)
    look_twice(keeper, thoroughly=False)
    assert waiting(queue) == ([job.id] if sent_again else [])


def test_the_longest_queued_are_compared_first(
    queue: StyleQueue, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_COMPARE_AT_ONCE", 2)
    jobs = [submitted(queue) for _ in range(3)]
    redis: Any = everything(queue.settings)
    redis.zadd(ready_key("paint"), {job.id: number for number, job in enumerate(jobs)})
    redis.delete("paint")
    look_twice(keeper, thoroughly=True)
    assert waiting(queue) == sorted(job.id for job in jobs[:2])


def test_a_round_among_garbage_hears_stop(queue: StyleQueue, keeper: Keeper) -> None:
    lost = submitted(queue)
    everything(queue.settings).lpush("paint", *("x" for _ in range(500)))
    everything(queue.settings).rpop("paint")
    stop = threading.Event()
    stop.set()
    keeper.run(stop)
    with pytest.raises(Preempted):
        keeper.reconcile()
    assert queue.status(lost.id).state == "queued"


def test_an_earlier_delivery_of_a_job_that_was_put_back(queue: StyleQueue, keeper: Keeper) -> None:
    job = submitted(queue)
    deliver(queue, delivered_s_ago=1000)
    record = queue._ledger.claim(job, task_id=job.id, worker="dead").record
    queue._ledger.put_back(record, error="came to harm")
    keeper.round()
    assert waiting(queue) == [job.id]
    everything(queue.settings).rpop("paint")
    look_twice(keeper, thoroughly=False)
    assert waiting(queue) == [job.id]


def test_a_message_more_than_jobs_hides_a_lost_one_from_a_glance_only(queue: StyleQueue, keeper: Keeper) -> None:
    lost, other = submitted(queue), submitted(queue)
    everything(queue.settings).rpop("paint")
    queue._messages.send([Message.of(other)])
    look_twice(keeper, thoroughly=False)
    assert lost.id not in waiting(queue)
    look_twice(keeper, thoroughly=True)
    assert lost.id in waiting(queue)


@pytest.mark.parametrize("gone", [False, True])
def test_what_an_older_version_claimed_hides_not_what_another_sent(
    queue: StyleQueue, keeper: Keeper, gone: bool
) -> None:
    """It knows nothing of which jobs have a message: one too many is there, another lacks, and the counts agree."""
    claimed, lost = submitted(queue), submitted(queue)
    queue.cancel(claimed.id)
    redis: Any = everything(queue.settings)
    if gone:
        queue.delete(claimed.id)
    redis.delete("paint")
    redis.zadd(ready_key("paint"), {claimed.id: 1})
    redis.zrem(ready_key("paint"), lost.id)
    for _ in range(2):
        look_twice(keeper, thoroughly=True)
        redis.delete(COMPARED_KEY)
        keeper.round()
    assert waiting(queue) == [lost.id]


def test_who_could_not_be_heard_of_has_another_lease(stack: Stack, settings: Settings) -> None:
    """Redis was away, and with it every heartbeat: their jobs are not taken from workers that live."""
    url = settings.redis_url.get_secret_value()
    with Proxy(HOST, stack.valkey.port) as proxy, StyleQueue(settings) as queue:
        through = url.replace(f":{stack.valkey.port}/", f":{proxy.port}/")
        own = {"redis_url": through, "lease_s": 0.6, "heartbeat_s": 0.1, "redis_timeout_s": 0.2}
        keeper = Keeper(as_role(Settings(**{**settings.model_dump(), **own}), "keeper"))
        job = submitted(queue)
        queue._ledger.claim(job, task_id=job.id, worker="somebody")
        proxy.refuse()
        with pytest.raises(Unavailable):
            keeper.round()
        redis: Any = everything(queue.settings)
        redis.hset(record_key(job.id), "lease_until_ms", 1)
        redis.zadd(LEASES_KEY, {job.id: 1})
        proxy.heal()
        keeper.round()
        assert queue.status(job.id).state == "running"

        def put_back() -> bool:
            keeper.round()
            return queue.status(job.id).state == "queued"

        wait_for(put_back, WAIT_S, "the job of one that did not say that it lives")


def test_bytes_that_are_no_text_hide_no_lost_message(queue: StyleQueue, keeper: Keeper) -> None:
    """Anybody may have put them there, and while all workers are down nobody buries them."""
    lost = submitted(queue)
    redis: Any = everything(queue.settings)
    redis.delete("paint")
    redis.lpush("paint", b"\xff\xfe\x80")
    look_twice(keeper, thoroughly=True)
    redis.ltrim("paint", 0, -2)
    assert waiting(queue) == [lost.id]
