"""How long a job waits for its next attempt when what paints it is killed, and how much is painted twice.

    [QUICK=1] python -m tests.benchmarks.bench_recovery [CHECKPOINT_INTERVAL_S]

The settings are those that ship, but for the checkpoint's interval (default 2 s, so that each round is short); the
painter is fake, so that a child's warm-up is Python's own imports. Each kill is SIGKILL, while the job is painted.
QUICK kills one of each, and judges nothing.
"""

from __future__ import annotations

import io
import os
import random
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from statistics import median

from rich.console import Console
from rich.table import Table

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.contract.events import AnyEvent, Progress, Started
from stylequeue.contract.job import Job
from stylequeue.contract.objects import checkpoint_key
from stylequeue.local import Process, Stack
from stylequeue.settings import Settings
from tests.support.deployment import WAIT_S, Deployment
from tests.support.fake_painter import STEP_S
from tests.support.fake_worker import START_TIMEOUT_S
from tests.support.processes import child_of, kill, wait_for

QUICK = bool(os.environ.get("QUICK"))
ROUNDS = 1 if QUICK else 5
STEPS = 2000
CHILD_AIM_S = 10.0
WORKER_AIM_S = 30.0


def killed(deployment: Deployment, whole: bool) -> tuple[float, float, int]:
    """Seconds from the kill to the next claim, those of the new child's warm-up, and steps painted twice."""
    workers = {name: deployment.start(name) for name in (("one", "two") if whole else ("one",))}
    for worker in workers.values():
        worker.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
    queue, job = deployment.queue, deployment.job(STEPS)
    queue.submit(job)
    key, bucket = checkpoint_key(job.id), deployment.settings.work_bucket
    wait_for(lambda: queue._store.exists(bucket, key), WAIT_S, "a checkpoint")
    # Else every kill would come right behind a checkpoint.
    time.sleep(random.uniform(0, deployment.settings.checkpoint_interval_s))
    worker = workers[str(queue.status(job.id).worker).partition("@")[0]]
    killed_at = time.time()
    kill(worker.pid if whole else child_of(worker))
    deployment.until_painting(job, attempt=2)
    queue.cancel(job.id)
    events = all_events(deployment, job)
    [claimed] = [event for event in events if isinstance(event, Started) and event.data.attempt == 2]
    warm_up_s = 0.0 if whole else warm_up(worker)
    for each in workers.values():
        each.stop()
    return claimed.time.timestamp() - killed_at, warm_up_s, painted_twice(events)


def warm_up(worker: Process) -> float:
    """Seconds from the parent's word that the child is gone to that of the new one that it is ready."""
    lines = worker.log_text().splitlines()
    gone = next(line for line in lines if "worker_lost" in line)
    ready = [line for line in lines if READY_FOR_JOBS in line][-1]
    return stamp(ready) - stamp(gone)


def stamp(line: str) -> float:
    """The time at which a line was logged."""
    whole, _, ms = line[:23].partition(",")
    return time.mktime(time.strptime(whole, "%Y-%m-%d %H:%M:%S")) + int(ms) / 1000


def all_events(deployment: Deployment, job: Job) -> list[AnyEvent]:
    """Those that are there now."""
    events: list[AnyEvent] = []
    while more := deployment.queue._ledger.job_events(job.id, after=int(events[-1].sequence) if events else 0):
        events += more
    return events


def painted_twice(events: Sequence[AnyEvent]) -> int:
    """Steps that the second attempt made once more."""
    steps: dict[int, list[int]] = {1: [], 2: []}
    for event in events:
        if isinstance(event, Progress) and event.data.step:
            steps[event.data.attempt].append(event.data.step)
    return max(steps[1]) - min(steps[2]) + 1


def main() -> int:
    interval_s = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    table = Table(
        "killed", "to the next claim", "of it warm-up", "steps painted twice", title=f"median of {ROUNDS} (worst)"
    )
    late = []
    with Stack(settings=Settings()) as stack:
        for whole, aim_s in ((False, CHILD_AIM_S), (True, WORKER_AIM_S)):
            rounds = []
            for _ in range(ROUNDS):
                settings = {"checkpoint_interval_s": interval_s}
                with redirect_stdout(io.StringIO()), Deployment(stack, stack.settings, **settings) as deployment:
                    rounds.append(killed(deployment, whole))
            to_claim_s, warm_up_s, twice = (list(column) for column in zip(*rounds, strict=True))
            apart_s = [claim_s - warm_s for claim_s, warm_s in zip(to_claim_s, warm_up_s, strict=True)]
            table.add_row(
                "worker" if whole else "child",
                f"{median(to_claim_s):.1f} s ({max(to_claim_s):.1f})",
                f"{median(warm_up_s):.1f} s",
                f"{median(twice):.0f} ({max(twice)}); one interval is {interval_s / STEP_S:.0f}",
            )
            late += [f"{aim_s:g} s"] if median(apart_s) > aim_s else []
    console = Console()
    console.print(table)
    if late:
        console.print(f"over the aim of {', '.join(late)}")
    return 1 if late and not QUICK else 0


if __name__ == "__main__":
    sys.exit(main())
