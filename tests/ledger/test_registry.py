"""Who works, and the jobs that wait for somebody who can paint them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from stylequeue.contract.events import ExpiredData
from stylequeue.contract.job import Job
from stylequeue.contract.recipe import (
    ALL_NEEDS,
    FastRecipe,
    Needs,
    OptimizeRecipe,
    networks_of,
    networks_of_queue,
)
from stylequeue.ledger import Ledger
from stylequeue.ledger.names import WORKERS_KEY, record_key, worker_key
from stylequeue.ledger.registry import LiveWorker, not_served, waits_for
from stylequeue.settings import Settings
from tests.support.clients import Client
from tests.support.jobs import make_job
from tests.support.processes import wait_for

VGG19_ONLY = {"method": "optimize", "network": "vgg19"}


def live_worker(name: str = "one@here", **fields: Any) -> LiveWorker:
    given: dict[str, Any] = {
        "name": name,
        "host": "here",
        "started_at": datetime(2026, 1, 1, tzinfo=UTC),
        "version": "1.0",
        "device": "CPU",
        "precision": "float32",
        "queues": ("paint",),
        "networks": {"vgg16": "a" * 64},
        **fields,
    }
    return LiveWorker(**given)


def lack(ledger: Ledger, job: Job, needs: Needs, **how: Any) -> str:
    """A worker takes the job's message and cannot paint it."""
    return ledger.claim(job, task_id=job.id, worker="poor@here", lacks=needs, **how).verdict


def due(ledger: Ledger) -> list[str]:
    return [message.job_id for message in ledger.take_due()]


def test_what_a_worker_says_is_read_back(ledger: Ledger) -> None:
    worker = live_worker(tensorflow="2.21", queues=("fast", "paint"))
    ledger.registry.register(worker)
    assert ledger.registry.workers() == [worker]
    ledger.registry.register(live_worker("another@here"))
    assert [w.name for w in ledger.registry.workers()] == ["another@here", "one@here"]


def test_it_lives_three_heartbeats(settings: Settings) -> None:
    ledger = Ledger(settings.model_copy(update={"heartbeat_s": 0.05}))
    ledger.registry.register(live_worker())
    for key in (worker_key("one@here"), WORKERS_KEY):
        assert 0 < int(ledger.redis.pttl(key)) <= 150
    wait_for(lambda: not ledger.registry.workers(), 10, "the worker to be forgotten")
    assert not ledger.redis.keys("stylequeue:*")
    ledger.close()


def test_the_list_lives_as_long_as_its_slowest_worker(settings: Settings) -> None:
    slow, quick = Ledger(settings), Ledger(settings.model_copy(update={"heartbeat_s": 0.05}))
    slow.registry.register(live_worker("slow@here"))
    quick.registry.register(live_worker("quick@here"))
    wait_for(lambda: len(slow.registry.workers()) == 1, 10, "the quick one to be forgotten")
    assert [w.name for w in slow.registry.workers()] == ["slow@here"]
    for ledger in (slow, quick):
        ledger.close()


def test_one_that_stops_is_forgotten_at_once(ledger: Ledger) -> None:
    ledger.registry.register(live_worker())
    ledger.registry.unregister("one@here")
    assert ledger.registry.workers() == []
    assert not ledger.redis.keys("stylequeue:*")
    ledger.registry.unregister("nobody@here")


def test_what_a_newer_worker_says_more_is_ignored(ledger: Ledger) -> None:
    ledger.registry.register(live_worker())
    text = live_worker().model_dump_json()
    ledger.redis.set(worker_key("one@here"), f'{text[:-1]}, "mood": "good"}}', px=10_000)
    assert ledger.registry.workers() == [live_worker()]


def test_a_job_waits_uncharged_for_its_network(ledger: Ledger) -> None:
    job = make_job(recipe=VGG19_ONLY)
    ledger.accept([job])
    before = len(ledger.job_events(job.id))
    for _ in range(5):
        assert lack(ledger, job, ("vgg19",)) == "lacking"
    record = ledger.record(job.id)
    assert (record.state, record.attempt, record.spared, record.fence) == ("queued", 0, 0, 0)
    assert len(ledger.job_events(job.id)) == before, "nothing to tell"
    assert due(ledger) == []
    assert ledger.queued_task_ids(10) == {}, "no message is missed"
    assert ledger.messages_expected() == 0
    assert ledger.registry.lacking() == {("paint", ("vgg19",)): 1}


