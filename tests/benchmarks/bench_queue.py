"""What the service adds to a bare Celery task on the same broker, with a worker that paints nothing.

    make bench-queue [JOBS=200] [QUICK=1]

Jobs of the two kinds alternate, each alone in the queue, for the latencies; then a full queue of each for the rate.
Every job is a picture of its own, so that none is reused. S3's own share is what the jobs' events say of fetching and
storing. Then, how many jobs a second `submit_many` takes: alone, and beside a worker that is busy with them.
QUICK takes 20 of each, and judges nothing.
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
from tests.support.fake_worker import command
from tests.support.jobs import make_job

QUICK = bool(os.environ.get("QUICK"))
JOBS = int(os.environ.get("JOBS", "20" if QUICK else "200"))
SUBMITTED = 5 * JOBS
TURNS = 3
AIM_ADDED_MS = 30.0
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


def rate_of_submitting(queue: StyleQueue) -> float:
    rates = []
    for _ in range(TURNS):
        jobs = [new_job() for _ in range(SUBMITTED)]
        began_at = time.perf_counter()
        queue.submit_many(jobs)
        rates.append(SUBMITTED / (time.perf_counter() - began_at))
    return median(rates)


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
        with StyleQueue(elsewhere) as nobodys:
            alone_rate = rate_of_submitting(nobodys)
        busy_rate = rate_of_submitting(queue)

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
    console.print(f"submitted a second: {alone_rate:.0f} alone, {busy_rate:.0f} beside a busy worker")
    console.print(f"added besides S3 at p50: {added_ms:.1f} ms (aim: under {AIM_ADDED_MS:.0f} ms)")
    return 0 if QUICK or added_ms < AIM_ADDED_MS else 1


if __name__ == "__main__":
    sys.exit(main())
