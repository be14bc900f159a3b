"""A stack with worker processes that are started and stopped by the dozen, and what each kind of process spends."""

from __future__ import annotations

import io
import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.client import StyleQueue
from stylequeue.contract.base import QueueName
from stylequeue.contract.job import Job
from stylequeue.local import Process, Stack
from tests.benchmarks.scale.worker import MODULE
from tests.support.fake_worker import command
from tests.support.jobs import make_job
from tests.support.processes import children_of, processes_below

PICTURE_PX = 32
STEPS = 100
"""Of a job that takes a second."""
_START_S = 300
"""In which all that are started at once are ready: on two processors, 32 take a minute."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_seeds = itertools.count()


def new_job(*, steps: int = STEPS, queue: QueueName = "paint") -> Job:
    """One whose picture is like no other's; for `fast` of that method."""
    seed = next(_seeds)
    recipe: dict[str, Any] = {"method": "optimize", "size": PICTURE_PX, "steps": steps, "seed": seed}
    if queue == "fast":
        recipe = {"method": "fast", "size": PICTURE_PX, "strength": seed % 10**6 / 10**6}
    return make_job(recipe=recipe, queue=queue)


@dataclass(frozen=True)
class Spent:
    """Processor seconds, by kind of process."""

    child: float
    """Of the workers: those that paint, and what decodes their pictures."""
    parent: float
    redis: float
    store: float

    def __sub__(self, other: Spent) -> Spent:
        return Spent(*(mine - its for mine, its in zip(self.parts(), other.parts(), strict=True)))

    def parts(self) -> tuple[float, float, float, float]:
        """In the order of the fields."""
        return self.child, self.parent, self.redis, self.store

    def per(self, jobs: int) -> dict[str, float]:
        """A job's share of each, and of all."""
        kinds = dict(zip(("child", "parent", "redis", "store"), self.parts(), strict=True))
        return {kind: round(spent / jobs, 4) for kind, spent in (kinds | {"all": sum(self.parts())}).items()}


class Fleet:
    """Workers on a stack, started and stopped many at once."""

    def __init__(self, stack: Stack, queue: StyleQueue) -> None:
        self.stack = stack
        self.queue = queue
        self.redis: Any = queue._ledger.redis
        self.workers: list[Process] = []
        self._numbers = itertools.count(1)
        for bucket, key in (("uploads", "content.jpg"), ("styles", "style.jpg")):
            queue._store._client.put_object(Bucket=bucket, Key=key, Body=_jpeg())

    def start(self, count: int, queues: Sequence[QueueName] = ()) -> None:
        """Start so many more workers, and wait until each is ready for jobs."""
        self.join([self.begin(queues) for _ in range(count)])

    def begin(self, queues: Sequence[QueueName] = ()) -> Process:
        """Start a worker of these queues, or of all, and wait for nothing."""
        name = f"w{next(self._numbers)}"
        root = Path(__file__).parents[3]
        return self.stack.process(name, command(name, MODULE, ",".join(queues)), env={"PYTHONPATH": str(root)})

    def join(self, workers: Sequence[Process]) -> None:
        """Have them among the fleet's when they are ready for jobs."""
        self.workers += workers
        for worker in workers:
            worker.wait_for_line(READY_FOR_JOBS, _START_S)
        # They pay for no TensorFlow, which 32 of them had no memory for.
        assert not any(one.tensorflow for one in self.queue._ledger.registry.workers())

    def keep(self, count: int) -> None:
        """Stop all but so many workers, which end what they paint."""
        gone, self.workers = self.workers[count:], self.workers[:count]
        for worker in gone:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(worker.pid, 15)
        for worker in gone:
            worker.stop()

    def kill(self) -> int:
        """Kill all workers with all that they have started, at once; how many there were."""
        gone, self.workers = self.workers, []
        for worker in gone:
            worker.kill()
        return len(gone)

    def spent(self) -> Spent:
        """Since each process began."""
        child = parent = 0.0
        for worker in self.workers:
            parent += _spent_s(worker.pid)
            child += sum(_spent_s(pid) for pid in processes_below(worker.pid))
        return Spent(child, parent, *map(_spent_s_of_all, (self.stack.valkey.process, self.stack.seaweedfs.process)))

    def resident_mb(self) -> dict[str, float]:
        """Of one worker's processes, as the median worker has them."""
        found: list[tuple[float, float, float]] = []
        for worker in self.workers:
            painting = children_of(worker)[-1]
            others = [pid for pid in processes_below(worker.pid) if pid != painting]
            found.append((_resident_mb(worker.pid), _resident_mb(painting), sum(map(_resident_mb, others))))
        middle = sorted(found)[len(found) // 2]
        return dict(zip(("parent", "child", "decoder"), middle, strict=True))

    def calls(self) -> Mapping[str, int]:
        """How often each of Redis's commands was called, in scripts and outside; and how often a socket was read."""
        stats = {name.removeprefix("cmdstat_"): at["calls"] for name, at in self.redis.info("commandstats").items()}
        return stats | {"reads": self.redis.info("stats")["total_reads_processed"]}

    @contextmanager
    def redis_spends(self) -> Iterator[list[float]]:
        """Into a list, the processor seconds that Redis spends while the block runs."""
        spent: list[float] = []
        before = _spent_s_of_all(self.stack.valkey.process)
        yield spent
        spent.append(_spent_s_of_all(self.stack.valkey.process) - before)

    def ended(self) -> int:
        """How many jobs have succeeded since the beginning."""
        counts = self.redis.hgetall("stylequeue:counters")
        return int(counts.get("succeeded", 0))

    def wait_ended(self, count: int, timeout_s: float) -> None:
        """Return when so many have succeeded since the beginning. Raises TimeoutError."""
        ends_s = time.monotonic() + timeout_s
        while self.ended() < count:
            if time.monotonic() > ends_s:
                raise TimeoutError(f"{self.ended()} jobs ended of {count} after {timeout_s:g} s")
            time.sleep(0.1)


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (PICTURE_PX, PICTURE_PX), "teal").save(buffer, "JPEG")
    return buffer.getvalue()


def _spent_s_of_all(process: Process) -> float:
    return sum(_spent_s(pid) for pid in (process.pid, *processes_below(process.pid)))


def _spent_s(pid: int) -> float:
    try:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(user) + int(system)) * _TICK_S


def _resident_mb(pid: int) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):
        return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
    return 0.0
