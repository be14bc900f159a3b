"""A storm: while many jobs are painted, whatever holds them is killed, restarted and cut off, again and again."""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Literal, Self, get_args

from pydantic import SecretStr

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.contract.base import QUEUES
from stylequeue.contract.errors import Code, Unavailable
from stylequeue.contract.events import Started, TerminalEvent
from stylequeue.contract.job import Job
from stylequeue.contract.status import JobStatus
from stylequeue.local import Process, Stack, environment
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.support.deployment import Deployment
from tests.support.fake_worker import START_TIMEOUT_S, command
from tests.support.invariants import check
from tests.support.lasting_valkey import LastingValkey
from tests.support.processes import children_of, kill, living_group
from tests.support.proxy import Proxy

Harm = Literal["child killed", "worker killed", "keeper killed", "redis restarted", "redis reset", "store reset"]
WEIGHTS: dict[Harm, int] = {
    "child killed": 4,
    "worker killed": 2,
    "keeper killed": 1,
    "redis restarted": 1,
    "redis reset": 3,
    "store reset": 2,
}
SETTINGS: dict[str, Any] = {
    "lease_s": 6,
    "heartbeat_s": 1,
    "keeper_interval_s": 0.5,
    "retry_delay_s": 0.2,
    "retry_delay_max_s": 2,
    "job_time_limit_s": 10,
    "visibility_timeout_s": 20,
    "checkpoint_interval_s": 0.1,
    "preview_interval_s": 0.2,
    # A picture is struck by chance, not because it kills: it shall succeed in the end.
    "max_attempts": 20,
}
WORKERS = 3
BATCH = 10
"""Jobs handed in at once, when fewer are open: a job that is tried again shall not wait behind hundreds."""
MOST_STEPS = 40
"""Of one job, at 10 ms."""
BAD, SHARED = 0.03, 0.1
"""Shares of jobs: whose content is not there; which want a picture that another job wants too."""
TICK_S = 0.1
MORE_DESCRIPTORS, MORE_MEMORY = 30, 1.5
"""That a worker which saw it all may have than a fresh one: so many, so many times as much."""


@dataclass(frozen=True)
class Struck:
    """Something was done at this moment, to one worker or to all."""

    harm: Harm
    at_ms: float
    worker: str | None = None


@dataclass
class Report:
    """What became of it."""

    states: Counter[str]
    attempts: int
    duplicates: int
    struck: Counter[Harm]
    fallen: int
    """Workers that ended by themselves."""
    recovered_s: dict[Harm, list[float]]
    messages_left: int
    keys: int
    took_s: float
    broken: list[str] = field(default_factory=list)
    """What should not be."""

    def rows(self) -> Iterator[tuple[str, str]]:
        """As a table: what, how much."""
        yield "jobs", str(self.states.total())
        yield "of these", ", ".join(f"{number} {state}" for state, number in sorted(self.states.items()))
        yield "attempts", str(self.attempts)
        yield "duplicates dropped", str(self.duplicates)
        for harm in get_args(Harm):
            recovered = self.recovered_s.get(harm, [])
            took = f"; went on after {median(recovered):.1f} s, at worst {max(recovered):.1f} s" if recovered else ""
            yield harm, f"{self.struck[harm]}{took}"
        yield "workers that gave up", str(self.fallen)
        yield "messages left", str(self.messages_left)
        yield "keys a job", f"{self.keys / self.states.total():.1f}"
        yield "seconds in all", f"{self.took_s:.0f}"


