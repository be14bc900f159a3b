"""What keeps a painting from going wrong, and what ends it early: losses that are no numbers, standstill, the clock."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from stylequeue.contract.errors import Code, Permanent

from .descent import Evaluate, Evaluation, Iterate, Moments

_MAX_FAILURES = 3
"""Evaluations in a row without finite loss and gradient, before the painting is given up."""


class NotFiniteError(ArithmeticError):
    """Loss or gradient is NaN or infinite."""


def strict(evaluate: Evaluate) -> Evaluate:
    """`evaluate` that raises NotFiniteError where loss or gradient is not finite."""

    def evaluated(picture: tf.Tensor) -> Evaluation:
        evaluation = evaluate(picture)
        if not is_finite(evaluation.total, evaluation.gradient):
            raise NotFiniteError
        return evaluation

    return evaluated


def sound(iterates: Iterable[Iterate]) -> Iterator[Iterate]:
    """`iterates`; raises NotFiniteError in place of one whose loss or gradient [1, H, W, 3] is not finite."""
    for iterate in iterates:
        if not is_finite(iterate.evaluation.total, iterate.evaluation.gradient):
            raise NotFiniteError
        yield iterate


def lenient(evaluate: Evaluate) -> Evaluate:
    """`evaluate` for a line search: what is not finite counts as infinitely bad, so that it tries a shorter step.

    Raises Permanent(NOT_FINITE) where the first evaluation is not finite, or three in a row.
    """
    latest: Evaluation | None = None
    failures = 0

    def evaluated(picture: tf.Tensor) -> Evaluation:
        nonlocal latest, failures
        evaluation = evaluate(picture)
        if is_finite(evaluation.total, evaluation.gradient):
            latest, failures = evaluation, 0
            return evaluation
        failures += 1
        if latest is None or failures == _MAX_FAILURES:
            raise not_finite()
        return latest._replace(total=tf.constant(float("inf"), evaluation.total.dtype))

    return evaluated


def rolled_back(
    descend: Callable[[Moments | None, float], Iterator[Iterate]], resume: Moments | None, rate: float = 1.0
) -> Iterator[Iterate]:
    """The iterates of `descend(resume, rate)`; a step that led to where nothing is finite is taken back.

    It is then taken anew from the moments before, at half the rate: `descend(moments, rate / 2)`, and so on. Raises
    Permanent(NOT_FINITE) after three such steps in a row.
    """
    failures, reached = 0, resume.step if resume else 0
    before = latest = resume
    while True:
        try:
            for iterate in descend(before, rate):
                if iterate.moments and iterate.moments.step > reached:
                    reached, failures = iterate.moments.step, 0
                before, latest = latest, iterate.moments
                yield iterate._replace(rate=rate)
        except NotFiniteError:
            failures += 1
            if failures == _MAX_FAILURES:
                raise not_finite() from None
            rate, latest = rate / 2, before
        else:
            return


def is_finite(*tensors: tf.Tensor) -> bool:
    """Whether all of `tensors` are finite."""
    return all(bool(tf.reduce_all(tf.math.is_finite(tensor))) for tensor in tensors)


def not_finite() -> Permanent:
    """The error of a painting that cannot go on."""
    return Permanent(
        Code.NOT_FINITE,
        "the optimisation ran into NaN or infinity",
        "take smaller weights; where every job ends so, the network's file is damaged: delete it and pull it again",
    )


class Standstill:
    """Tells when the total loss has as good as stopped falling."""

    WINDOW = 24
    """Evaluations looked back on: two halves, each of which sees every way of laying the picture equally often."""

    def __init__(self, threshold: float | None, totals: Iterable[float] = ()) -> None:
        """totals: those before, of a painting that goes on."""
        self._threshold = threshold
        self._totals = deque(totals, maxlen=self.WINDOW)

    @property
    def totals(self) -> tuple[float, ...]:
        """Those that are looked back on; none without a threshold."""
        return tuple(self._totals)

    def reached(self, total: float) -> bool:
        """Whether the mean of the newer half of the window lies less than the threshold's share under the older's."""
        # A line search may try what counts as infinitely bad.
        if self._threshold is None or not math.isfinite(total):
            return False
        self._totals.append(total)
        if len(self._totals) < self.WINDOW:
            return False
        totals, half = list(self._totals), self.WINDOW // 2
        older, newer = sum(totals[:half]), sum(totals[half:])
        return newer > older * (1 - self._threshold)


class TimeBudget:
    """The time a painting may take. `spent_s` was spent already, by an attempt before this one."""

    def __init__(self, budget_s: float | None, spent_s: float = 0) -> None:
        self._budget_s = budget_s
        self._began_at = time.monotonic() - spent_s

    @property
    def spent_s(self) -> float:
        """Seconds since the painting began."""
        return time.monotonic() - self._began_at

    def is_past(self, share: float) -> bool:
        """Whether this share of the budget is used up; never without a budget."""
        return self._budget_s is not None and self.spent_s >= share * self._budget_s
