"""When a worker comes to a job, and what it will take: read from the ledger, for many jobs at once."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..awaiting import for_all
from ..contract import cost, memory
from ..contract.base import QUEUES
from ..contract.cost import Sides
from ..contract.recipe import FastRecipe, OptimizeRecipe, ResolvedRecipe, networks_of, resolve
from ..contract.status import Estimate, Standing
from . import names
from .line import Line, Painting, Running, left_s_of, seconds
from .record import Record
from .registry import LiveWorker

if TYPE_CHECKING:
    from .aio import AsyncLedger

_SAMPLE = 32
"""Of a queue's jobs, as many are looked at, the closer the earlier they come."""
_MOST_RUNNING = 500

_T = TypeVar("_T")


class Outlook:
    """What lies before jobs. It reads only.

    What it says of workers, and of how long other jobs take, may be `age_s` old: it is read once for all.
    """

    def __init__(self, ledger: AsyncLedger, *, age_s: float) -> None:
        self._ledger = ledger
        self._ask = ledger._ask
        self.workers = _Kept(ledger.workers, age_s)
        """The live ones, by name."""
        self._running = _Kept(self._read_running, age_s)
        self._lines: dict[str, _Kept[Line]] = {queue: _Kept(partial(self._read_line, queue), age_s) for queue in QUEUES}

    async def standings(self, records: Sequence[Record]) -> list[Standing]:
        """Where open jobs stand; it takes as many questions for many as for one."""
        workers = await self.workers()
        by_queue: dict[str, list[str]] = {}
        for record in records:
            if record.state != "running":
                by_queue.setdefault(record.queue, []).append(record.id)
        places = [
            self._ledger._moves._move("places", queue=queue, ids=ids, most_running=_MOST_RUNNING, parse=list[int])
            for queue, ids in by_queue.items()
        ]
        found = await self._ledger.perform(places) if places else []
        waiting = {
            job_id: count
            for ids, counts in zip(by_queue.values(), found, strict=True)
            for job_id, count in zip(ids, counts, strict=True)
        }
        lines = {queue: await self._lines[queue]() for queue in by_queue} if workers else {}
        return [_standing(record, waiting.get(record.id), lines.get(record.queue), workers) for record in records]

    async def estimate(
        self, recipe: OptimizeRecipe | FastRecipe, *, content: Sides | None, styles: int, masks: int, queue: str
    ) -> Estimate:
        """What a job would take. Where workers differ, as the one in the middle has it."""
        resolved = resolve(recipe)
        takers = _takers(queue, networks_of(recipe), await self.workers())
        known = sorted(
            ((took_s, worker) for worker in takers if (took_s := seconds(worker, resolved, content)) is not None),
            key=itemgetter(0),
        )
        paint_s, middle = known[len(known) // 2] if known else (None, takers[0] if takers else None)
        plan = _plan(resolved, content, styles, masks, middle)
        sides = cost.output_sides(resolved, content)
        margin_px = cost.MARGIN_PX.get(getattr(resolved, "preset", "tf-tutorial"), 0)
        line = await self._lines[queue]()
        return Estimate(
            paint_s=_rounded(paint_s),
            wait_s=_rounded(line.begins_s(line.waiting, takers)),
            peak_bytes=plan.peak_bytes,
            tiles=memory.tiles(sides, plan.tile_px, margin_px),
            workers=len(takers),
        )

    async def begins_s(self, queue: str) -> float | None:
        """Seconds until a worker comes to what would be submitted now; None: no live worker can say."""
        takers = [worker for worker in await self.workers() if queue in worker.queues and worker.draining is None]
        line = await self._lines[queue]()
        return _rounded(line.begins_s(line.waiting, takers))

    async def _read_running(self) -> list[Running]:
        ids = await self._ask(lambda redis: redis.zrange(names.state_key("running"), 0, _MOST_RUNNING - 1))
        known = await self._fields(ids, "worker", "progress")
        left_s = [left_s_of(progress) for _, progress in known]
        # What there is to do counts only where its worker does not say how long it takes.
        unsaid = [one for one, said in zip(ids, left_s, strict=True) if said is None]
        jobs = dict(zip(unsaid, await self._fields(unsaid, "job"), strict=True))
        return [
            Running(one, Painting.of(jobs.get(one, [None])[0] or ""), worker, said)
            for one, (worker, _), said in zip(ids, known, left_s, strict=True)
        ]

    async def _read_line(self, queue: str) -> Line:
        queue_key, running = names.queue_key(queue), await self._running()
        ids = [job.id for job in running]

        def length_and_running(redis: Any) -> Any:
            pipeline = redis.pipeline(transaction=True)
            pipeline.zcard(queue_key)
            if ids:
                pipeline.zmscore(queue_key, ids)
            return pipeline.execute()

        length, *scores = await self._ask(length_and_running)
        here = sorted((ms, one) for ms, one in zip(scores[0] if ids else (), ids, strict=True) if ms is not None)
        ranks = _ranks(length, len(here))

        def looked_at(redis: Any) -> Any:
            pipeline = redis.pipeline(transaction=True)
            for rank in ranks:
                pipeline.zrange(queue_key, rank, rank, withscores=True)
            return pipeline.execute()

        found = await self._ask(looked_at) if ranks else []
        entries = [(rank, (ms, one)) for rank, some in zip(ranks, found, strict=True) for one, ms in some]
        is_running = set(here)
        waiting = [(rank, entry) for rank, entry in entries if entry not in is_running]
        jobs = await self._fields([job_id for _, (_, job_id) in waiting], "job")
        sample = [
            (rank - bisect_left(here, entry), Painting.of(job or ""))
            for (rank, entry), (job,) in zip(waiting, jobs, strict=True)
        ]
        return Line(max(0, length - len(here)), sample, running)

    async def _fields(self, job_ids: Sequence[str], *fields: str) -> list[list[str | None]]:
        """Some of the record of each."""

        def read(redis: Any) -> Any:
            pipeline = redis.pipeline(transaction=False)
            for job_id in job_ids:
                pipeline.hmget(names.record_key(job_id), *fields)
            return pipeline.execute()

        return await self._ask(read) if job_ids else []


class _Kept(Generic[_T]):
    """What `read` returns, for so many seconds. One reads it anew; the others have what was read before.

    Where nothing was, all wait for the same reading, and have what it returns or raises.
    """

    def __init__(self, read: Callable[[], Awaitable[_T]], seconds_: float) -> None:
        self._read, self._seconds = read, seconds_
        self._kept: tuple[_T] | None = None
        self._until = 0.0
        self._reading: asyncio.Task[_T] | None = None

    async def __call__(self) -> _T:
        """It. Raises what `read` does."""
        if not self._seconds:
            return await self._read()
        if self._kept and (self._reading or time.monotonic() < self._until):
            return self._kept[0]
        self._reading = self._reading or for_all(self._read_anew())
        # Whoever goes away takes it from none of the others.
        return await asyncio.shield(self._reading)

    async def _read_anew(self) -> _T:
        try:
            found = await self._read()
            self._kept, self._until = (found,), time.monotonic() + self._seconds
            return found
        finally:
            self._reading = None


def _standing(record: Record, waiting: int | None, line: Line | None, workers: Sequence[LiveWorker]) -> Standing:
    """Of a job that so many wait before; None: it is painted now."""
    takers = _takers(record.queue, record.needs, workers)
    painting = Painting.of(record.job)
    takes_s = painting.takes_s(takers) if painting else None
    if waiting is None:
        spent_s = (datetime.now(UTC) - record.updated_at).total_seconds()
        said_s = left_s_of(record.progress)
        left_s = said_s if said_s is not None else takes_s and max(0.0, takes_s - spent_s)
        return Standing(ahead=0, workers=len(takers), eta_s=_rounded(left_s))
    begins_s = line.begins_s(waiting, takers) if line else None
    if begins_s is not None and record.not_before is not None:
        begins_s = max(begins_s, (record.not_before - datetime.now(UTC)).total_seconds())
    eta_s = None if begins_s is None or takes_s is None else begins_s + takes_s
    return Standing(ahead=waiting, workers=len(takers), eta_s=_rounded(eta_s))


def _ranks(length: int, running: int) -> list[int]:
    """Which of a queue's jobs are looked at: behind those that run, which mostly came first."""
    if length <= _SAMPLE:
        return list(range(length))
    first = min(running, length - 1)
    return sorted({first + int((length - first) * (number / _SAMPLE) ** 2) for number in range(_SAMPLE)})


def _plan(
    recipe: ResolvedRecipe, content: Sides | None, styles: int, masks: int, worker: LiveWorker | None
) -> memory.Plan:
    needs = networks_of(recipe)
    return memory.plan_of(
        recipe,
        cost.output_sides(recipe, content),
        styles,
        next((name for name in needs if worker and name in worker.networks), needs[-1]),
        masks=masks,
        on_gpu=worker is not None and not worker.on_processor,
        halved=worker is not None and worker.precision == "bfloat16",
        budget_bytes=worker.memory_bytes if worker else None,
    )


def _takers(queue: str, needs: Sequence[str], workers: Sequence[LiveWorker]) -> list[LiveWorker]:
    return [
        worker for worker in workers if queue in worker.queues and worker.has(tuple(needs)) and worker.draining is None
    ]


def _rounded(seconds_: float | None) -> float | None:
    return None if seconds_ is None else round(max(0.0, seconds_), 1)
