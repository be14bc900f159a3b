"""Gradient descent on a picture: Adam and L-BFGS within the box [0, 1].

Both are generators that make one evaluation of loss and gradient a yield, or a few, so the caller counts them, shows
them and stops whenever it likes. Pictures are float32 or float64 [1, H, W, 3]; gradients, moments and directions are
alike.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from stylequeue.contract.memory import LBFGS_PAIRS

from .programs import Program


class Evaluation(NamedTuple):
    """Loss (scalar) and gradient (of the picture's shape) at a picture, and the loss's terms without weights."""

    total: tf.Tensor
    gradient: tf.Tensor
    terms: Mapping[str, tf.Tensor]


class Moments(NamedTuple):
    """Adam's memory after `step` steps: its newest picture, and running means (of the pictures' shape)."""

    step: int
    newest: tf.Tensor
    first: tf.Tensor
    second: tf.Tensor
    average: tf.Tensor


class Iterate(NamedTuple):
    """The picture so far, and the evaluation just made."""

    picture: tf.Tensor
    evaluation: Evaluation
    moments: Moments | None = None
    """What Adam needs to go on from here; L-BFGS needs the picture alone, and learns the curvature anew."""
    steps: int = 1
    """Evaluations since the iterate before."""
    rate: float = 1.0
    """Share of the rule's at which Adam goes on: less where steps were taken back."""


Evaluate = Callable[[tf.Tensor], Evaluation]
Metric = Callable[[tf.Tensor], tf.Tensor]
"""A symmetric, positive definite map of pictures."""


class Fall(NamedTuple):
    """Of Adam's rate in so many `steps`, ever faster, from a share of the rule's to a fiftieth of that."""

    steps: int
    share: float = 1.0

    def share_after(self, done: int) -> float:
        """Of the rule's rate, when so many steps are done; where it fell to when all are."""
        left = 1 - done / self.steps if done < self.steps else 0.0
        return self.share * (0.02 + 0.98 * math.pow(left, 0.7))


@dataclass(frozen=True)
class AdamRule:
    """Constants of Adam (Kingma and Ba, 2014) as Keras has it, and the averaging of its iterates."""

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    averaging: float = 0.0
    """Decay of the exponential moving average of the pictures; 0 shows the newest as it is."""
    sharpening: float = 0.0
    """How much of what a small blur takes away is added to what is shown: averages dim the finest strokes."""
    smoothing: bool = False
    """Whether gradients are blurred a little first. Adam makes all pixels' steps alike, and so of faint noise dots."""
    falls: tuple[Fall, ...] = ()
    """Of the rate, one after the other; without any it stays."""

    def rate(self, step: int) -> float:
        """The learning rate at the `step`th step, from 1."""
        share, before = 1.0, 0
        for fall in self.falls:
            if (done := step - 1 - before) < 0:
                break
            share = fall.share_after(done)
            before += fall.steps
        return share * self.learning_rate


def adam(
    evaluate: Evaluate,
    start: tf.Tensor,
    rule: AdamRule,
    resume: Moments | None = None,
    root: Metric | None = None,
) -> Iterator[Iterate]:
    """Adam from `start`, or on from where it left off, clipped to [0, 1] after each step; never ends by itself.

    Keras's form: `epsilon` is added to the root of the second moment before its bias is corrected,
    x -= rate * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon). At epsilon 0.1 the textbook's form
    takes grossly other steps. `root` is the root of a metric: Adam then descends in the coordinates it makes plain.
    """
    moments = resume or _at_rest(start)
    while True:
        evaluation = evaluate(moments.newest)
        rate = rule.rate(moments.step + 1)
        moments = _moved(moments, evaluation.gradient, rule, rate, root)
        yield Iterate(_shown(moments, rule), evaluation, moments)


