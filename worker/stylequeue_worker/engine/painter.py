"""Optimised painting: recipe -> schedule of scales -> steps."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import tensorflow as tf

from stylequeue.contract.errors import CannotServe, Code, Permanent
from stylequeue.contract.recipe import PRESETS, ResolvedOptimizeRecipe

from .descent import Evaluate, Iterate, Moments, adam, adam_in_calls, lbfgs
from .device import on_gpu
from .engine import Checkpoint, Cut, Step, Summary
from .memory import FittingObjective, available_bytes, plan, smallest_bytes
from .networks import Vgg, fast_dtype, sample_pictures
from .objective import TERMS, View, Wanted
from .pictures import resize, scaled, ssim
from .presets import Preset, preset_of
from .regions import Masks
from .safety import Standstill, TimeBudget, lenient, rolled_back, sound, strict
from .swift import swift
from .tiling import spans

_MIN_SCALED_SIDES_PX = 64, 120
"""Of the shorter and the longer side: coarser stages lose faces, and hold too little of the content to be worth a step.
"""


@dataclass(frozen=True)
class Stage:
    """Steps at one scale."""

    scale: float
    steps: int

    @property
    def work(self) -> float:
        """Its arithmetic, in steps at full size."""
        return self.steps * self.scale**2


def schedule(preset: Preset, sides_px: Sequence[int], steps: int) -> list[Stage]:
    """`steps` shared out among the preset's scales, coarse to fine; the last has the output's size.

    Scales with too small a side are left out, and the coarsest where there are fewer steps than scales.
    """
    least = max(least_px / side_px for least_px, side_px in zip(_MIN_SCALED_SIDES_PX, sorted(sides_px), strict=True))
    scales = [scale for scale in preset.scales if scale.size == 1 or scale.size >= least][-steps:]
    whole = sum(scale.steps for scale in scales)
    stages = [Stage(scale.size, max(1, int(steps * scale.steps / whole))) for scale in scales[:-1]]
    return [*stages, Stage(scales[-1].size, steps - sum(stage.steps for stage in stages))]


@dataclass(frozen=True)
class Position:
    """How far a painting is: `taken` steps of stage `number`, `done` over all; the picture then, and Adam's memory."""

    number: int
    taken: int
    done: int
    picture: tf.Tensor | None
    moments: Moments | None
    spent_s: float
    best: float
    """The least loss at this stage; followed only where the preset keeps the picture that had it."""
    cut: Cut | None
    """What ended a stage early so far."""

    def step(
        self, steps: int, losses: Mapping[str, float], share: float, summarise: Callable[[np.ndarray], Summary]
    ) -> Step:
        """As it is shown, `share` of the arithmetic done."""
        shown = np.asarray(self.picture, np.float32)
        size_px = max(shown.shape[1:3])
        return Step(
            self.done,
            steps,
            size_px,
            losses,
            share,
            shown,
            save=self.state,
            cut=self.cut,
            summarise=partial(summarise, shown),
        )

    def state(self) -> Checkpoint:
        """As plain arrays."""
        plain = {name: getattr(self, name) for name in ("number", "taken", "done", "spent_s", "best")}
        parts = {name: np.array(value) for name, value in plain.items()}
        parts |= {"picture": np.asarray(self.picture), "cut": np.array(self.cut or "")}
        if self.moments:
            parts |= {f"adam_{name}": np.asarray(value) for name, value in self.moments._asdict().items()}
        return parts

    @classmethod
    def read(cls, state: Checkpoint, dtype: tf.DType) -> Position:
        """From `state`."""
        moments = None
        if "adam_step" in state:
            arrays = {name: tf.constant(state[f"adam_{name}"], dtype) for name in Moments._fields if name != "step"}
            moments = Moments(step=int(state["adam_step"]), **arrays)
        return cls(
            number=int(state["number"]),
            taken=int(state["taken"]),
            done=int(state["done"]),
            picture=tf.constant(state["picture"], dtype),
            moments=moments,
            spent_s=float(state["spent_s"]),
            best=float(state["best"]),
            cut=cast("Cut | None", str(state["cut"]) or None),
        )


