"""Optimised painting: recipe -> schedule of scales -> steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from stylequeue.job import PresetName, ResolvedOptimizeRecipe

from .descent import Evaluate, Evaluation, Iterate, Moments, adam, lbfgs
from .engine import State, Step
from .networks import Vgg, fast_dtype
from .objective import TERMS, Objective, View, require_finite
from .pictures import resize, scaled
from .presets import PRESETS, Preset

_MIN_SCALED_SIDE_PX = 64
"""Of the shorter side: coarser stages hold too little of the content to be worth a step."""


@dataclass(frozen=True)
class Stage:
    """Steps at one scale."""

    scale: float
    steps: int


def schedule(preset: Preset, short_side_px: int, steps: int) -> list[Stage]:
    """`steps` shared out among the preset's scales, coarse to fine; the last has the output's size.

    Scales whose shorter side would be too small are left out, and the coarsest where there are fewer steps than scales.
    """
    scales = [s for s in preset.scales if s.size == 1 or short_side_px * s.size >= _MIN_SCALED_SIDE_PX][-steps:]
    whole = sum(scale.steps for scale in scales)
    stages = [Stage(scale.size, max(1, int(steps * scale.steps / whole))) for scale in scales[:-1]]
    return [*stages, Stage(scales[-1].size, steps - sum(stage.steps for stage in stages))]


@dataclass(frozen=True)
class Position:
    """How far a painting is: `taken` steps of stage `number`, the picture then, and Adam's memory."""

    number: int
    taken: int
    picture: tf.Tensor
    moments: Moments | None

    def state(self) -> State:
        """As plain arrays."""
        parts = {"stage": np.array(self.number), "taken": np.array(self.taken), "picture": self.picture.numpy()}
        if self.moments:
            parts |= {f"adam_{name}": np.asarray(value) for name, value in self.moments._asdict().items()}
        return parts

    @classmethod
    def read(cls, state: State, dtype: tf.DType) -> Position:
        """From `state`."""
        moments = None
        if "adam_step" in state:
            arrays = {name: tf.constant(state[f"adam_{name}"], dtype) for name in Moments._fields if name != "step"}
            moments = Moments(step=int(state["adam_step"]), **arrays)
        return cls(int(state["stage"]), int(state["taken"]), tf.constant(state["picture"], dtype), moments)


def _steps_before(left_off: Position | None, number: int, stage: Stage) -> int:
    """How many steps of a stage were taken before the painting left off."""
    if left_off is None or number > left_off.number:
        return 0
    return left_off.taken if number == left_off.number else stage.steps


class Painter:
    """Paints with one network; what is compiled is kept for the next picture."""

    def __init__(self, network: Vgg) -> None:
        self._network = network
        self._objectives: dict[tuple[PresetName, tf.DType], Objective] = {}

    def paint(
        self,
        content: np.ndarray,
        styles: Sequence[tuple[np.ndarray, float]],
        recipe: ResolvedOptimizeRecipe,
        dtype: tf.DType = tf.float32,
        resume: State | None = None,
    ) -> Iterator[Step]:
        """As `Engine.paint`, for one step or more; `styles` with shares that sum to 1.

        `dtype` is the precision of picture and losses; of the network, too, unless the preset allows less.
        """
        preset = PRESETS[recipe.preset]
        # The line search of L-BFGS cannot tell bfloat16's noise from descent.
        reduced = preset.reduced_precision and recipe.optimizer == "adam"
        objective = self._objective(recipe.preset, fast_dtype() if reduced else dtype)
        left_off = Position.read(resume, dtype) if resume else None
        picture = left_off.picture if left_off else None
        done = 0
        worked = 0.0
        stages = schedule(preset, min(content.shape[1:3]), recipe.steps)
        work = sum(stage.steps * stage.scale**2 for stage in stages)
        for number, stage in enumerate(stages):
            before = _steps_before(left_off, number, stage)
            done, worked = done + before, worked + before * stage.scale**2
            if before == stage.steps:
                continue
            content_now = scaled(tf.constant(content, dtype), stage.scale)
            styles_now = [(scaled(tf.constant(style, dtype), stage.scale), share) for style, share in styles]
            start = content_now if picture is None else resize(picture, *content_now.shape[1:3])
            moments = left_off.moments if left_off and before else None
            descent = _descend(objective, recipe, start, content_now, styles_now, moments)
            for taken, iterate in enumerate(itertools.islice(descent, stage.steps - before), before + 1):
                picture, done, worked = iterate.picture, done + 1, worked + stage.scale**2
                losses = {term: float(iterate.evaluation.terms[term]) for term in TERMS}
                size_px = max(picture.shape[1:3])
                shown = np.asarray(picture, np.float32)
                position = Position(number, taken, picture, iterate.moments)
                yield Step(done, recipe.steps, size_px, losses, min(worked / work, 1.0), shown, position.state)

    def _objective(self, preset: PresetName, dtype: tf.DType) -> Objective:
        if (preset, dtype) not in self._objectives:
            self._objectives[preset, dtype] = Objective(self._network.cast(dtype), PRESETS[preset])
        return self._objectives[preset, dtype]


def _descend(
    objective: Objective,
    recipe: ResolvedOptimizeRecipe,
    start: tf.Tensor,
    content: tf.Tensor,
    styles: Sequence[tuple[tf.Tensor, float]],
    moments: Moments | None,
) -> Iterator[Iterate]:
    """The recipe's descent from `start`, or on with Adam's `moments`, all pictures at the same scale."""
    style = objective.style_target(styles)
    weights = {term: tf.constant(getattr(recipe, f"{term}_weight"), start.dtype) for term in TERMS}

    def measured(view: View) -> Evaluate:
        target = objective.content_target(content, view)
        return lambda picture: _sound(objective.evaluate(picture, target, style, weights, view))

    views = objective.views(start)
    if recipe.optimizer == "lbfgs":
        # Its picture of the curvature holds only while the objective stays the same.
        return lbfgs(measured(views[0]), start)
    turns = itertools.islice(itertools.cycle([measured(view) for view in views]), moments.step if moments else 0, None)
    return adam(lambda picture: next(turns)(picture), start, objective.preset.adam, moments)


def _sound(evaluation: Evaluation) -> Evaluation:
    require_finite(evaluation.total, evaluation.gradient)
    return evaluation
