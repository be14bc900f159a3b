"""When a worker comes to a job, and what it will take: what lies before it, over the rates of the live workers."""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean, median
from typing import Any

from ..connection import Ask
from ..contract import cost
from ..contract.cost import Sides
from ..contract.errors import InvalidJob
from ..contract.job import Job
from ..contract.recipe import FastRecipe, OptimizeRecipe, ResolvedOptimizeRecipe, ResolvedRecipe, networks_of, resolve
from ..contract.status import Estimate, Standing
from . import names
from .record import Record
from .registry import LiveWorker

_SAMPLE = 32
"""Of the jobs ahead, as many are looked at: the others take as long as these."""
_MOST_RUNNING = 500
_DEALT_OUT = 1000
"""Jobs that are dealt out one by one; of more, all workers are busy to the end."""


def seconds(worker: LiveWorker, recipe: ResolvedRecipe, content: Sides | None = None) -> float | None:
    """What a painting would take a worker, by what it measured; None: it has painted nothing of its method."""
    rate = _rate(worker, recipe)
    return None if rate is None else rate * cost.megapixel_steps(recipe, cost.output_sides(recipe, content))


def _rate(worker: LiveWorker, recipe: ResolvedRecipe) -> float | None:
    network = next((name for name in networks_of(recipe) if name in worker.networks), "")
    exact = worker.rates.get(cost.kind(recipe, network))
    if exact is not None or not isinstance(recipe, ResolvedOptimizeRecipe):
        return exact
    others = [rate for kind, rate in worker.rates.items() if kind != cost.kind(_FAST, "")]
    return median(others) if others else None


_FAST = resolve(FastRecipe())


@dataclass(frozen=True)
class _Open:
    """A job that has not ended, as far as its time goes."""

    recipe: ResolvedRecipe | None
    """None: a newer producer's."""
    worker: str | None
    left_s: float | None
    """Of one that is painted, as its worker says."""

    @classmethod
    def of(cls, text: str | None, worker: str | None, progress: str | None) -> _Open:
        try:
            recipe = resolve(Job.model_validate(json.loads(text or "{}")).recipe)
        except (InvalidJob, ValueError):
            recipe = None
        return cls(recipe, worker, json.loads(progress)["data"].get("left_s") if progress else None)

    def takes_s(self, workers: Sequence[LiveWorker]) -> float | None:
        """Seconds of its painting, over the workers; None where none of them can say."""
        known = [
            took_s
            for worker in workers
            if self.recipe is not None
            and worker.has(networks_of(self.recipe))
            and (took_s := seconds(worker, self.recipe)) is not None
        ]
        return fmean(known) if known else None


@dataclass(frozen=True)
class Ahead:
    """What lies before a job in its queue."""

    waiting: int
    """How many jobs wait and came before it."""
    sample: Sequence[_Open]
    """Some of them."""
    running: Sequence[_Open]
    """All that are painted now, of whatever queue."""

    def begins_s(self, takers: Sequence[LiveWorker]) -> float | None:
        """Seconds until one of the workers that take from the queue is free; None where none of them can say."""
        if not takers:
            return None
        each = [took_s for job in self.sample if (took_s := job.takes_s(takers)) is not None]
        if self.waiting and not each:
            return None
        at_work = {worker.name for worker in takers}
        busy_s = [
            job.left_s if job.left_s is not None else (job.takes_s(takers) or 0.0)
            for job in self.running
            if job.worker in at_work
        ][: len(takers)]
        free_s = busy_s + [0.0] * (len(takers) - len(busy_s))
        heapq.heapify(free_s)
        takes_s = fmean(each) if each else 0.0
        for _ in range(min(self.waiting, _DEALT_OUT)):
            heapq.heapreplace(free_s, free_s[0] + takes_s)
        return max(0.0, free_s[0] + max(0, self.waiting - _DEALT_OUT) * takes_s / len(takers))


