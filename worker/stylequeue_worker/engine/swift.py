"""The fastest way down that we found for a loss with many fine and few coarse traits.

A picture's low frequencies lie in valleys far flatter than its high ones. Taking every frequency by its own measure
makes L-BFGS take the first part of the way in a quarter of plain Adam's steps; where the curvature it remembers no
longer helps, Adam goes on in the same measure, its rate falling to the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import tensorflow as tf

from .descent import AdamRule, Evaluate, Iterate, Metric, Moments, adam, lbfgs
from .safety import lenient, rolled_back, strict

_SPRINT_STEPS = 80
"""Of L-BFGS, where Adam comes after it."""
_SPRINT_ONLY_STEPS = 200
"""Up to here Adam would not have the time to fall below where L-BFGS gets alone."""
_ADAM = AdamRule(learning_rate=0.05, beta1=0.9, beta2=0.99, epsilon=1e-8)


def swift(
    evaluate: Evaluate, start: tf.Tensor, steps: int, taken: int = 0, moments: Moments | None = None
) -> Iterator[Iterate]:
    """L-BFGS, then Adam, from `start` [1, H, W, 3]; `steps` evaluations in all, `taken` of them before.

    With Adam's `moments` as `resume` goes on where Adam left off; without, where L-BFGS did, whose memory is lost.
    """
    height, width = start.shape[1:3]
    sprint = steps if steps <= _SPRINT_ONLY_STEPS else _SPRINT_STEPS
    picture = start
    if moments is None:
        descent = lbfgs(lenient(evaluate), start, frequency_metric(height, width, 1.0))
        for iterate in itertools.islice(descent, max(sprint - taken, 0)):
            picture = iterate.picture
            yield iterate
    rule = replace(_ADAM, fall_steps=steps - sprint)
    # Adam evens out much by itself.
    metric = frequency_metric(height, width, 0.175)

    def descend(moments: Moments | None, rate: float) -> Iterator[Iterate]:
        slower = replace(rule, learning_rate=rate * rule.learning_rate)
        return adam(strict(evaluate), picture, slower, moments, metric)

    yield from itertools.islice(rolled_back(descend, moments), steps - max(taken, sprint))


def frequency_metric(height: int, width: int, exponent: float) -> Metric:
    """Multiplies each frequency of a picture [1, height, width, 3] by (half a cycle a pixel / frequency)^exponent."""
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    lowest = 1 / max(height, width)
    factors = ((np.hypot(down, across) + lowest) / 0.5) ** -exponent

    @tf.function  # type: ignore[untyped-decorator]
    def apply(picture: tf.Tensor) -> tf.Tensor:
        planes = tf.transpose(picture[0], (2, 0, 1))
        spectrum = tf.signal.rfft2d(planes)
        planes = tf.signal.irfft2d(spectrum * tf.constant(factors, spectrum.dtype), (height, width))
        return tf.transpose(planes, (1, 2, 0))[None]

    return apply  # type: ignore[no-any-return]
