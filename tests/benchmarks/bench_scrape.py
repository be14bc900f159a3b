"""What a scrape costs while many jobs are open.

    python -m tests.benchmarks.bench_scrape [QUICK=1]

100,000 jobs are recorded in an embedded Valkey: most wait, a tenth is parked for a worker with their network, another
is due in an hour, 1,000 are running, as the scrape has to say, and 100 workers are on record. Then the deployment is
scraped again and again. Must: under 100 ms. Writes `bench-output/scrape.json`. QUICK records 5,000 jobs, and judges no
time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from stylequeue import metrics
from stylequeue.awaiting import run
from stylequeue.client import StyleQueue
from stylequeue.contract.job import Job
from stylequeue.ledger import Timing
from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.ledger.test_registry import live_worker
from tests.support.jobs import make_job

QUICK = bool(os.environ.get("QUICK"))
JOBS = 5_000 if QUICK else 100_000
RUNNING = 100 if QUICK else 1_000
TENTH = JOBS // 10
WORKERS = 100
SCRAPES = 30
MUST_S = 0.1
OUTPUT = Path("bench-output/scrape.json")


def fill(queue: StyleQueue) -> None:
    """Record the jobs, without messages."""
    ledger = queue._ledger
    queues = ("paint", "paint", "paint", "bulk", "fast")
    jobs = [make_job(queue=queues[n % len(queues)]) for n in range(JOBS)]
    running, parked, later = jobs[:RUNNING], jobs[RUNNING : RUNNING + TENTH], jobs[-TENTH:]
    for some in pages(jobs[:-TENTH]):
        ledger.accept(some)
    claim_all(queue, running)
    claim_all(queue, parked, lacks=("vgg19",))
    # As from a sender by Celery alone, whose message has the record made.
    claim_all(queue, later, recorded=False, timing=Timing(not_before=datetime.now(UTC) + timedelta(hours=1)))
    for number in range(WORKERS):
        ledger.registry.register(live_worker(f"w{number}@here", job=jobs[number].id, steps_per_s=1))
    counts = queue.census().counts.queues.values()
    found = [sum(getattr(count, state) for count in counts) for state in ("running", "parked", "due", "waiting")]
    assert found == [RUNNING, TENTH, TENTH, JOBS - RUNNING - 2 * TENTH], found


def pages(jobs: list[Job]) -> Iterator[list[Job]]:
    """So many at a time as one round trip takes."""
    for start in range(0, len(jobs), 1000):
        yield jobs[start : start + 1000]


def claim_all(queue: StyleQueue, jobs: list[Job], *, recorded: bool = True, **how: Any) -> None:
    """A worker takes these, or what becomes of them where it may not."""
    ledger = queue._ledger
    for some in pages(jobs):
        claims = [
            ledger._moves.claim(
                job, task_id=job.id, token=job.id, worker="w0@here", queue=job.queue_name, recorded=recorded, **how
            )
            for job in some
        ]
        run(ledger.asked.perform(claims))


def took_s(what: Any) -> list[float]:
    """Seconds of each of some calls."""
    found = []
    for _ in range(SCRAPES):
        began_s = time.perf_counter()
        what()
        found.append(time.perf_counter() - began_s)
    return sorted(found)


def main() -> None:
    """Measure; exits with 1 where a scrape takes too long."""
    settings = Settings(max_open_jobs=10**6, heartbeat_s=600, lease_s=3600)
    with Stack(settings=settings) as stack, StyleQueue(stack.settings) as queue:
        began_s = time.perf_counter()
        fill(queue)
        filled_s = time.perf_counter() - began_s
        whole = took_s(lambda: metrics.exposition(queue.census()))
        load = took_s(lambda: queue.load("paint"))
        body = metrics.exposition(queue.census())
        used = queue._ledger.redis.info("memory")["used_memory"]
    result = {
        "jobs": JOBS,
        "workers": WORKERS,
        "recorded_per_s": round(JOBS / filled_s),
        "redis_bytes_per_job": round(used / JOBS),
        "scrape_ms": {"median": round(median(whole) * 1000, 1), "slowest": round(whole[-1] * 1000, 1)},
        "load_ms": {"median": round(median(load) * 1000, 1), "slowest": round(load[-1] * 1000, 1)},
        "scrape_bytes": len(body),
        "must_ms": MUST_S * 1000,
        "processors": os.cpu_count(),
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(result, indent=2))
    print(json.dumps(result, indent=2))
    if not QUICK and median(whole) > MUST_S:
        sys.exit(1)


if __name__ == "__main__":
    main()
