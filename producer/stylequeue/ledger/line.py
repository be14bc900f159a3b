"""What lies before a job in its queue, and how long live workers take for that, by the rates that they measured."""

from __future__ import annotations

import heapq
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from statistics import fmean, median

from pydantic import TypeAdapter, ValidationError

from ..contract import cost
from ..contract.cost import Sides
from ..contract.errors import InvalidJob
from ..contract.recipe import (
    FastRecipe,
    Needs,
    Recipe,
    ResolvedOptimizeRecipe,
    ResolvedRecipe,
    networks_of,
    resolve,
)
from .registry import LiveWorker

_DEALT_OUT = 1000
"""Jobs that are dealt out one by one; of more, all workers are busy to the end."""


def seconds(worker: LiveWorker, recipe: ResolvedRecipe, content: Sides | None = None) -> float | None:
    """What a painting would take a worker, by what it measured; None: it has painted nothing of its method."""
    rate = _rate(worker, recipe, networks_of(recipe))
    return None if rate is None else rate * _work(recipe, content)


def _work(recipe: ResolvedRecipe, content: Sides | None = None) -> float:
    return cost.megapixel_steps(recipe, cost.output_sides(recipe, content))


def _rate(worker: LiveWorker, recipe: ResolvedRecipe, needs: Needs) -> float | None:
    network = next((name for name in needs if name in worker.networks), "")
    exact = worker.rates.get(cost.kind(recipe, network))
    if exact is not None or not isinstance(recipe, ResolvedOptimizeRecipe):
        return exact
    others = [rate for kind, rate in worker.rates.items() if kind != cost.kind(_FAST, "")]
    return median(others) if others else None


_FAST = resolve(FastRecipe())


_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)


@dataclass(frozen=True)
class Painting:
    """What there is to do, as far as its time goes."""

    recipe: ResolvedRecipe
    needs: Needs
    work: float
    """Megapixel-steps."""

    @classmethod
    def of(cls, job: str) -> Painting | None:
        """A job's, given as JSON; None: a newer producer's."""
        fields = json.loads(job) if job else {}
        return _painting(json.dumps(fields.get("recipe")))

    def takes_s(self, workers: Iterable[LiveWorker]) -> float | None:
        """Seconds, over the workers; None where none of them can say."""
        able = [worker for worker in workers if worker.has(self.needs)]
        known = [rate * self.work for worker in able if (rate := _rate(worker, self.recipe, self.needs)) is not None]
        return fmean(known) if known else None


@lru_cache(maxsize=1024)
def _painting(recipe: str) -> Painting | None:
    """By a recipe as JSON; many jobs have the same."""
    try:
        resolved = resolve(_RECIPE.validate_json(recipe))
    except (ValidationError, InvalidJob):
        return None
    return Painting(resolved, networks_of(resolved), _work(resolved))


@dataclass(frozen=True)
class Running:
    """A job that is painted now."""

    id: str
    painting: Painting | None
    worker: str | None
    left_s: float | None
    """Of its painting, as its worker says."""

    def takes_s(self, workers: Iterable[LiveWorker]) -> float:
        """Seconds until it is done, over the workers; 0 where nobody can say."""
        if self.left_s is not None:
            return self.left_s
        return (self.painting and self.painting.takes_s(workers)) or 0.0


def left_s_of(progress: str | None) -> float | None:
    """Seconds of painting left, as a progress event (JSON) says, if there is one and it does."""
    left_s: float | None = json.loads(progress)["data"].get("left_s") if progress else None
    return left_s


@dataclass(frozen=True)
class Line:
    """A queue as it stood at a moment."""

    waiting: int
    """How many of its jobs wait."""
    sample: Sequence[tuple[int, Painting | None]]
    """Some of these, in their order, and how many wait before each."""
    running: Sequence[Running]
    """All that are painted, of whatever queue."""
    _begins: dict[tuple[str, ...], Callable[[int], float] | None] = field(default_factory=dict)
    """What was worked out, by the names of the workers that it is about."""

    def begins_s(self, waiting: int, takers: Sequence[LiveWorker]) -> float | None:
        """Seconds until one of the workers that take from the queue comes to a job that so many wait before.

        None where none of them can say.
        """
        if not takers:
            return None
        at_work = tuple(worker.name for worker in takers)
        if at_work not in self._begins:
            self._begins[at_work] = self._dealt_out(takers)
        begins_s = self._begins[at_work]
        return None if begins_s is None else begins_s(waiting)

    def _dealt_out(self, takers: Sequence[LiveWorker]) -> Callable[[int], float] | None:
        """The same for any number that wait."""
        at_work = {worker.name for worker in takers}
        busy_s = [job.takes_s(takers) for job in self.running if job.worker in at_work][: len(takers)]
        free_s = busy_s + [0.0] * (len(takers) - len(busy_s))
        heapq.heapify(free_s)
        known = [
            (place, takes_s)
            for place, painting in self.sample
            if painting and (takes_s := painting.takes_s(takers)) is not None
        ]
        if self.sample and not known:
            return None
        begins_s = [free_s[0]]
        for number in range(min(self.waiting, _DEALT_OUT)):
            heapq.heapreplace(free_s, free_s[0] + _like(known, number))
            begins_s.append(free_s[0])

        def of(waiting: int) -> float:
            if waiting < len(begins_s):
                return max(0.0, begins_s[waiting])
            # Each of them as the last that was looked at before.
            more = waiting - len(begins_s) + 1
            return max(0.0, begins_s[-1] + more * _like(known, waiting) / len(takers))

        return of


def _like(known: Sequence[tuple[int, float]], place: int) -> float:
    """Seconds that a job takes at a place: as the last that was looked at before it."""
    return known[max(0, bisect_right(known, place, key=itemgetter(0)) - 1)][1] if known else 0.0
