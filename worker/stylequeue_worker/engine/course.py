"""A recipe's descent at one scale: which rule, and by which views."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

import tensorflow as tf

from stylequeue.contract.recipe import ResolvedOptimizeRecipe

from .cells import View
from .descent import Evaluate, Evaluation, Iterate, Moments, adam, lbfgs
from .device import on_gpu
from .objective import Objective, Targets
from .safety import lenient, rolled_back, sound, strict
from .swift import swift
from .terms import Scene, Target, Weighing


@dataclass(frozen=True)
class Course:
    """A stage's descent: `steps` steps from `start`, [1, H, W, 3] in [0, 1] as the scene's content."""

    objective: Objective
    recipe: ResolvedOptimizeRecipe
    scene: Scene
    start: tf.Tensor
    steps: int
    weighings: Mapping[str, Weighing]
    """Of the terms that count at this stage, by name."""

    def descend(self, moments: Moments | None, taken: int, rate: float = 1.0) -> Iterator[Iterate]:
        """On from `taken` steps with Adam's `moments`, or from the start, at this share of the rule's rate.

        Pictures are as `start`, of its dtype.
        """
        objective, recipe, preset = self.objective, self.recipe, self.objective.preset
        views = objective.views(self.start)
        if recipe.optimizer == "lbfgs":
            # Its picture of the curvature holds only while the objective stays the same.
            return lbfgs(lenient(self._constant(views[0])), self.start)
        if recipe.optimizer == "swift":
            return swift(self._constant(views[0]), self.start, self.steps, taken, moments, rate)
        balance = recipe.content_weight / max(recipe.style_weight, _LEAST_WEIGHT)

        @cache
        def target(number: int, term: str) -> Target:
            """In one of the views; made when they first meet."""
            return objective.targets(self.scene, views[number], [term])[term]

        def turn(number: int, terms: Iterable[str]) -> tuple[Targets, View]:
            return {term: target(number, term) for term in terms}, views[number]

        plainness = objective.plainness(turn(0, self.weighings)[0])
        rule = preset.adam_at(self._longest_side_px, balance, plainness)
        is_paused = any(weighing.every > 1 for weighing in self.weighings.values())
        # What counts in every other step would meet half of the views; in every fourth, the first alone, whose targets
        # are then all that it wants.
        is_shared_out = any(1 < weighing.every < len(views) for weighing in self.weighings.values())
        is_steady = not (is_paused or self._falls)
        # Whoever looks at every step's loss needs every step; tiles are no compiled function.
        if on_gpu() and recipe.stop_when is None and not preset.best_kept and is_steady and objective.tile_px is None:
            weights, turns = self._weights(0), [turn(number, self.weighings) for number in range(len(views))]

            def in_calls(moments: Moments | None, rate: float) -> Iterator[Iterate]:
                left = self.steps - (moments.step if moments else 0)
                slower = replace(rule, learning_rate=rate * rule.learning_rate)
                return sound(objective.calls.descend(self.start, weights, turns, slower, left, moments))

            return rolled_back(in_calls, moments, rate)

        def one_by_one(moments: Moments | None, rate: float) -> Iterator[Iterate]:
            slower = replace(rule, learning_rate=rate * rule.learning_rate)
            step = itertools.count(moments.step if moments else 0)

            def evaluate(picture: tf.Tensor) -> Evaluation:
                number = next(step)
                weights = self._weights(number)
                turns = number + number // len(views) if is_shared_out else number
                targets, view = turn(turns % len(views), weights)
                return objective.evaluate(picture, targets, weights, view)

            return adam(strict(evaluate), self.start, slower, moments)

        return rolled_back(one_by_one, moments, rate)

    def lasting(self, evaluation: Evaluation) -> float:
        """The loss without what falls to nothing at this stage whatever becomes of the picture: a scale may end early
        where it stands still, and would not as long as a weight falls.
        """
        if self.recipe.optimizer != "adam" or not self._falls:
            return float(evaluation.total)
        lasting = {
            name: weighing.weight
            for name, weighing in self.weighings.items()
            if name in evaluation.terms and not weighing.falls
        }
        return float(tf.add_n([self._scalar(weight) * evaluation.terms[name] for name, weight in lasting.items()]))

    @property
    def _longest_side_px(self) -> int:
        return int(max(self.start.shape[1:3]))

    @property
    def _falls(self) -> bool:
        """Whether a term's weight falls to nothing."""
        return any(weighing.falls for weighing in self.weighings.values())

    def _scalar(self, value: float) -> tf.Tensor:
        """Of the picture's dtype."""
        return tf.constant(value, self.start.dtype)

    def _weights(self, step: int) -> dict[str, tf.Tensor]:
        """Of the terms that are looked at in a step of Adam's, from 0: scalars of the picture's dtype."""
        asked = {name: weighing.at(step, self.steps) for name, weighing in self.weighings.items()}
        weights = {name: self._scalar(weight) for name, weight in asked.items() if weight is not None}
        if not self.objective.preset.scaled:
            return weights
        whole = max(self.recipe.content_weight + self.recipe.style_weight, _LEAST_WEIGHT)
        scale = float(tf.size(self.start)) / whole
        return {term: scale * weight for term, weight in weights.items()}

    def _constant(self, view: View) -> Evaluate:
        """For rules that want the same loss in every step."""
        weights = {name: self._scalar(weighing.constant) for name, weighing in self.weighings.items()}
        targets = self.objective.targets(self.scene, view, self.weighings)
        return lambda picture: self.objective.evaluate(picture, targets, weights, view)


_LEAST_WEIGHT = 1e-6
