"""The fastest way down that we found for a loss with many fine and few coarse traits.

A picture's low frequencies lie in valleys far flatter than its high ones. Adam takes every frequency by its own
measure, forgets its second moments soon, and its rate falls: a third of the usual steps brings the same loss.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import tensorflow as tf

from .descent import AdamRule, Evaluate, Fall, Iterate, Metric, Moments, adam
from .safety import rolled_back, strict

_RULE = AdamRule(learning_rate=0.042, beta1=0.89, beta2=0.81, epsilon=1e-8)
_LONG_STEPS = 200
_LONG_RULE = replace(_RULE, beta1=0.93, averaging=0.9)
"""With more steps than that noise is averaged over more of them, and out of what is shown."""
_FALL_SHARE = 0.65
_SECOND_RATE = 0.4
"""Most pictures are as far as they come when the rate has fallen over this share of the steps. The others need another
fall (warm restarts; Loshchilov and Hutter, 2017), from this share of the rate, and all gain by it."""
_EXPONENT = 0.2
"""Of the metric's root: Adam evens out much by itself."""


def swift(
    evaluate: Evaluate,
    start: tf.Tensor,
    steps: int,
    taken: int = 0,
    moments: Moments | None = None,
    rate: float = 1.0,
) -> Iterator[Iterate]:
    """Adam by the frequency from `start` [1, H, W, 3]; `steps` evaluations in all, `taken` of them before.

    With Adam's `moments` and the `rate` it was at goes on where it left off.
    """
    first = math.ceil(_FALL_SHARE * steps)
    falls = Fall(first), Fall(steps - first, _SECOND_RATE)
    rule = replace(_LONG_RULE if steps > _LONG_STEPS else _RULE, falls=falls)
    _, height, width, _ = start.shape
    metric = frequency_metric(height, width, _EXPONENT)

    def descend(moments: Moments | None, rate: float) -> Iterator[Iterate]:
        return adam(strict(evaluate), start, replace(rule, learning_rate=rate * rule.learning_rate), moments, metric)

    return itertools.islice(rolled_back(descend, moments, rate), steps - taken)


def frequency_metric(height: int, width: int, exponent: float) -> Metric:
    """Multiplies each frequency of a picture [1, height, width, 3] by (half a cycle a pixel / frequency)^exponent."""
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    lowest = 1 / max(height, width)
    factors = ((np.hypot(down, across) + lowest) / 0.5) ** -exponent  # float64 [height, width // 2 + 1]

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def apply(picture: tf.Tensor) -> tf.Tensor:
        planes = tf.transpose(picture[0], (2, 0, 1))  # [3, height, width]
        spectrum = tf.signal.rfft2d(planes)  # complex [3, height, width // 2 + 1]
        planes = tf.signal.irfft2d(spectrum * tf.constant(factors, spectrum.dtype), (height, width))
        return tf.transpose(planes, (1, 2, 0))[None]

    return apply  # type: ignore[no-any-return]