class AdamCalls:
    """Adam as `adam`, several steps in one call of a compiled function, for a device that would wait for Python.

    Pictures are [1, H, W, 3], of one dtype with all that is taken of them. `evaluate(picture, weights, turn)` with
    the weights of all terms of the loss, and any nested structure of tensors as `turn`. All that a painting brings is
    an argument, so that one function does for all sizes, rates and targets.
    """

    def __init__(
        self, evaluate: Callable[[tf.Tensor, Mapping[str, tf.Tensor], Any], Evaluation], rule: AdamRule
    ) -> None:
        self._evaluate = evaluate
        self._rule = rule
        self.compiled = Program(self._call)

    def descend(
        self,
        start: tf.Tensor,
        weights: Mapping[str, tf.Tensor],
        turns: Sequence[Any],
        rule: AdamRule,
        steps: int,
        resume: Moments | None = None,
    ) -> Iterator[Iterate]:
        """`steps` steps from `start` [1, H, W, 3], or on from where it left off, by `turns` in turn.

        rule: the one that was compiled, at another rate, or sharpened otherwise.

        As many steps a call as take `CALL_S`, `MOST_A_CALL` at most: a caller that is told to stop, or shows pictures,
        waits no longer. An iterate tells of the last evaluation of its call, which ends early where loss or gradient
        are not finite.
        """
        moments = resume or _at_rest(start)
        last = moments.step + steps
        steps_a_call, is_first = 1, True
        while moments.step < last:
            before, began_s = moments.step, time.monotonic()
            count = tf.constant(min(steps_a_call, last - before))
            given = moments._replace(step=tf.constant(before))
            moved, evaluation = self.compiled(
                given, weights, tuple(turns), tf.constant(rule.learning_rate, start.dtype), count
            )
            moments = moved._replace(step=int(moved.step))
            # The first call may have compiled: nothing is known of the second.
            step_s = (time.monotonic() - began_s) / int(count)
            steps_a_call = 1 if is_first else max(1, min(MOST_A_CALL, int(CALL_S / step_s)))
            is_first = False
            yield Iterate(_shown(moments, rule), evaluation, moments, moments.step - before)

    def _call(
        self,
        moments: Moments,
        weights: Mapping[str, tf.Tensor],
        turns: Sequence[Any],
        rate: tf.Tensor,
        steps: tf.Tensor,
    ) -> tuple[Moments, Evaluation]:
        """`steps` (int32 scalar) steps at `rate`, a scalar of the pictures' dtype, fewer where one is not finite."""

        def step(moments: Moments, count: tf.Tensor, _sound: tf.Tensor, _evaluation: Evaluation) -> tuple[Any, ...]:
            # The targets are chosen, not what is done with them: else all of it would be there once for each turn.
            turn = tf.switch_case(moments.step % len(turns), [partial(_alike, turn) for turn in turns])
            evaluation = self._evaluate(moments.newest, weights, turn)
            sound = tf.reduce_all(tf.math.is_finite(evaluation.gradient)) & tf.math.is_finite(evaluation.total)
            moved = tf.cond(
                sound, lambda: _moved(moments, evaluation.gradient, self._rule, rate, None), lambda: moments
            )
            return moved, count + 1, sound, evaluation

        nought = tf.zeros([], moments.newest.dtype)
        none_yet = Evaluation(nought, tf.zeros_like(moments.newest), dict.fromkeys(weights, nought))
        moved, _, _, evaluation = tf.while_loop(
            lambda _moments, count, sound, _evaluation: sound & (count < steps),
            step,
            (moments, tf.constant(0), tf.constant(True), none_yet),
        )
        return moved, evaluation


MOST_A_CALL = 10
"""At small sizes a GPU paints a step in the time that Python takes between two; more gain nothing."""
CALL_S = 0.4
"""Well under a second, for some steps take longer than those before."""


def _alike(turn: Any) -> Any:
    return tf.nest.map_structure(tf.identity, turn)


def _at_rest(start: tf.Tensor) -> Moments:
    """Before the first step from a picture [1, H, W, 3]."""
    nought = tf.zeros_like(start)
    return Moments(0, start, nought, nought, nought)


def _moved(moments: Moments, gradient: tf.Tensor, rule: AdamRule, rate: float, root: Metric | None) -> Moments:
    """A step of Adam along a gradient of the picture's shape.

    `moments.step` is a number or, within a compiled function, an int32 scalar. In the paper's symbols: t is the step, m
    the first moment, v the second.
    """
    step = moments.step + 1
    power = tf.cast(step, gradient.dtype) if tf.is_tensor(step) else step
    gradient = _blurred(gradient) if rule.smoothing else gradient
    gradient = root(gradient) if root else gradient
    first = moments.first + (1 - rule.beta1) * (gradient - moments.first)
    second = moments.second + (1 - rule.beta2) * (gradient * gradient - moments.second)
    rate = rate * (1 - rule.beta2**power) ** 0.5 / (1 - rule.beta1**power)
    change = rate * first / (tf.sqrt(second) + rule.epsilon)
    picture = tf.clip_by_value(moments.newest - (root(change) if root else change), 0, 1)
    average = rule.averaging * moments.average + (1 - rule.averaging) * picture
    return Moments(step, picture, first, second, average)


def _shown(moments: Moments, rule: AdamRule) -> tf.Tensor:
    """The average [1, H, W, 3] so far, in [0, 1], sharpened."""
    shown = moments.average / (1 - rule.averaging**moments.step)
    if rule.sharpening:
        shown += rule.sharpening * (shown - _blurred(shown))
    return tf.clip_by_value(shown, 0, 1)


