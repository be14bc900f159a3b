"""How long jobs of `fast` wait while `bulk` is full, by how the workers share the queues."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median, quantiles
from typing import Any

from stylequeue.contract.base import QueueName
from stylequeue.contract.events import Accepted, Started
from tests.benchmarks.scale.fleet import STEPS, Fleet, new_job

BULK_S = 5
"""That a job of `bulk` is painted; real ones take minutes, and a shared pool lets `fast` wait as much longer."""
FAST_PER_S = 1.0
_SETTLE_S = 3.0
_TIMEOUT_S = 120

Pools = Sequence[tuple[int, Sequence[QueueName]]]


def pools(count: int) -> Mapping[str, Pools]:
    """Ways for so many workers to share two queues, by name."""
    few = max(1, count // 4)
    return {
        "shared": [(count, ("fast", "bulk"))],
        "one_kept_free": [(count - 1, ("fast", "bulk")), (1, ("fast",))],
        "dedicated": [(few, ("fast",)), (count - few, ("bulk",))],
    }


def waits(fleet: Fleet, shares: Pools, seconds: float) -> dict[str, Any]:
    """Seconds that each `fast` job waited, which come at random times, with as many `bulk` jobs as nobody ends."""
    fleet.keep(0)
    for count, queues in shares:
        fleet.start(count, queues)
    workers = sum(count for count, _ in shares)
    bulk = [new_job(steps=STEPS * BULK_S, queue="bulk") for _ in range(round(workers * (seconds + 30) / BULK_S))]
    fleet.queue.submit_many(bulk)
    time.sleep(_SETTLE_S)
    fast, chance = [], random.Random(1)
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        fast.append(fleet.queue.submit(new_job(queue="fast")))
        time.sleep(chance.expovariate(FAST_PER_S))
    found = sorted(_waited_s(fleet, job_id) for job_id in fast)
    return {
        "workers": [[count, *queues] for count, queues in shares],
        "jobs": len(found),
        "p50_s": round(median(found), 3),
        "p99_s": round(quantiles(found, n=100, method="inclusive")[98], 3),
        "most_s": round(found[-1], 3),
    }


def _waited_s(fleet: Fleet, job_id: str) -> float:
    fleet.queue.wait(job_id, timeout_s=_TIMEOUT_S)
    moments = {type(event): event.time.timestamp() for event in fleet.queue.watch(job_id)}
    return moments[Started] - moments[Accepted]


def all_ways(fleet: Fleet, count: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """`waits`, for each of `pools`."""
    found = {}
    for name, shares in pools(count).items():
        found[name] = waits(fleet, shares, seconds)
        say(f"{name}: p99 {found[name]['p99_s']} s")
        for job_id in fleet.redis.zrange("stylequeue:queue:bulk", 0, -1):
            fleet.queue.cancel(job_id)
    return found
