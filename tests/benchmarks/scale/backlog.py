"""A queue with a great many jobs in it: how fast they come in, what they take, what looking at them costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from pydantic import SecretStr

from stylequeue import metrics
from stylequeue.awaiting import run
from stylequeue.client import StyleQueue
from stylequeue.keeper import Keeper
from stylequeue.ledger import names
from tests.benchmarks.scale.fleet import Fleet, new_job

_SENT_AT_ONCE = 5000
_LOOKS = 10
_SAMPLE = 200
_PAGE = 500


def fill(fleet: Fleet, count: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Submit so many jobs to `paint` while nobody takes them: the rate, and what each takes of Redis's memory."""
    fleet.queue.submit(new_job(queue="bulk"))  # the scripts, the connections
    used = _used_bytes(fleet)
    rates, client_s, sent = [], 0.0, 0
    with fleet.redis_spends() as redis_s:
        while sent < count:
            jobs = [new_job() for _ in range(min(_SENT_AT_ONCE, count - sent))]
            began_s, of_client = time.perf_counter(), time.process_time()
            fleet.queue.submit_many(jobs)
            rates.append(len(jobs) / (time.perf_counter() - began_s))
            client_s += time.process_time() - of_client
            sent += len(jobs)
            say(f"{sent} jobs in, {rates[-1]:.0f} a second")
    return {
        "jobs": count,
        "submit_per_s": round(median(rates)),
        "submit_client_ms": round(client_s / count * 1000, 3),
        "submit_redis_ms": round(redis_s[0] / count * 1000, 3),
        "redis_bytes_per_job": round((_used_bytes(fleet) - used) / count),
        "redis_bytes_by_part": _parts(fleet, count),
    }


def submit_beside(fleet: Fleet, count: int) -> int:
    """Jobs a second that `submit_many` takes in beside busy workers."""
    jobs = [new_job() for _ in range(count)]
    began_s = time.perf_counter()
    fleet.queue.submit_many(jobs)
    return round(count / (time.perf_counter() - began_s))


def looks(fleet: Fleet) -> dict[str, Any]:
    """Milliseconds of a scrape, of a question for a queue's load, and of a keeper's work, with Redis's own share."""
    queue, settings = fleet.queue, fleet.stack.settings
    keeper = Keeper(settings)
    return {
        "scrape_ms": _took_ms(fleet, lambda: metrics.exposition(queue.census())),
        "load_ms": _took_ms(fleet, lambda: queue.load("paint")),
        "keeper_round_ms": _took_ms(fleet, keeper.round),
        "keeper_comparison_ms": _took_ms(fleet, keeper.reconcile, times=1),
    }


def looks_at_parked(fleet: Fleet, count: int) -> dict[str, Any]:
    """Milliseconds of a scrape where so many jobs are parked, for a worker with their network; in a database aside."""
    settings = fleet.stack.settings.model_copy(update={"redis_url": SecretStr(fleet.stack.valkey.url(1))})
    with StyleQueue(settings) as queue:
        ledger = queue._ledger
        for start in range(0, count, _PAGE):
            jobs = [new_job() for _ in range(min(_PAGE, count - start))]
            ledger.accept(jobs)
            claim = partial(ledger._moves.claim, worker="poor@here", queue="paint", recorded=True, lacks=("vgg19",))
            run(ledger.asked.perform([claim(job, task_id=job.id, token=job.id) for job in jobs]))
        ledger.accept([new_job()])
        found = {"scrape_ms": _took_ms(fleet, lambda: metrics.exposition(queue.census()))}
        assert queue.census().counts.queues["paint"].parked == count
        ledger.redis.flushdb()
    return found


def ended_bytes(fleet: Fleet) -> int:
    """What is kept of a job that has ended, without the indexes: as Redis reckons it of some."""
    ids = fleet.redis.zrange(names.state_key("succeeded"), 0, _SAMPLE - 1)
    pipeline = fleet.redis.pipeline(transaction=False)
    for job_id in ids:
        painted = names.painted_key(fleet.redis.hget(names.record_key(job_id), "fingerprint"))
        for key in (names.record_key(job_id), names.events_key(job_id), painted, f"celery-task-meta-{job_id}"):
            pipeline.memory_usage(key, samples=0)
    return round(sum(size or 0 for size in pipeline.execute()) / len(ids))


def empty(fleet: Fleet, say: Callable[[str], None]) -> dict[str, Any]:
    """Cancel and delete all that waits, and take its messages: how many a second."""
    ledger = fleet.queue._ledger
    moves = ledger._moves
    began_s, gone = time.perf_counter(), 0
    while ids := [job_id for queue in ("paint", "bulk") for job_id in _waiting(fleet, queue)]:
        run(ledger.asked.perform([moves.cancel(job_id) for job_id in ids]))
        run(ledger.asked.perform([moves.delete(job_id) for job_id in ids]))
        gone += len(ids)
    took_s = time.perf_counter() - began_s
    say(f"{gone} jobs cancelled and deleted")
    for queue in ("paint", "bulk"):
        fleet.redis.delete(queue)
    return {"jobs": gone, "per_s": round(gone / took_s)}


def _waiting(fleet: Fleet, queue: str) -> list[str]:
    found = fleet.redis.zrange(names.queue_key(queue), 0, _PAGE - 1)
    running = set(fleet.redis.zrange(names.state_key("running"), 0, -1))
    return [job_id for job_id in found if job_id not in running]


def _used_bytes(fleet: Fleet) -> int:
    return int(fleet.redis.info("memory")["used_memory"])


def _parts(fleet: Fleet, count: int) -> dict[str, int]:
    """Of a job's bytes, as Redis reckons them: of some jobs, and of what all share a job's part."""

    def bytes_of(key: str) -> int:
        return int(fleet.redis.memory_usage(key, samples=_SAMPLE) or 0)

    ids = fleet.redis.zrange(names.queue_key("paint"), 0, _SAMPLE - 1)
    indexes = ("created", "deadlines", "queue:paint", "state:queued", "ready:paint")
    return {
        "record": round(sum(bytes_of(names.record_key(job_id)) for job_id in ids) / len(ids)),
        "own_events": round(sum(bytes_of(names.events_key(job_id)) for job_id in ids) / len(ids)),
        "message": round(bytes_of("paint") / count),
        "deployment_events": round(bytes_of(names.EVENTS_KEY) / count),
        "indexes": round(sum(bytes_of(f"stylequeue:{index}") for index in indexes) / count),
    }


def _took_ms(fleet: Fleet, look: Callable[[], object], times: int = _LOOKS) -> dict[str, float]:
    took_s = []
    of_client = time.process_time()
    with fleet.redis_spends() as redis_s:
        for _ in range(times):
            began_s = time.perf_counter()
            look()
            took_s.append(time.perf_counter() - began_s)
    client_s = time.process_time() - of_client
    return {
        "median": round(median(took_s) * 1000, 1),
        "slowest": round(max(took_s) * 1000, 1),
        "redis_processor": round(redis_s[0] / times * 1000, 1),
        "own_processor": round(client_s / times * 1000, 1),
    }
