"""Optimised painting: a recipe's stages, from coarse to fine, and what is kept from one painting to the next."""

from __future__ import annotations

import gc
import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import tensorflow as tf

from stylequeue.contract.cost import Stage, scaled_sides, schedule
from stylequeue.contract.errors import CannotServe, Code, Permanent
from stylequeue.contract.memory import GPUS_GRID_PX, Plan
from stylequeue.contract.recipe import DEFAULT_PRESET, PRESETS, PoolingName, ResolvedOptimizeRecipe

from .available import available_bytes
from .course import Course
from .device import gpu_bytes_taken, on_gpu, rounds_float32
from .memory import Fitting, plan, smallest_bytes
from .networks import Vgg
from .objective import Objective
from .options import Options
from .pictures import floats, resize, scaled
from .position import Position
from .precision import fast_dtype
from .presets import Preset, preset_of
from .regions import Masks
from .safety import Standstill, TimeBudget
from .saliency import saliency
from .steps import Checkpoint, Cut, Step
from .summary import summary
from .terms import scene
from .tiling import TiledObjective
from .weights import sample_pictures


class Painter:
    """Paints with one network; what is compiled is kept for the next picture."""

    def __init__(self, network: Vgg, options: Options) -> None:
        self._network = network
        self._options = options
        self._networks: dict[tuple[tf.DType, PoolingName, bool], Vgg] = {}
        self._objectives: deque[Objective] = deque()
        # Before any plan of memory asks what is left.
        network.make_ready()

    def require_room(self) -> None:
        """Raises CannotServe where the memory at hand is not enough for the smallest painting."""
        needed = smallest_bytes(self._network, preset_of(PRESETS[DEFAULT_PRESET]))
        left = self._budget_bytes()
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
        kept: np.ndarray | None = None,
    ) -> Iterator[Step]:
        """As `Engine.paint`, for one step or more; `styles` with shares that sum to 1.

        kept: float32 [1, H, W, 1] in [0, 1] of the content's size: what of it is to be kept above all.

        `dtype` is the precision of picture and losses; of the network, too, unless the preset allows less.
        """
        preset = preset_of(recipe)
        if missing := preset.layers - set(self._network.layers):
            raise Permanent(
                Code.RECIPE_UNSUPPORTED,
                f"this worker's network has no layers {', '.join(sorted(missing))}",
                "take layers of VGG-16, or run `stylequeue models pull vgg19` on the worker",
            )
        # The line search of L-BFGS cannot tell bfloat16's noise from descent, as soon as little is left of that.
        reduced = recipe.optimizer == "swift" or (preset.reduced_precision and recipe.optimizer == "adam")
        options = self._options
        reduced_dtype = fast_dtype(options.precision) if reduced else dtype
        network = self._network_of(preset, reduced_dtype)
        rounded = rounds_float32(options, reduced=preset.reduced_precision)
        sides = [style.shape[1:3] for style, _ in styles]
        planned = plan(
            content.shape[1:3],
            sides,
            network,
            preset,
            recipe.optimizer,
            self._budget_bytes(),
            masks=sum(mask is not None for mask in masks or ()),
            kept=kept is not None,
        )
        at = Position.read(resume, dtype) if resume else Position.beginning()
        painting = _Painting(
            content=content,
            styles=styles,
            masks=masks,
            kept=kept,
            start=start,
            recipe=recipe,
            preset=preset,
            dtype=dtype,
            plan=planned,
            precision="tensorfloat32" if rounded and network.dtype == tf.float32 else network.dtype.name,
            fitting=Fitting(partial(self._objective, preset, network), planned.tile_px),
            budget=TimeBudget(recipe.time_budget_s, at.spent_s),
            stages=schedule(preset.scales, content.shape[1:3], recipe.steps),
        )
        yield from painting.steps(at)

    def saliency(self, content: np.ndarray) -> np.ndarray:
        """How much each pixel of a content, float32 [1, H, W, 3], stands out: float32 [1, H, W, 1] in [0, 1]."""
        return saliency(self._network, content)

    def _budget_bytes(self) -> int | None:
        """What a painting may take beside what is loaded; None: as much as it likes."""
        if on_gpu():
            limit_bytes = self._options.gpu_memory_bytes
            return None if limit_bytes is None else max(0, limit_bytes - gpu_bytes_taken())
        return self._options.memory_bytes or available_bytes()

    def _network_of(self, preset: Preset, dtype: tf.DType) -> Vgg:
        """Each kind once: its constants take as much memory as all that is compiled for an objective."""
        kind = (dtype, preset.pooling, preset.rescaled)
        if kind not in self._networks:
            network = self._network.pooled(preset.pooling)
            if preset.rescaled:
                network = network.rescaled(sample_pictures())
            network = network.cast(dtype)
            if on_gpu():
                network = network.on_grid(GPUS_GRID_PX, xla=self._options.xla)
            elif dtype == tf.bfloat16:
                network = network.on_grid(PROCESSORS_GRID_PX)
            self._networks[kind] = network
        return self._networks[kind]

    def _objective(self, preset: Preset, network: Vgg, tile_px: int | None) -> Objective:
        for kept in self._objectives:
            if (kept.preset, kept.network, kept.tile_px) == (preset, network, tile_px):
                # The first is the one that was not used for the longest time.
                self._objectives.remove(kept)
                self._objectives.append(kept)
                return kept
        if len(self._objectives) == _KEPT:
            self._objectives.popleft()
            # What was compiled for it refers to itself, and would stay until the collector came by.
            gc.collect()
        objective = TiledObjective(network, preset, tile_px) if tile_px else Objective(network, preset)
        self._objectives.append(objective)
        return objective