async def ahead_of(ask: Ask, queue: str, job_id: str | None = None) -> Ahead:
    """What lies before a job; None: before one that is submitted now. It reads only."""
    queue_key, running_key = names.queue_key(queue), names.state_key("running")

    def places(redis: Any) -> Any:
        pipeline = redis.pipeline(transaction=True)
        pipeline.zcard(queue_key) if job_id is None else pipeline.zrank(queue_key, job_id)
        pipeline.zrange(running_key, 0, _MOST_RUNNING - 1)
        return pipeline.execute()

    place, running = await ask(places)
    place = place or 0

    def who(redis: Any) -> Any:
        pipeline = redis.pipeline(transaction=True)
        for running_id in running:
            pipeline.zrank(queue_key, running_id)
        for number in range(min(place, _SAMPLE)):
            rank = number * place // min(place, _SAMPLE)
            pipeline.zrange(queue_key, rank, rank)
        return pipeline.execute()

    answers = await ask(who) if running or place else []
    ranks, sampled = answers[: len(running)], [job_id for found in answers[len(running) :] for job_id in found]
    before = sum(rank is not None and rank < place for rank in ranks)
    sampled = [sampled_id for sampled_id in sampled if sampled_id not in set(running)]
    ids = [*running, *sampled]

    def records(redis: Any) -> Any:
        pipeline = redis.pipeline(transaction=False)
        for one in ids:
            pipeline.hmget(names.record_key(one), "job", "worker", "progress")
        return pipeline.execute()

    known = [_Open.of(*fields) for fields in (await ask(records) if ids else [])]
    return Ahead(max(0, place - before), known[len(running) :], known[: len(running)])


def standing(record: Record, ahead: Ahead, workers: Sequence[LiveWorker]) -> Standing:
    """Where an open job stands."""
    takers = _takers(record.queue, record.needs, workers)
    job = _Open.of(record.job, record.worker, record.progress or None)
    takes_s = job.takes_s(takers)
    if record.state == "running":
        spent_s = (datetime.now(UTC) - record.updated_at).total_seconds()
        left_s = job.left_s if job.left_s is not None else takes_s and max(0.0, takes_s - spent_s)
        return Standing(ahead=0, workers=len(takers), eta_s=_rounded(left_s))
    begins_s = ahead.begins_s(takers)
    if begins_s is not None and record.not_before is not None:
        begins_s = max(begins_s, (record.not_before - datetime.now(UTC)).total_seconds())
    eta_s = None if begins_s is None or takes_s is None else begins_s + takes_s
    return Standing(ahead=ahead.waiting, workers=len(takers), eta_s=_rounded(eta_s))


def estimate(
    recipe: OptimizeRecipe | FastRecipe,
    *,
    content: Sides | None,
    styles: int,
    queue: str,
    ahead: Ahead,
    workers: Sequence[LiveWorker],
) -> Estimate:
    """What a job would take. Where workers differ, as the one in the middle has it."""
    resolved = resolve(recipe)
    takers = _takers(queue, networks_of(recipe), workers)
    known = sorted(
        ((took_s, worker) for worker in takers if (took_s := seconds(worker, resolved, content)) is not None),
        key=lambda pair: pair[0],
    )
    paint_s, middle = known[len(known) // 2] if known else (None, takers[0] if takers else None)
    plan = _plan(resolved, content, styles, middle)
    sides = cost.output_sides(resolved, content)
    margin_px = cost.MARGIN_PX.get(getattr(resolved, "preset", "tf-tutorial"), 0)
    return Estimate(
        paint_s=_rounded(paint_s),
        wait_s=_rounded(ahead.begins_s(takers)),
        peak_bytes=plan.peak_bytes,
        tiles=cost.tiles(sides, plan.tile_px, margin_px),
        workers=len(takers),
    )


def _plan(recipe: ResolvedRecipe, content: Sides | None, styles: int, worker: LiveWorker | None) -> cost.Plan:
    needs = networks_of(recipe)
    return cost.plan_of(
        recipe,
        cost.output_sides(recipe, content),
        styles,
        next((name for name in needs if worker and name in worker.networks), needs[-1]),
        on_gpu=worker is not None and not worker.on_processor,
        halved=worker is not None and worker.precision == "bfloat16",
        budget_bytes=worker.memory_bytes if worker else None,
    )


def _takers(queue: str, needs: Sequence[str], workers: Sequence[LiveWorker]) -> list[LiveWorker]:
    return [worker for worker in workers if queue in worker.queues and worker.has(tuple(needs))]


def _rounded(seconds_: float | None) -> float | None:
    return None if seconds_ is None else round(max(0.0, seconds_), 1)
