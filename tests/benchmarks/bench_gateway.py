"""The gateway under load: many streams are open while jobs are handed in.

    make bench-gateway [STREAMS=500] [SUBMITS=200] [SECONDS=60] [QUICK=1]

First a thousand jobs are handed in by one request, a few times, while nothing else is done. Then, on
another process, the load begins.

One process of the gateway on a stack of its own. Most streams follow one job each, whose progress this driver tells in
a worker's place, 100 times a second in all; a few follow many jobs by a label, and hear of those that are handed in;
twenty more are read by nobody. Jobs are handed in at a fixed rate, whatever the answers take, each counted from the
moment it was due. Then the process is told to stop, with all streams open. What the driver itself takes of the
processors is said: it runs on the same machine, as does whatever else its load average tells of.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles

from rich.console import Console
from rich.table import Table

from stylequeue.client import StyleQueue
from stylequeue.contract.events import ProgressData
from stylequeue.gateway.bodies import MAX_BATCH
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from tests.ledger.test_registry import live_worker
from tests.support.gateway_process import Served, serve
from tests.support.jobs import job_fields, make_job
from tests.support.usage import Usage

QUICK = bool(os.environ.get("QUICK"))
STREAMS = int(os.environ.get("STREAMS", "100" if QUICK else "500"))
SUBMITS = int(os.environ.get("SUBMITS", "50" if QUICK else "200"))
SECONDS = float(os.environ.get("SECONDS", "5" if QUICK else "60"))
BATCHES = 2 if QUICK else 7
OF_MANY = max(1, STREAMS // 25)
STALLED = 20
PROGRESS = 100
WORKERS = 8
CONNECTIONS = 32
AIM_END_S = 5.0
AIM_BATCH_S = 1.0
"""For a thousand jobs in one request, on two processors with nothing else to do."""


class Load:
    """What is done, and when it was answered or heard of."""

    def __init__(self, served: Served, queue: StyleQueue) -> None:
        self.served, self.queue = served, queue
        self.errors: list[str] = []
        self.answers_s: list[float] = []
        self.lives_s: list[float] = []
        self.progress_s: list[float] = []
        self.due: dict[str, float] = {}
        self.told: dict[tuple[str, int], float] = {}
        self.is_over = threading.Event()
        self.ended = 0

    async def stream(self, path: str) -> None:
        reader, writer = await asyncio.open_connection(HOST, self.served.port, limit=2**20)
        head = f"GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {self.served.key}\r\n\r\n"
        writer.write(head.encode())
        status = await reader.readline()
        if b" 200 " not in status:
            self.errors.append(f"{path}: {status!r}")
        while line := await reader.readline():
            if line.startswith(b"data: "):
                self._heard(json.loads(line[6:]))
        self.ended += 1
        writer.close()

    def _heard(self, event: dict[str, object]) -> None:
        now, job_id, data = time.perf_counter(), str(event["subject"]), event["data"]
        if isinstance(data, dict) and "number" in data:
            if made := self.told.pop((job_id, data["number"]), None):
                self.progress_s.append(now - made)
        elif made := self.due.pop(job_id, None):
            self.lives_s.append(now - made)

    def paint(self, fences: dict[str, int]) -> None:
        """As workers do, by a thread of its own."""
        began, job_ids, number = time.perf_counter(), list(fences), 0
        while not self.is_over.is_set():
            job_id, number = job_ids[number % len(job_ids)], number + 1
            time.sleep(max(0, began + number / PROGRESS - time.perf_counter()))
            self.told[job_id, number] = time.perf_counter()
            data = ProgressData(number=number, stage="painting", step=number, left_s=60.0)
            self.queue._ledger.heartbeat(job_id, fence=fences[job_id], data=data)

    async def submit(self, due: asyncio.Queue[float], number: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, self.served.port)
        while True:
            at = await due.get()
            job_id = f"{number}-{at:.6f}"
            fields = job_fields(id=job_id, labels={"shard": str(hash(job_id) % OF_MANY)})
            body = json.dumps(fields).encode()
            head = (
                f"POST /v1/jobs HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {self.served.key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            self.due[job_id] = at
            try:
                writer.write(head.encode() + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                lines = answer.lower().split(b"\r\n")
                [length] = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
                said = await reader.readexactly(length)
                if b" 202 " not in lines[0]:
                    self.errors.append(said.decode()[:200])
                self.answers_s.append(time.perf_counter() - at)
            except (OSError, EOFError, ValueError) as error:
                self.errors.append(f"a job was not answered: {error!r}")
                writer.close()
                reader, writer = await asyncio.open_connection(HOST, self.served.port)
            due.task_done()


def batch_s(served: Served) -> float:
    """How long one request takes that hands in as many jobs as one may."""
    body = json.dumps({"jobs": [job_fields(labels={"number": str(number)}) for number in range(MAX_BATCH)]}).encode()
    headers = {"Authorization": f"Bearer {served.key}", "Content-Type": "application/json"}
    with closing(HTTPConnection(HOST, served.port, timeout=60)) as connection:
        began = time.perf_counter()
        connection.request("POST", "/v1/jobs:batch", body, headers)
        answer = json.loads(connection.getresponse().read())
        took_s = time.perf_counter() - began
    assert [one["verdict"] for one in answer["jobs"]] == ["new"] * MAX_BATCH, answer
    return took_s


async def drive(load: Load, fences: dict[str, int]) -> tuple[list[asyncio.Task[None]], float]:
    paths = [f"/v1/jobs/{job_id}/events" for job_id in fences]
    paths += [f"/v1/events?label.shard={shard}" for shard in range(OF_MANY)]
    streams = [asyncio.create_task(load.stream(path)) for path in paths]
    stalled = [load.served.stalled("/v1/events?label.shard=0") for _ in range(STALLED)]
    await asyncio.sleep(5)
    due: asyncio.Queue[float] = asyncio.Queue()
    submitting = [asyncio.create_task(load.submit(due, number)) for number in range(CONNECTIONS)]
    painting = threading.Thread(target=load.paint, args=(fences,))
    painting.start()
    began = time.perf_counter()
    for number in range(int(SUBMITS * SECONDS)):
        at = began + number / SUBMITS
        await asyncio.sleep(max(0, at - time.perf_counter()))
        due.put_nowait(at)
    await due.join()
    took_s = time.perf_counter() - began
    await asyncio.sleep(3)
    load.is_over.set()
    await asyncio.to_thread(painting.join)
    for task in submitting:
        task.cancel()
    for connection in stalled:
        connection.close()
    return streams, took_s


def ms(seconds: Sequence[float]) -> str:
    if len(seconds) < 100:
        return f"only {len(seconds)}"
    cuts = quantiles(seconds, n=100)
    return f"{cuts[49] * 1000:.0f} / {cuts[98] * 1000:.0f}"


async def measure(load: Load, table: Table) -> float:
    queue, pid = load.queue, load.served.process.pid
    jobs = [make_job() for _ in range(STREAMS - OF_MANY)]
    queue.submit_many(jobs)
    for number in range(WORKERS):
        queue._ledger.registry.register(live_worker(f"{number}@driver", rates={"tf-tutorial/adam/vgg16": 1.0}))
    fences = {job.id: queue._ledger.claim(job, task_id=job.id, worker="driver").record.fence for job in jobs}
    gateway = Usage(pid)
    before_mb, processor_s = gateway.peak_mb, time.process_time()
    streams, took_s = await drive(load, fences)
    own_share = (time.process_time() - processor_s) / took_s
    table.add_row("handed in, p50 / p99 ms since due", ms(load.answers_s))
    table.add_row("heard that it is accepted, since due", ms(load.lives_s))
    table.add_row("heard of progress, since it was told", ms(load.progress_s))
    table.add_row("jobs a second, of those wanted", f"{len(load.answers_s) / took_s:.0f} of {SUBMITS}")
    table.add_row("errors", str(len(load.errors)))
    table.add_row("gateway's memory, MB: before, at most", f"{before_mb:.0f}, {gateway.peak_mb:.0f}")
    table.add_row("gateway's processors", f"{gateway.cpu_s / took_s:.2f}")
    table.add_row("driver's own processors", f"{own_share:.2f}")
    table.add_row("load average of the machine", f"{os.getloadavg()[0]:.1f}")
    open_streams = sum(not task.done() for task in streams)
    began = time.perf_counter()
    await asyncio.to_thread(load.served.process.stop)
    await asyncio.gather(*streams, return_exceptions=True)
    end_s = time.perf_counter() - began
    table.add_row(f"s from SIGTERM to the end, {open_streams} streams open", f"{end_s:.1f}")
    return end_s


def main() -> int:
    table = Table("", "", title=f"{STREAMS} streams, {SUBMITS} jobs a second, {SECONDS:g} s")
    with tempfile.TemporaryDirectory() as directory, Stack() as stack, StyleQueue(stack.settings) as queue:
        hasty = serve(stack, Path(directory))
        computed = Usage(hasty.process.pid)
        took_s = sorted(batch_s(hasty) for _ in range(BATCHES))
        table.add_row(f"a batch of {MAX_BATCH}, s: at least, at most", f"{took_s[0]:.2f}, {took_s[-1]:.2f}")
        table.add_row("of which the gateway computes, s", f"{computed.cpu_s / BATCHES:.2f}")
        hasty.process.stop()
        queue._ledger.redis.flushdb()
        load = Load(serve(stack, Path(directory)), queue)
        end_s = asyncio.run(measure(load, table))
    console = Console()
    console.print(table)
    for error in load.errors[:5]:
        console.print(error)
    return 0 if not load.errors and end_s < AIM_END_S and took_s[0] < AIM_BATCH_S else 1


if __name__ == "__main__":
    sys.exit(main())
