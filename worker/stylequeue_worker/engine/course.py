"""A recipe's descent at one scale: which rule, by which views, and how many steps a call."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import tensorflow as tf

from stylequeue.contract.recipe import ResolvedOptimizeRecipe

from .descent import Evaluate, Iterate, Moments, adam, adam_in_calls, lbfgs
from .device import on_gpu
from .memory import FittingObjective
from .objective import TERMS, View, Wanted
from .safety import lenient, rolled_back, sound, strict
from .swift import swift

_STEPS_A_CALL = 10
"""On a GPU: at small sizes it paints a step in the time that Python takes between two."""


def weights_of(recipe: ResolvedOptimizeRecipe, dtype: tf.DType) -> dict[str, tf.Tensor]:
    """What each term of the loss counts."""
    return {term: tf.constant(getattr(recipe, f"{term}_weight"), dtype) for term in TERMS}


def descend(
    objective: FittingObjective,
    recipe: ResolvedOptimizeRecipe,
    start: tf.Tensor,
    content: tf.Tensor,
    style: Sequence[Wanted],
    moments: Moments | None,
    steps: int,
    taken: int,
) -> Iterator[Iterate]:
    """The recipe's descent from `start`, or on with Adam's `moments`, all pictures at the same scale."""
    weights = weights_of(recipe, start.dtype)

    def measured(view: View) -> Evaluate:
        target = objective.content_target(content, view)
        return lambda picture: objective.evaluate(picture, target, style, weights, view)

    views = objective.views(start)
    if recipe.optimizer == "lbfgs":
        # Its picture of the curvature holds only while the objective stays the same.
        return lbfgs(lenient(measured(views[0])), start)
    if recipe.optimizer == "swift":
        return swift(measured(views[0]), start, steps, taken, moments)
    turns = [measured(view) for view in views]
    rule = objective.preset.adam_at(max(start.shape[1:3]))
    # Whoever looks at every step's loss needs every step.
    probe = None
    if on_gpu() and recipe.stop_when is None and not objective.preset.best_kept:
        # Where memory does not suffice, the objective falls back to tiles here, which are no compiled function.
        evaluation = turns[0](start)
        probe = evaluation if objective.tile_px is None else None

    def onwards(moments: Moments | None, rate: float) -> Iterator[Iterate]:
        slower = replace(rule, learning_rate=rate * rule.learning_rate)
        done = moments.step if moments else 0
        if probe is not None:
            return sound(adam_in_calls(turns, start, slower, _STEPS_A_CALL, steps - done, probe, moments))
        turn = itertools.islice(itertools.cycle(map(strict, turns)), done, None)
        return adam(lambda picture: next(turn)(picture), start, slower, moments)

    return rolled_back(onwards, moments)