@pytest.mark.parametrize(
    ("has", "wakes"),
    [
        ({"queues": ("paint",), "networks": {"vgg19": "b"}}, True),
        ({"queues": ("fast", "paint"), "networks": {"vgg16": "a", "vgg19": "b"}}, True),
        ({"queues": ("paint",), "networks": {"vgg16": "a"}}, False),
        ({"queues": ("fast", "bulk"), "networks": {"vgg19": "b"}}, False),
        ({"queues": ("paint",), "networks": {}}, False),
    ],
)
def test_a_worker_that_can_paint_it_wakes_it(ledger: Ledger, has: dict[str, Any], wakes: bool) -> None:
    job = make_job(recipe=VGG19_ONLY)
    ledger.accept([job])
    lack(ledger, job, ("vgg19",))
    assert ledger.registry.register(live_worker(**has)).woken == int(wakes)
    assert due(ledger) == [job.id] * wakes
    assert ledger.registry.lacking() == ({} if wakes else {("paint", ("vgg19",)): 1})
    taken = ledger.claim(job, task_id=job.id, worker="one@here")
    assert (taken.verdict, taken.record.attempt) == ("yours", 1)
    assert ledger.registry.lacking() == {}


def test_any_of_the_networks_wakes_it(ledger: Ledger) -> None:
    for network in ("vgg19", "vgg16"):
        job = make_job(recipe={"method": "optimize"})
        ledger.accept([job])
        lack(ledger, job, ("vgg19", "vgg16"))
        assert ledger.registry.register(live_worker(networks={network: "a"})).woken == 1
        assert due(ledger) == [job.id]


def test_many_are_woken_some_at_a_time(ledger: Ledger) -> None:
    jobs = [make_job(recipe=VGG19_ONLY) for _ in range(25)]
    ledger.accept(jobs)
    for job in jobs:
        lack(ledger, job, ("vgg19",))
    able = live_worker(networks={"vgg19": "b"})
    assert [ledger.registry.register(able).woken for _ in range(4)] == [10, 10, 5, 0]
    assert sorted(due(ledger)) == sorted(job.id for job in jobs)


def test_a_drained_worker_wakes_nobody_until_it_takes_jobs_again(client: Client, settings: Settings) -> None:
    job, able = make_job(recipe=VGG19_ONLY), live_worker(networks={"vgg19": "b"})
    with client(settings) as queue:
        ledger = queue._ledger
        ledger.accept([job])
        lack(ledger, job, ("vgg19",))
        ledger.registry.register(live_worker("other@here", queues=("bulk",), networks={"vgg19": "b"}))
        ledger.registry.register(live_worker("poor@here"))
        ledger.registry.register(live_worker(able.name))
        queue.drain(able.name)
        for _ in range(3):
            assert ledger.registry.register(able).woken == 0
        assert due(ledger) == []
        assert queue.status(job.id).waits_for == (
            "a worker with the network vgg19: none that takes from queue 'paint' has it now"
        )
        queue.undrain(able.name)
        assert queue.status(job.id).waits_for is None
        assert ledger.registry.register(able).woken == 1
        assert due(ledger) == [job.id]


def test_one_by_plain_celery_waits_on_the_queue_it_was_found_on(ledger: Ledger) -> None:
    job = make_job(recipe=VGG19_ONLY)
    assert lack(ledger, job, ("vgg19",), queue="bulk") == "lacking"
    assert ledger.record(job.id).state == "queued"
    assert ledger.registry.lacking() == {("bulk", ("vgg19",)): 1}


def test_it_ends_at_its_deadline_like_any_other(ledger: Ledger) -> None:
    job = make_job(recipe=VGG19_ONLY)
    ledger.accept([job])
    lack(ledger, job, ("vgg19",))
    ledger.redis.hset(record_key(job.id), "deadline_ms", 1)
    assert ledger.expire(job.id).verdict == "expired"
    outcome = ledger.record(job.id).status.outcome
    assert outcome is not None
    assert isinstance(outcome.data, ExpiredData)
    assert ledger.registry.lacking() == {}


