"""What the service adds to a bare Celery task on the same broker, with a worker that paints nothing.

    make bench-queue [JOBS=200] [QUICK=1]

Jobs of the two kinds alternate, each alone in the queue, for the latencies; then a full queue of each for the rate.
Every job is a picture of its own, so that none is reused. S3's own share is what the jobs' events say of fetching and
storing. Then, how long `submit_many` takes for 2,000 jobs, of either client: alone, with this process's share of the
processor, and beside a worker that is busy with them. QUICK takes 20 of each, and judges nothing.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from celery import Celery
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from stylequeue.broker.app import READY_FOR_JOBS, make_app
from stylequeue.client import StyleQueue
from stylequeue.contract.events import Started
from stylequeue.contract.job import Job
from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.support.clients import CLIENTS, Client
from tests.support.fake_worker import command
from tests.support.jobs import make_job

QUICK = bool(os.environ.get("QUICK"))
JOBS = int(os.environ.get("JOBS", "20" if QUICK else "200"))
SUBMITTED = 2000
TURNS = 3
AIM_ADDED_MS = 30.0
AIM_SUBMIT_S = 1.0
POLL_S = 0.0005
_seeds = itertools.count()


def tiny_jpeg() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(buffer, "JPEG")
    return buffer.getvalue()


def new_job() -> Job:
    recipe = {"method": "optimize", "size": 32, "steps": 1, "seed": next(_seeds)}
    return make_job(recipe=recipe, queue="paint")


def one_job(queue: StyleQueue) -> tuple[float, float, float]:
    """Seconds from submitting to start, to the end, and of these in S3."""
    job = new_job()
    began_at = time.time()
    queue.submit(job)
    to_start_s = 0.0
    for event in queue.watch(job.id):
        if isinstance(event, Started):
            to_start_s = event.time.timestamp() - began_at
    to_end_s = time.time() - began_at
    timings = queue.wait(job.id).report.timings_s
    return to_start_s, to_end_s, timings["fetch"] + timings["store"]


def one_bare_task(app: Celery) -> tuple[float, float]:
    """Seconds from sending to start and to the result."""
    began_at = time.time()
    result = app.send_task("tests.nothing", queue="paint")
    started_at = result.get(interval=POLL_S)
    return started_at - began_at, time.time() - began_at


def rate_of_jobs(queue: StyleQueue) -> float:
    jobs = [new_job() for _ in range(JOBS)]
    began_at = time.time()
    queue.submit_many(jobs)
    for job in jobs:
        queue.wait(job.id)
    return JOBS / (time.time() - began_at)


def rate_of_bare_tasks(app: Celery) -> float:
    began_at = time.time()
    results = [app.send_task("tests.nothing", queue="paint") for _ in range(JOBS)]
    for result in results:
        result.get(interval=POLL_S)
    return JOBS / (time.time() - began_at)


def submitting(client: Client, settings: Settings) -> tuple[float, float]:
    """Seconds that `submit_many` takes, and of these on this process's processors."""
    turns = []
    with client(settings) as queue:
        queue.submit(new_job())
        for _ in range(TURNS):
            jobs = [new_job() for _ in range(SUBMITTED)]
            began_at, of_processor = time.perf_counter(), time.process_time()
            queue.submit_many(jobs)
            turns.append((time.perf_counter() - began_at, time.process_time() - of_processor))
    return min(turns)


def ms(seconds: Sequence[float]) -> str:
    return f"{median(seconds) * 1000:.1f} / {quantiles(seconds, n=100)[98] * 1000:.1f}"


def main() -> int:
    with Stack() as stack, StyleQueue(stack.settings) as queue:
        worker = stack.process("worker", command("bench"), env={"PYTHONPATH": str(Path.cwd())})
        worker.wait_for_line(READY_FOR_JOBS, 60)
        app = make_app(stack.settings)
        for bucket in ("uploads", "styles"):
            key = "content.jpg" if bucket == "uploads" else "style.jpg"
            queue._store._client.put_object(Bucket=bucket, Key=key, Body=tiny_jpeg())
        for _ in range(5):
            one_job(queue)
            one_bare_task(app)
        ours, bare = [], []
        for _ in range(JOBS):
            ours.append(one_job(queue))
            bare.append(one_bare_task(app))
        ours_rate, bare_rate = rate_of_jobs(queue), rate_of_bare_tasks(app)
        elsewhere = stack.settings.model_copy(update={"redis_url": SecretStr(stack.valkey.url(1))})
        alone = {name: submitting(client, elsewhere) for name, client in CLIENTS.items()}
        busy = {name: submitting(client, stack.settings) for name, client in CLIENTS.items()}

    start, end, s3 = zip(*ours, strict=True)
    bare_start, bare_end = zip(*bare, strict=True)
    besides_s3 = [e - s for e, s in zip(end, s3, strict=True)]
    added_ms = (median(besides_s3) - median(bare_end)) * 1000
    table = Table("", "stylequeue job", "bare Celery task", title=f"{JOBS} of each, p50 / p99 in ms")
    table.add_row("enqueue to start", ms(start), ms(bare_start))
    table.add_row("enqueue to end", ms(end), ms(bare_end))
    table.add_row("of these in S3", ms(s3), "")
    table.add_row("without S3", ms(besides_s3), ms(bare_end))
    table.add_row("a second, full queue", f"{ours_rate:.0f}", f"{bare_rate:.0f}")
    console = Console()
    console.print(table)
    table = Table(
        "client", "alone", "of these this process", "beside a busy worker", title=f"submit_many of {SUBMITTED}, s"
    )
    for name in CLIENTS:
        table.add_row(name, *(f"{seconds:.2f}" for seconds in (*alone[name], busy[name][0])))
    console.print(table)
    console.print(f"added besides S3 at p50: {added_ms:.1f} ms (aim: under {AIM_ADDED_MS:.0f} ms)")
    slowest_s = max(seconds for seconds, _ in alone.values())
    console.print(f"the slower client takes {slowest_s:.2f} s (aim: under {AIM_SUBMIT_S:g} s)")
    return 0 if QUICK or (added_ms < AIM_ADDED_MS and slowest_s < AIM_SUBMIT_S) else 1


if __name__ == "__main__":
    sys.exit(main())