_MB = 1024**2
PROCESSORS_GRID_PX = 32
"""Of canvases in bfloat16 on a processor: oneDNN keeps megabytes for each new shape of a convolution; not in float32.
"""
_KEPT = 4
"""Objectives: any mixture of layers is one more."""


@dataclass(frozen=True)
class _Painting:
    """One painting: what all of its stages have in common."""

    content: np.ndarray
    styles: Sequence[tuple[np.ndarray, float]]
    masks: Masks | None
    kept: np.ndarray | None
    start: np.ndarray | None
    recipe: ResolvedOptimizeRecipe
    preset: Preset
    dtype: tf.DType
    plan: Plan
    precision: str
    fitting: Fitting
    budget: TimeBudget
    stages: Sequence[Stage]

    def steps(self, at: Position) -> Iterator[Step]:
        """On from `at`; where memory runs out, again from the last step that was taken, in smaller tiles."""
        number = at.number
        while number < len(self.stages):
            try:
                for position, step in self._stage(number, at):
                    at = position
                    yield step
                number += 1
            except Exception as error:
                self.fitting.fall_back(error, max(scaled_sides(self.content.shape[1:3], self.stages[number].scale)))

    def _stage(self, number: int, at: Position) -> Iterator[tuple[Position, Step]]:
        """The steps of a stage that are left; of the last stage, where none are, the one behind which `at` is."""
        stage = self.stages[number]
        before = at.taken if number == at.number else 0
        is_last = number == len(self.stages) - 1
        if before == stage.steps and not is_last:
            return
        objective = self.fitting.objective
        content = scaled(tf.constant(self.content, self.dtype), stage.scale)
        styles = [(scaled(tf.constant(floats(style), self.dtype), stage.scale), share) for style, share in self.styles]
        masks = self.masks and [
            mask if mask is None else scaled(tf.constant(mask), stage.scale).numpy() for mask in self.masks
        ]
        begun = at.begun if before else at.picture
        painted = scene(
            content,
            styles,
            masks,
            kept=None if self.kept is None else scaled(tf.constant(self.kept, self.dtype), stage.scale),
            start=None if begun is None else resize(tf.constant(begun, self.dtype), *content.shape[1:3]),
        )
        summarise = partial(summary, self.fitting, self.precision, painted)
        if before == stage.steps:
            yield at, at.step(self.recipe.steps, {}, 1.0, summarise)
            return
        picture = self._first(content.numpy()) if at.picture is None else at.picture
        start = resize(tf.constant(picture, self.dtype), *content.shape[1:3])
        moments = at.moments if before else None
        scales = [each.scale for each in self.stages[number:]]
        weighings = self.preset.weighings(self.recipe, self.content.shape[1:3], scales)
        course = Course(objective, self.recipe, painted, start, stage.steps, weighings)
        descent = course.descend(moments, before, at.rate if before else 1.0)
        standstill = Standstill(self.recipe.stop_when, at.totals if before else ())
        best = at.best if before else math.inf
        taken = before
        for iterate in itertools.islice(descent, stage.steps - before):
            # Steps that were rolled back count, too.
            steps = min(iterate.steps, stage.steps - taken)
            taken += steps
            total = float(iterate.evaluation.total)
            picture = iterate.picture
            if self.preset.best_kept:
                picture, best = (picture, total) if total < best else (at.picture, best)
            cut: Cut | None = None
            # Each stage has its part of the time, so that even the shortest ends with a picture of full size.
            if self.budget.is_past(self._done(number, stage.steps)):
                cut = "time_budget"
            elif standstill.reached(course.lasting(iterate.evaluation)):
                cut = "stop_when"
            at = Position(
                number=number,
                taken=stage.steps if cut else taken,
                done=at.done + steps,
                picture=picture,
                best=best,
                moments=iterate.moments,
                spent_s=self.budget.spent_s,
                cut=cut or at.cut,
                begun=begun if self.preset.besides else None,
                rate=iterate.rate,
                totals=standstill.totals,
            )
            losses = {term: float(loss) for term, loss in iterate.evaluation.terms.items()}
            step = at.step(self.recipe.steps, losses, self._done(number, taken), summarise)
            yield at, replace(step, plan=replace(self.plan, tile_px=self.fitting.tile_px))
            if at.taken == stage.steps:
                return

    def _done(self, number: int, taken: int) -> float:
        """Share of the arithmetic done after so many steps of a stage."""
        stage = self.stages[number]
        worked = sum(before.work for before in self.stages[:number]) + stage.work * taken / stage.steps
        return worked / sum(each.work for each in self.stages)

    def _first(self, content: np.ndarray) -> np.ndarray:
        """What the first stage paints over, float [1, H, W, 3] in [0, 1] of any size."""
        match self.recipe.init:
            case "content":
                return content
            case "style":
                return floats(self.styles[0][0])
            case "noise":
                return np.random.default_rng(self.recipe.seed).uniform(size=content.shape)
            case "image":
                if self.start is None:
                    raise ValueError("init 'image' needs a picture to start from")
                return self.start
