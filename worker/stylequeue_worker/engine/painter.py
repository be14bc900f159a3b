"""Optimised painting: recipe -> schedule of scales -> steps."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import tensorflow as tf

from stylequeue.contract.errors import CannotServe, Code, Permanent
from stylequeue.contract.recipe import PRESETS, ResolvedOptimizeRecipe

from .course import descend, weights_of
from .memory import FittingObjective, available_bytes, plan, smallest_bytes
from .networks import Vgg, fast_dtype
from .objective import TERMS, View, Wanted
from .pictures import resize, scaled, ssim
from .position import Position
from .presets import Preset, preset_of
from .regions import Masks
from .safety import Standstill, TimeBudget
from .schedule import schedule
from .steps import Checkpoint, Cut, Step, Summary
from .tiling import spans
from .weights import sample_pictures


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
            descent = descend(objective, recipe, start_now, content_now, style, moments, stage.steps, before)
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
        picture, objective.content_target(content, view), style, weights_of(recipe, picture.dtype), view
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