@pytest.mark.parametrize("keep", [False, True])
def test_it_is_cancelled_like_any_other(ledger: Ledger, keep: bool) -> None:
    job = make_job(recipe=VGG19_ONLY)
    ledger.accept([job])
    lack(ledger, job, ("vgg19",))
    assert ledger.cancel(job.id, keep=keep).verdict == "cancelled"
    assert ledger.registry.lacking() == {}


def test_what_is_kept_of_it_waits_for_a_worker_too(ledger: Ledger) -> None:
    """Its last holder is gone and left a checkpoint: whoever is asked to store it needs the network."""
    job = make_job(recipe=VGG19_ONLY)
    ledger.accept([job])
    ledger.claim(job, task_id=job.id, worker="gone@here")
    ledger.redis.hset(record_key(job.id), "lease_until_ms", 1)
    assert lack(ledger, job, ("vgg19",)) == "lacking"
    record = ledger.record(job.id)
    assert (record.state, record.attempt, record.spared) == ("queued", 1, 0)
    assert ledger.overdue().lease_ran_out == []
    assert ledger.cancel(job.id, keep=True).verdict == "asked"
    assert due(ledger) == [job.id]
    assert lack(ledger, job, ("vgg19",)) == "lacking"
    assert ledger.registry.register(live_worker(networks={"vgg19": "b"})).woken == 1
    assert ledger.claim(job, task_id=job.id, worker="one@here").verdict == "yours"


def test_one_that_is_held_or_over_does_not_wait(ledger: Ledger) -> None:
    job = make_job(recipe=VGG19_ONLY)
    ledger.accept([job])
    taken = ledger.claim(job, task_id=job.id, worker="one@here")
    assert lack(ledger, job, ("vgg19",)) == "held"
    ledger.put_back(taken.record, error="", delay_s=100, charged=False)
    assert lack(ledger, job, ("vgg19",)) == "early"
    ledger.cancel(job.id, keep=False)
    assert lack(ledger, job, ("vgg19",)) == "ended"
    assert ledger.registry.lacking() == {}


def test_what_recipes_need() -> None:
    assert networks_of(FastRecipe()) == ("fast",)
    assert networks_of(OptimizeRecipe()) == ("vgg19", "vgg16")
    assert networks_of(OptimizeRecipe(network="vgg16")) == ("vgg16",)
    assert networks_of(OptimizeRecipe(network="vgg19")) == ("vgg19",)
    assert networks_of(OptimizeRecipe(style_layers={"block3_conv4": 1.0})) == ("vgg19",), "the other has no such layer"
    assert [networks_of_queue(queue) for queue in ("fast", "paint", "bulk")] == [
        ("fast",),
        ("vgg19", "vgg16"),
        ("vgg19", "vgg16"),
    ]
    assert set(ALL_NEEDS) == {("fast",), ("vgg19", "vgg16"), ("vgg19",), ("vgg16",)}


def test_queues_that_networks_do_not_serve() -> None:
    assert not_served(("fast", "paint", "bulk"), ("vgg16",)) == ["fast"]
    assert not_served(("fast", "paint", "bulk"), ("fast",)) == ["paint", "bulk"]
    assert not_served(("fast", "paint"), ()) == ["fast", "paint"]
    assert not_served(("bulk",), ("vgg19",)) == []


def test_what_a_job_waits_for_in_words() -> None:
    workers = [live_worker(queues=("paint",), networks={"vgg16": "a"}), live_worker("two@here", queues=("fast",))]
    assert waits_for("paint", ("vgg19", "vgg16"), workers) is None
    assert waits_for("paint", ("vgg19",), workers) == (
        "a worker with the network vgg19: none that takes from queue 'paint' has it now"
    )
    drained = [live_worker(networks={"vgg19": "b"}, draining="finish")]
    assert waits_for("paint", ("vgg19",), drained) == (
        "a worker that takes from queue 'paint' and has the network vgg19: none takes from it now"
    )
    assert waits_for("bulk", ("vgg19", "vgg16"), workers) == (
        "a worker that takes from queue 'bulk' and has the network vgg19 or vgg16: none takes from it now"
    )
