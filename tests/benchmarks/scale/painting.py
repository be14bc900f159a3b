"""What workers paint in a while: how fast beside the ideal, where a job's time goes, and what it costs."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from stylequeue.contract.base import QueueName
from stylequeue.ledger import names
from tests.benchmarks.scale.fleet import Fleet, new_job

JOB_S = 1.0
"""That a job's painting takes."""
_AHEAD = 2
"""Jobs of each worker that are not looked at: with its first, it connects to the S3 server."""
_MORE_S = 5
"""Of jobs beside those that are painted meanwhile, lest there are none left."""
_TIMEOUT_S = 300
_PAGE = 1000


@dataclass(frozen=True)
class Ended:
    """A job that a worker has ended."""

    worker: str
    at_s: float
    stage_s: dict[str, float]


def watch(fleet: Fleet, seconds: float, *, queue: QueueName | None = "paint") -> dict[str, Any]:
    """What all workers do in so many seconds; with `queue`, on jobs that are put there for it, else on what waits.

    A worker's efficiency is what a job takes alone over what it takes from one end to the next.
    """
    count, before = len(fleet.workers), fleet.ended()
    if queue is not None:
        jobs = [new_job(queue=queue) for _ in range(count * int(_AHEAD + seconds + _MORE_S))]
        fleet.queue.submit_many(jobs)
    fleet.wait_ended(before + _AHEAD * count, _TIMEOUT_S)
    spent, calls, began_s, ended_before = fleet.spent(), fleet.calls(), _redis_s(fleet), fleet.ended()
    time.sleep(seconds)
    spent, ended_s, ended = fleet.spent() - spent, _redis_s(fleet), fleet.ended() - ended_before
    calls = {name: called - calls.get(name, 0) for name, called in fleet.calls().items()}
    if not ended:
        raise TimeoutError(f"no job ended in {seconds} s")
    found = _ended(fleet, began_s, ended_s)
    if queue is not None:
        fleet.wait_ended(before + len(jobs), _TIMEOUT_S)
    took_s = ended_s - began_s
    by_kind = {name: round(called / ended, 1) for name, called in calls.items() if called >= ended / 2}
    processors = os.cpu_count() or 1
    return {
        "workers": count,
        "efficiency": round(_efficiency(found), 3),
        "jobs_per_s": round(ended / took_s, 2),
        "stage_s": _stages(found),
        "processor_s_per_job": spent.per(ended),
        "processors_used": round(sum(spent.parts()) / took_s, 2),
        # Were there nothing else to wait for, so much of the ideal would be there.
        "processors_allow": round(min(1.0, processors / (spent.per(ended)["all"] * count)), 3),
        "redis_connections": fleet.redis.info("clients")["connected_clients"],
        "redis_commands_per_job": round(sum(calls.values()) / ended - by_kind["reads"], 1),
        "redis_round_trips_per_job": by_kind.pop("reads"),
        "redis_commands": dict(sorted(by_kind.items(), key=lambda one: -one[1])),
    }


def _redis_s(fleet: Fleet) -> float:
    seconds, microseconds = fleet.redis.time()
    return float(seconds + microseconds / 1e6)


def _ended(fleet: Fleet, since_s: float, until_s: float) -> list[Ended]:
    key = names.state_key("succeeded")
    ids = fleet.redis.zrangebyscore(key, since_s * 1000, until_s * 1000)
    found = []
    for start in range(0, len(ids), _PAGE):
        pipeline = fleet.redis.pipeline(transaction=False)
        for job_id in ids[start : start + _PAGE]:
            pipeline.hmget(names.record_key(job_id), "worker", "updated_ms", "outcome")
        for worker, at_ms, outcome in pipeline.execute():
            found.append(Ended(worker, int(at_ms) / 1000, json.loads(outcome)["data"]["report"]["timings_s"]))
    return found


def _by_worker(found: list[Ended]) -> list[list[Ended]]:
    by_worker: defaultdict[str, list[Ended]] = defaultdict(list)
    for one in found:
        by_worker[one.worker].append(one)
    return [sorted(of_it, key=lambda one: one.at_s) for of_it in by_worker.values() if len(of_it) > 1]


def _efficiency(found: list[Ended]) -> float:
    workers = _by_worker(found)
    taken_s = sum(of_it[-1].at_s - of_it[0].at_s for of_it in workers)
    return JOB_S * sum(len(of_it) - 1 for of_it in workers) / taken_s if taken_s else 0.0


def _stages(found: list[Ended]) -> dict[str, float]:
    """Seconds of a job by stage; `between` is from one job's last stage to the next one's first, over all workers."""
    stages: defaultdict[str, list[float]] = defaultdict(list)
    for of_it in _by_worker(found):
        for before, one in pairwise(of_it):
            for stage, took_s in one.stage_s.items():
                stages[stage].append(took_s)
            stages["between"].append(one.at_s - before.at_s - sum(one.stage_s.values()))
    return {stage: round(fmean(took_s), 3) for stage, took_s in stages.items()}