class Storm:
    """Workers, a keeper and a Valkey of their own, to be struck by what `seed` chooses, `pause_s` apart (from, to)."""

    def __init__(
        self, stack: Stack, *, jobs: int, seed: int, time_limit_s: float, pause_s: tuple[float, float] = (0.5, 3.0)
    ) -> None:
        self._stack = stack
        self._number = jobs
        self._chance = random.Random(seed)
        self._time_limit_s = time_limit_s
        self._pause_s = pause_s
        self._running = ExitStack()
        self._workers: list[Process] = []
        self._all_workers: list[Process] = []
        self._struck: list[Struck] = []
        self._fallen = 0

    def __enter__(self) -> Self:
        with ExitStack() as started:
            directory = started.enter_context(TemporaryDirectory(prefix="stylequeue-storm-"))
            self._valkey = LastingValkey(Path(directory))
            started.callback(lambda: self._valkey.stop())
            self._valkey.wait_ready()
            url = SecretStr(self._valkey.url())
            base = self._stack.settings.model_copy(update={"redis_url": url})
            self._redis_proxy = started.enter_context(Proxy(HOST, self._valkey.port))
            self._store_proxy = started.enter_context(Proxy(HOST, self._stack.seaweedfs.port))
            self._deployment = started.enter_context(Deployment(self._stack, base, **SETTINGS))
            self._queue = self._deployment.queue
            self._outside = self._deployment.client(redis=self._redis_proxy, store=self._store_proxy)
            self._env = {"PYTHONPATH": str(Path(__file__).parents[2]), **environment(self._outside.settings)}
            self._workers = [self._start_worker(f"worker{number}") for number in range(WORKERS)]
            self._keeper = self._start_keeper()
            for worker in self._workers:
                worker.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
            self._running = started.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in (*self._workers, self._keeper):
            process.stop()
        self._running.close()

    @property
    def settings(self) -> Settings:
        """Of everything in the storm, but for the proxies."""
        return self._deployment.settings

    def rage(self) -> Report:
        """Hand the jobs in and strike until all have ended, or the time is over; then look what is left."""
        jobs = self._make_jobs()
        began_at = time.monotonic()
        broken = [] if self._strike_until_done(list(jobs), began_at) else ["the time was over before the jobs"]
        took_s = time.monotonic() - began_at
        broken += self._grown()
        try:
            check(self._queue, [job.id for job in jobs], visibility_timeout_s=self.settings.visibility_timeout_s)
        except AssertionError as error:
            broken.append(str(error))
        records = {job.id: self._queue.status(job.id) for job in jobs}
        broken += [fault for job in jobs for fault in _wrong_end(job, records[job.id])]
        redis: Any = self._queue._ledger.redis
        return Report(
            states=Counter(record.state for record in records.values()),
            attempts=sum(record.attempt for record in records.values()),
            duplicates=sum(worker.log_text().count("message dropped") for worker in self._all_workers),
            fallen=self._fallen,
            struck=Counter(struck.harm for struck in self._struck),
            recovered_s=self._recovered_s(),
            messages_left=sum(redis.llen(queue) for queue in QUEUES) + redis.hlen("unacked"),
            keys=redis.dbsize(),
            took_s=took_s,
            broken=broken,
        )

    def logs(self) -> Iterator[tuple[str, str]]:
        """Names and logs of all workers there were, the first first."""
        for worker in self._all_workers:
            yield worker.name, worker.log_text()

    def _make_jobs(self) -> list[Job]:
        jobs: list[Job] = []
        for number in range(self._number):
            # A weight of its own makes a picture of its own.
            shared = jobs and self._chance.random() < SHARED
            recipe = (
                self._chance.choice(jobs).recipe.model_dump(exclude_none=True)
                if shared
                else {"method": "optimize", "size": 64, "steps": self._steps(), "style_weight": 1 + number}
            )
            missing: dict[str, Any] = {"content": {"bucket": "uploads", "key": "nowhere.jpg"}}
            bad = missing if self._chance.random() < BAD else {}
            jobs.append(self._deployment.job(recipe=recipe, **bad))
        return jobs

    def _steps(self) -> int:
        return self._chance.randint(2, MOST_STEPS)

    def _strike_until_done(self, waiting: list[Job], began_at: float) -> bool:
        strike_at = began_at
        while (now := time.monotonic()) - began_at < self._time_limit_s:
            if now >= strike_at:
                self._strike()
                strike_at = time.monotonic() + self._chance.uniform(*self._pause_s)
            self._restart_fallen()
            # As a producer does: what was not acknowledged is handed in again.
            with suppress(Unavailable):
                open_jobs = self._queue._ledger.count("queued") + self._queue._ledger.count("running")
                if not waiting and not open_jobs:
                    return True
                if open_jobs < BATCH:
                    self._outside.submit_many(waiting[:BATCH])
                    del waiting[:BATCH]
            time.sleep(TICK_S)
        return False

    def _strike(self) -> None:
        [harm] = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        # The first worker sees it all to the end; only its children may be killed.
        place = self._chance.randrange(0 if harm == "child killed" else 1, WORKERS)
        worker = self._workers[place]
        at_ms = time.time() * 1000
        match harm:
            case "child killed":
                try:
                    kill(children_of(worker)[-1])
                except (IndexError, ProcessLookupError):
                    return  # the next one is not ready yet
            case "worker killed":
                if not children_of(worker):
                    return  # it has not begun yet
                for pid in living_group(worker.pid):
                    with suppress(ProcessLookupError):
                        kill(pid)
                self._workers[place] = self._start_worker(_without_number(worker.name))
            case "keeper killed":
                with suppress(ProcessLookupError):
                    kill(self._keeper.pid)
                self._keeper = self._start_keeper()
            case "redis restarted":
                self._valkey.restart()
            case "redis reset":
                self._redis_proxy.reset()
            case "store reset":
                self._store_proxy.reset()
        one = _without_number(worker.name) if harm in ("child killed", "worker killed") else None
        self._struck.append(Struck(harm, at_ms, one))

    def _restart_fallen(self) -> None:
        """As any supervisor does: Celery gives up at some broken connections, and its process ends."""
        for place, worker in enumerate(self._workers):
            if not worker.running:
                self._fallen += 1
                self._workers[place] = self._start_worker(_without_number(worker.name))

    def _start_worker(self, name: str) -> Process:
        process = self._stack.process(f"{name}#{len(self._all_workers)}", command(name), env=self._env)
        self._all_workers.append(process)
        return process

    def _start_keeper(self) -> Process:
        return self._stack.process("keeper", [sys.executable, "-m", "stylequeue.cli", "keeper"], env=self._env)

    def _recovered_s(self) -> dict[Harm, list[float]]:
        """Seconds from each blow until the jobs it hit went on or ended; where it hit all, until anything went on."""
        told = [
            (int(position.partition("-")[0]), event)
            for position, event in self._queue.events(follow=False)
            if isinstance(event, Started | TerminalEvent)
        ]
        recovered: dict[Harm, list[float]] = {}
        for struck in self._struck:
            holders: dict[str, str] = {}
            hit: set[str] | None = None
            for at_ms, event in told:
                if at_ms <= struck.at_ms:
                    holders.pop(event.subject, None)
                    if isinstance(event, Started):
                        holders[event.subject] = event.data.worker.partition("@")[0]
                    continue
                if hit is None:
                    hit = {job for job, worker in holders.items() if struck.worker in (None, worker)}
                if event.subject in hit or struck.worker is None:
                    recovered.setdefault(struck.harm, []).append((at_ms - struck.at_ms) / 1000)
                    hit.discard(event.subject)
                    if struck.worker is None:
                        break
        return recovered

    def _grown(self) -> Iterator[str]:
        """What the worker that saw most has more of than a fresh one."""
        self._restart_fallen()
        fresh = self._start_worker("fresh")
        self._workers.append(fresh)
        for worker in (self._workers[0], fresh):
            worker.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
        for what, number, more in (
            ("descriptors", _descriptors, partial(_plus, MORE_DESCRIPTORS)),
            ("bytes of memory", _memory_bytes, partial(_times, MORE_MEMORY)),
        ):
            old, new = number(self._workers[0].pid), number(fresh.pid)
            if old > more(new):
                yield f"a worker that saw the storm has {old} {what}, a fresh one {new}"


def _wrong_end(job: Job, record: JobStatus) -> Iterator[str]:
    code = getattr(record.outcome.data, "code", None) if record.outcome else None
    if job.content.key == "nowhere.jpg":
        if code != Code.OBJECT_NOT_FOUND:
            yield f"job {job.id} has no picture to paint, and is {record.state} ({code})"
    elif record.state != "succeeded":
        yield f"job {job.id} is {record.state} ({code}), after {record.attempt} attempts: {record.last_error}"


def _without_number(name: str) -> str:
    return name.partition("#")[0]


def _plus(more: float, number: float) -> float:
    return number + more


def _times(more: float, number: float) -> float:
    return number * more


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _memory_bytes(pid: int) -> int:
    resident_pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return resident_pages * os.sysconf("SC_PAGE_SIZE")
