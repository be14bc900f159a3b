"""Workers that lack a network, all of them or some: no job is lost to them, and each says what it waits for."""

from __future__ import annotations

from stylequeue.contract.job import Job
from stylequeue.ledger.names import worker_key
from tests.support.deployment import HURRIED, WAIT_S, Deployment
from tests.support.processes import child_of, kill, wait_for

WITH_NETWORKS = "tests.support.network_worker"
"""A worker that has the networks whose names are files in its model directory."""


def of_network(deployment: Deployment, network: str, steps: int = 2) -> Job:
    return deployment.job(recipe={"method": "optimize", "size": 64, "steps": steps, "network": network})


def live(deployment: Deployment) -> dict[str, dict[str, str]]:
    """The networks of each live worker, by its short name."""
    return {w.name.partition("@")[0]: dict(w.networks) for w in deployment.queue._ledger.registry.workers()}


def test_a_worker_is_on_record_while_it_lives(deployment: Deployment) -> None:
    deployment.configure(**HURRIED)
    worker = deployment.worker("one")
    [entry] = wait_for(deployment.queue._ledger.registry.workers, WAIT_S, "the worker to be on record")
    assert entry.name.startswith("one@")
    assert entry.queues == ("fast", "paint", "bulk")
    assert set(entry.networks) == {"vgg19", "vgg16", "fast"}
    assert str(entry) in worker.log_text()
    ttl_ms = int(deployment.queue._ledger.redis.pttl(worker_key(entry.name)))
    assert 0 < ttl_ms <= 3000 * HURRIED["heartbeat_s"]
    kill(child_of(worker))
    wait_for(lambda: len(deployment.queue._ledger.registry.workers()) == 1, WAIT_S, "the worker to be on record")
    worker.stop()
    assert deployment.queue._ledger.registry.workers() == [], "it says when it goes"
