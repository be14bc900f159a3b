"""A recipe's descent at one scale: which rule, and by which views."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import tensorflow as tf

from stylequeue.contract.recipe import ResolvedOptimizeRecipe

from .descent import Evaluate, Iterate, Moments, adam, lbfgs
from .device import on_gpu
from .objective import TERMS, Objective, View, Wanted
from .safety import lenient, rolled_back, sound, strict
from .swift import swift


def weights_of(recipe: ResolvedOptimizeRecipe, dtype: tf.DType) -> dict[str, tf.Tensor]:
    """What each term of the loss counts: scalars."""
    return {term: tf.constant(getattr(recipe, f"{term}_weight"), dtype) for term in TERMS}


def descend(
    objective: Objective,
    recipe: ResolvedOptimizeRecipe,
    start: tf.Tensor,
    content: tf.Tensor,
    style: Sequence[Wanted],
    moments: Moments | None,
    steps: int,
    taken: int,
) -> Iterator[Iterate]:
    """The recipe's descent from `start`, or on with Adam's `moments`, where `taken` of the stage's `steps` are done.

    start, content: [1, H, W, 3] in [0, 1], both of the stage's size.
    """
    weights = weights_of(recipe, start.dtype)
    views = objective.views(start)

    def measured(view: View) -> Evaluate:
        target = objective.content_target(content, view)
        return lambda picture: objective.evaluate(picture, target, style, weights, view)

    if recipe.optimizer == "lbfgs":
        # Its picture of the curvature holds only while the objective stays the same.
        return lbfgs(lenient(measured(views[0])), start)
    if recipe.optimizer == "swift":
        return swift(measured(views[0]), start, steps, taken, moments)
    rule = objective.preset.adam_at(max(start.shape[1:3]))
    # Whoever looks at every step's loss needs every step; tiles are no compiled function.
    if on_gpu() and recipe.stop_when is None and not objective.preset.best_kept and objective.tile_px is None:
        turns = [(objective.content_target(content, view), view) for view in views]

        def in_calls(moments: Moments | None, rate: float) -> Iterator[Iterate]:
            left = steps - (moments.step if moments else 0)
            shared = tuple(style), weights
            return sound(objective.calls.descend(start, shared, turns, rate * rule.learning_rate, left, moments))

        return rolled_back(in_calls, moments)
    evaluates = [strict(measured(view)) for view in views]

    def one_by_one(moments: Moments | None, rate: float) -> Iterator[Iterate]:
        slower = replace(rule, learning_rate=rate * rule.learning_rate)
        turn = itertools.islice(itertools.cycle(evaluates), moments.step if moments else 0, None)
        return adam(lambda picture: next(turn)(picture), start, slower, moments)

    return rolled_back(one_by_one, moments)