class Painter:
    """Paints with one network; what is compiled is kept for the next picture."""

    def __init__(self, network: Vgg, memory_budget_bytes: int | None = None) -> None:
        """Without a budget, a CPU's painting may take most of the memory that is available when it begins."""
        self._network = network
        self._memory_budget_bytes = memory_budget_bytes
        self._objectives: deque[FittingObjective] = deque(maxlen=_KEPT)

    def require_room(self) -> None:
        """Raises CannotServe where the memory at hand is not enough for the smallest painting."""
        needed = smallest_bytes(self._network, preset_of(PRESETS["painterly"]))
        left = self._memory_budget_bytes or available_bytes()
        if left is not None and left < needed:
            raise CannotServe(
                Code.INSUFFICIENT_MEMORY,
                f"the smallest painting takes {needed / _MB:.0f} MB, and {left / _MB:.0f} MB are left on this machine",
                "give the worker more memory; docs/operations.md says how much pictures take",
            )

    def paint(
        self,
        content: np.ndarray,
        styles: Sequence[tuple[np.ndarray, float]],
        recipe: ResolvedOptimizeRecipe,
        dtype: tf.DType = tf.float32,
        resume: Checkpoint | None = None,
        start: np.ndarray | None = None,
        masks: Masks | None = None,
    ) -> Iterator[Step]:
        """As `Engine.paint`, for one step or more; `styles` with shares that sum to 1.

        `dtype` is the precision of picture and losses; of the network, too, unless the preset allows less.
        """
        preset = preset_of(recipe)
        if missing := {*preset.content_layers, *preset.style_layers} - set(self._network.layers):
            raise Permanent(
                Code.RECIPE_UNSUPPORTED,
                f"this worker's network has no layers {', '.join(sorted(missing))}",
                "take layers of VGG-16, or run `stylequeue models pull vgg19` on the worker",
            )
        # The line search of L-BFGS cannot tell bfloat16's noise from descent, as soon as little is left of that.
        reduced = recipe.optimizer == "swift" or (preset.reduced_precision and recipe.optimizer == "adam")
        network = self._network.cast(fast_dtype() if reduced else dtype)
        sides = [picture.shape[1:3] for picture in (content, *(style for style, _ in styles))]
        planned = plan(sides, network, preset, self._memory_budget_bytes or available_bytes())
        objective = self._objective(preset, network.dtype, planned.tile_px)
        left_off = Position.read(resume, dtype) if resume else None
        at = left_off or Position(
            number=0, taken=0, done=0, picture=None, moments=None, spent_s=0, best=math.inf, cut=None
        )
        budget = TimeBudget(recipe.time_budget_s, at.spent_s)
        stages = schedule(preset, content.shape[1:3], recipe.steps)
        work = sum(stage.work for stage in stages)
        for number, stage in enumerate(stages):
            before = at.taken if number == at.number else 0
            if number < at.number or (before == stage.steps and number < len(stages) - 1):
                continue
            worked = sum(stage.work for stage in stages[:number])
            # Each stage has its part of the time, so that even the shortest ends with a picture of full size.
            time_share = (worked + stage.work) / work
            content_now = scaled(tf.constant(content, dtype), stage.scale)
            styles_now = [(scaled(tf.constant(style, dtype), stage.scale), share) for style, share in styles]
            first = _first(recipe, content_now.numpy(), styles[0][0], start) if at.picture is None else at.picture
            start_now = resize(tf.constant(first, dtype), *content_now.shape[1:3])
            standstill = Standstill(recipe.stop_when)
            moments = at.moments if before else None
            masks_now = masks and [
                mask if mask is None else scaled(tf.constant(mask), stage.scale).numpy() for mask in masks
            ]
            style = objective.style_target(styles_now, masks_now)
            summarise = partial(_summary, objective, recipe, content_now, style)
            descent = _descend(objective, recipe, start_now, content_now, style, moments, stage.steps, before)
            best = at.best if before else math.inf
            taken = before
            for iterate in itertools.islice(descent, stage.steps - before):
                # Steps that were rolled back count, too.
                steps = min(iterate.steps, stage.steps - taken)
                taken += steps
                total = float(iterate.evaluation.total)
                picture = iterate.picture
                if preset.best_kept:
                    picture, best = (picture, total) if total < best else (at.picture, best)
                cut: Cut | None = None
                if budget.is_past(time_share):
                    cut = "time_budget"
                elif standstill.reached(total):
                    cut = "stop_when"
                at = Position(
                    number=number,
                    taken=stage.steps if cut else taken,
                    done=at.done + steps,
                    picture=picture,
                    best=best,
                    moments=iterate.moments,
                    spent_s=budget.spent_s,
                    cut=cut or at.cut,
                )
                losses = {term: float(iterate.evaluation.terms[term]) for term in TERMS}
                step = at.step(recipe.steps, losses, (worked + stage.work * taken / stage.steps) / work, summarise)
                yield replace(step, plan=replace(planned, tile_px=objective.tile_px))
                if at.taken == stage.steps:
                    break
            if left_off is at:
                # It had left off behind its last step.
                yield at.step(recipe.steps, {}, 1.0, summarise)

    def _objective(self, preset: Preset, dtype: tf.DType, tile_px: int | None) -> FittingObjective:
        for kept in self._objectives:
            if (kept.preset, kept.network.dtype, kept.tile_px) == (preset, dtype, tile_px):
                return kept
        network = self._network.pooled(preset.pooling)
        if preset.rescaled:
            network = network.rescaled(sample_pictures())
        objective = FittingObjective(network.cast(dtype), preset, tile_px)
        self._objectives.append(objective)
        return objective