def lbfgs(evaluate: Evaluate, start: tf.Tensor) -> Iterator[Iterate]:
    """Limited-memory BFGS from `start`, which lies in [0, 1]; ends where no descent is left.

    Two-loop recursion over the last pairs of steps s and gradient changes y (Nocedal and Wright, 2006, algorithm 7.4).
    Pixels at a bound that descent would push outwards are held; the others move along the projected direction.
    start: [1, H, W, 3], float32 or float64, as is all that is taken of it.
    """
    pairs: deque[_Pair] = deque(maxlen=LBFGS_PAIRS)
    picture, here = start, evaluate(start)
    yield Iterate(picture, here)
    while True:
        free = _free(picture, here.gradient)
        gradient = free * here.gradient
        if float(tf.norm(gradient)) == 0:
            return
        if pairs:
            direction = -free * _two_loop_recursion(gradient, pairs)
        else:
            # Nothing is known of the curvature yet: a first step of a visible but small change in each pixel.
            direction = -gradient
            direction *= _FIRST_CHANGE * float(tf.size(picture)) ** 0.5 / float(tf.norm(direction))
        better = None
        if _dot(direction, gradient) < 0:
            better = yield from _search(evaluate, Iterate(picture, here), direction)
        if better:
            s, y = better.picture - picture, better.evaluation.gradient - here.gradient
            if (product := _dot(s, y)) > _MIN_CURVATURE * _dot(y, y):
                pairs.append(_Pair(s, y, rho=1 / product))
            picture, here = better.picture, better.evaluation
        elif pairs:
            # What was known of the curvature misled.
            pairs.clear()
        else:
            return


def _search(evaluate: Evaluate, start: Iterate, direction: tf.Tensor) -> Generator[Iterate, None, Iterate | None]:
    """Line search within the box, by bisection (Lewis and Overton, 2013); yields every evaluation.

    Returns a point that satisfies the weak Wolfe conditions, else the last one with sufficient descent, else None.
    start: with a picture [1, H, W, 3]; direction: alike.
    """
    picture, here = start.picture, start.evaluation
    best, low, high, length = None, 0.0, float("inf"), 1.0
    for _ in range(_MAX_TRIALS):
        trial = tf.clip_by_value(picture + length * direction, 0, 1)
        there = evaluate(trial)
        slope = _dot(here.gradient, trial - picture)
        # The box can bend a direction of descent into one that is none.
        if slope < 0 and float(there.total) <= float(here.total) + _SUFFICIENT_DESCENT * slope:
            best, low = Iterate(trial, there), length
        else:
            high = length
        yield Iterate(best.picture if best else picture, there)
        if low == length and _dot(there.gradient, trial - picture) >= _ENOUGH_FLATTER * slope:
            return best
        length = 2 * low if high == float("inf") else (low + high) / 2
    return best


_MAX_TRIALS = 15
_SUFFICIENT_DESCENT = 1e-4
_ENOUGH_FLATTER = 0.9
_MIN_CURVATURE = 1e-10
_FIRST_CHANGE = 0.02
"""Root mean square over the pixels."""


def _blurred(picture: tf.Tensor) -> tf.Tensor:
    """`picture` [1, H, W, channels] under the binomial kernel 1 2 1, along both sides."""
    padded = tf.pad(picture, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    down = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    return (down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]) / 4


class _Pair(NamedTuple):
    """In Nocedal and Wright's symbols."""

    s: tf.Tensor
    """A step taken, of the picture's shape."""
    y: tf.Tensor
    """The change of gradient along it, alike."""
    rho: float
    """1 / (y . s)."""


def _two_loop_recursion(gradient: tf.Tensor, pairs: deque[_Pair]) -> tf.Tensor:
    """The inverse Hessian that `pairs` speak of, times `gradient` [1, H, W, 3]: alike."""
    direction, alphas = gradient, []
    for s, y, rho in reversed(pairs):
        alpha = rho * _dot(s, direction)
        direction -= alpha * y
        alphas.append(alpha)
    _, y, rho = pairs[-1]
    direction /= rho * _dot(y, y)
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        beta = rho * _dot(y, direction)
        direction += (alpha - beta) * s
    return direction


def _free(picture: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """1 where a pixel may move, 0 where it lies at a bound and descent would push it outwards; [1, H, W, 3] alike."""
    held = ((picture <= 0) & (gradient > 0)) | ((picture >= 1) & (gradient < 0))
    return tf.cast(~held, picture.dtype)


def _dot(a: tf.Tensor, b: tf.Tensor) -> float:
    """Over all elements of two arrays alike, of any shape and float dtype."""
    return float(tf.reduce_sum(a * b))
