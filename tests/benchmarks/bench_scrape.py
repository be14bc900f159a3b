"""What a scrape costs while many jobs are open.

    python -m tests.benchmarks.bench_scrape [QUICK=1]

100,000 jobs are recorded in an embedded Valkey: most wait, a tenth each is parked and due later, 1,000 are running, and
100 workers are on record. Then the deployment is scraped again and again. Must: under 100 ms. Writes
`bench-output/scrape.json`. QUICK records 5,000 jobs, and judges nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from stylequeue import metrics
from stylequeue.client import StyleQueue
from stylequeue.ledger import names
from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.ledger.test_registry import live_worker
from tests.support.jobs import make_job
from tests.support.ledger import claim

QUICK = bool(os.environ.get("QUICK"))
JOBS = 5_000 if QUICK else 100_000
RUNNING = 100 if QUICK else 1_000
WORKERS = 100
SCRAPES = 30
MUST_S = 0.1
OUTPUT = Path("bench-output/scrape.json")


def fill(queue: StyleQueue) -> None:
    """Record the jobs, without messages."""
    ledger, redis = queue._ledger, queue._ledger.redis
    queues = ("paint", "paint", "paint", "bulk", "fast")
    ids: list[str] = []
    for start in range(0, JOBS, 1000):
        jobs = [make_job(queue=queues[n % len(queues)]) for n in range(start, min(start + 1000, JOBS))]
        ledger.accept(jobs)
        ids += [job.id for job in jobs]
        if len(ids) <= RUNNING:
            for job in jobs[:RUNNING]:
                claim(ledger, job)
    later, now_ms = ids[RUNNING:], time.time() * 1000
    tenth = len(later) // 10
    redis.zadd(names.WAITING_KEY, dict.fromkeys(later[:tenth], now_ms))
    redis.zadd(names.DUE_KEY, dict.fromkeys(later[tenth : 2 * tenth], now_ms + 10**7))
    for number in range(WORKERS):
        ledger.registry.register(live_worker(f"w{number}@here", job=ids[number], steps_per_s=1))


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