_MB = 1024**2
_STEPS_A_CALL = 10
"""On a GPU: at small sizes it paints a step in the time that Python takes between two."""
_KEPT = 4
"""Objectives: any mixture of layers is one more."""


def _first(
    recipe: ResolvedOptimizeRecipe, content: np.ndarray, style: np.ndarray, start: np.ndarray | None
) -> np.ndarray:
    """What the first stage paints over, of any size."""
    match recipe.init:
        case "content":
            return content
        case "style":
            return style
        case "noise":
            return np.random.default_rng(recipe.seed).uniform(size=content.shape)
        case "image":
            if start is None:
                raise ValueError("init 'image' needs a picture to start from")
            return start


def _summary(
    objective: FittingObjective,
    recipe: ResolvedOptimizeRecipe,
    content: tf.Tensor,
    style: Sequence[Wanted],
    shown: np.ndarray,
) -> Summary:
    """Of the picture shown, which an average or the best kept makes another than the one evaluated last."""
    picture = tf.constant(shown, content.dtype)
    view = objective.views(picture)[0]
    evaluation = objective.evaluate(
        picture, objective.content_target(content, view), style, _weights(recipe, picture.dtype), view
    )
    statistics = objective.statistics(picture, view, [wanted.mask for wanted in style])
    painted = sum(float(wanted.share) for wanted in style)
    return Summary(
        losses={term: float(loss) for term, loss in evaluation.terms.items()},
        style_distances={
            layer: float(distance) / painted for layer, distance in objective.style_distances(statistics, style).items()
        },
        ssim=ssim(shown, content.numpy()),
        precision=objective.network.dtype.name,
        tiles=_tiles(objective.tile_px, picture, view),
    )


def _tiles(tile_px: int | None, picture: tf.Tensor, view: View) -> int:
    if tile_px is None:
        return 1
    sides_px = np.array(picture.shape[1:3]) + view.numpy()[1:3].sum(axis=1)
    return math.prod(len(spans(int(side_px), tile_px, 0)) for side_px in sides_px)


def _weights(recipe: ResolvedOptimizeRecipe, dtype: tf.DType) -> dict[str, tf.Tensor]:
    return {term: tf.constant(getattr(recipe, f"{term}_weight"), dtype) for term in TERMS}


def _descend(
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
    weights = _weights(recipe, start.dtype)

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

    def descend(moments: Moments | None, rate: float) -> Iterator[Iterate]:
        slower = replace(rule, learning_rate=rate * rule.learning_rate)
        done = moments.step if moments else 0
        if probe is not None:
            return sound(adam_in_calls(turns, start, slower, _STEPS_A_CALL, steps - done, probe, moments))
        turn = itertools.islice(itertools.cycle(map(strict, turns)), done, None)
        return adam(lambda picture: next(turn)(picture), start, slower, moments)

    return rolled_back(descend, moments)
