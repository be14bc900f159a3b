"""All workers are killed at once while they paint, and as many started: how long until all jobs are painted again."""

from __future__ import annotations

import sys
import time
from typing import Any

from stylequeue.ledger import names
from stylequeue.local import environment
from tests.benchmarks.scale.fleet import STEPS, Fleet, new_job
from tests.support.processes import wait_for

_PAINTED_S = 20
"""What is left of each job's painting when all are killed, and more."""
_TIMEOUT_S = 300


def killed(fleet: Fleet) -> dict[str, Any]:
    """Seconds from the kill until all jobs are back in the queue, until new workers are ready, and until all paint."""
    keeper = fleet.stack.process(
        "keeper", [sys.executable, "-m", "stylequeue.cli", "keeper"], env=environment(fleet.stack.settings)
    )
    keeper.wait_for_line("keeping house", _TIMEOUT_S)
    jobs = [new_job(steps=STEPS * _PAINTED_S) for _ in fleet.workers]
    fleet.queue.submit_many(jobs)
    ids = [job.id for job in jobs]
    wait_for(lambda: _painting(fleet, ids, attempt=1) == len(ids), _TIMEOUT_S, "all to be painted")
    began_s = time.monotonic()
    count = fleet.kill()
    seconds: dict[str, float] = {}

    def note(what: str) -> None:
        seconds[what] = round(time.monotonic() - began_s, 1)

    begun = [fleet.begin() for _ in range(count)]
    wait_for(lambda: _taken_back(fleet, ids) == len(ids), _TIMEOUT_S, "all to be back")
    note("back_in_queue_s")
    wait_for(lambda: _painting(fleet, ids, attempt=2) == len(ids), _TIMEOUT_S, "all to be painted again")
    note("all_paint_s")
    fleet.join(begun)
    for job_id in ids:
        fleet.queue.cancel(job_id)
    wait_for(lambda: fleet.redis.zcard(names.state_key("running")) == 0, _TIMEOUT_S, "all to be cancelled")
    keeper.stop()
    return {"killed": count, **seconds}


def _painting(fleet: Fleet, ids: list[str], *, attempt: int) -> int:
    """How many have made a step in this attempt or a later one."""
    found = _fields(fleet, ids, "attempt", "progress")
    return sum(int(at) >= attempt and '"step"' in (progress or "") for at, progress in found)


def _taken_back(fleet: Fleet, ids: list[str]) -> int:
    """How many are in the queue after their first attempt, or beyond it."""
    return sum(int(at) > 1 or state == "queued" for at, state in _fields(fleet, ids, "attempt", "state"))


def _fields(fleet: Fleet, ids: list[str], *fields: str) -> list[list[Any]]:
    pipeline = fleet.redis.pipeline(transaction=False)
    for job_id in ids:
        pipeline.hmget(names.record_key(job_id), *fields)
    return list(pipeline.execute())
