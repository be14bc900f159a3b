"""What is minimised: the weighted sum of a preset's terms, and its gradient to the picture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import tensorflow as tf

from .cells import Here, Raster, View, own_cells, raster_of
from .descent import AdamCalls, Evaluation
from .networks import Vgg
from .presets import Preset
from .programs import Program
from .terms import Look, Measured, Scene, Style, Target, Term

_Measured = TypeVar("_Measured")
"""A nested structure of tensors."""

TERMS = ("content", "style", "variation")
"""Of every preset; their weights are the recipe's."""

Targets = Mapping[str, Target]
"""By term."""


class Objective:
    """A preset's loss on a network. Compiled once for pictures of all sizes; targets are arguments.

    Shapes: a picture is [1, H, W, 3], what is laid of it [1, H', W', 3], features are [1, h, w, channels], in the
    network's dtype; a mask is [1, H, W, 1]. Losses are scalars of the picture's dtype, float32 or float64.
    """

    tile_px: int | None = None
    """Side of the tiles it is taken in; None: it is taken whole."""

    def __init__(self, network: Vgg, preset: Preset) -> None:
        self.network = network
        self.preset = preset
        self.terms: Mapping[str, Term] = {term.name: term for term in preset.terms()}
        self._compiled = Program(self._evaluate)
        self.calls = AdamCalls(self._evaluate_turn, preset.adam)

    def evaluate(
        self, picture: tf.Tensor, targets: Targets, weights: Mapping[str, tf.Tensor], view: View
    ) -> Evaluation:
        """The weighted sum of those terms that have a weight and its gradient, at `picture` as `view` lays it.

        picture: [1, H, W, 3], of the dtype in which losses are taken; weights: scalars.
        """
        # One program for each mixture of terms: what is not looked at is no argument.
        wanted = {name: targets[name] for name in weights}
        evaluation: Evaluation = self._compiled(picture, wanted, dict(weights), view)
        return evaluation

    def views(self, picture: tf.Tensor) -> list[View]:
        """The preset's ways of laying a picture of this size [1, H, W, 3] before the network."""
        margin_px = self.preset.margin_px
        reach_px = max(max(shift) for shift in self.preset.shifts_px)
        while margin_px + reach_px >= min(picture.shape[1:3]):
            margin_px //= 2
        return [
            tf.constant([(0, 0), *((margin_px + shift, margin_px - shift) for shift in shifts), (0, 0)])
            for shifts in self.preset.shifts_px
        ]

    def targets(self, scene: Scene, view: View, terms: Collection[str] | None = None) -> dict[str, Target]:
        """What `evaluate` wants, of that view; of all terms, unless some are named. Raises Permanent(NOT_FINITE)."""
        return {
            name: term.target(scene, view, self.see)
            for name, term in self.terms.items()
            if terms is None or name in terms
        }

    def see(
        self, look: Look, picture: tf.Tensor, view: View | None = None, masks: Sequence[tf.Tensor | None] = (None,)
    ) -> dict[str, Measured]:
        """What a look measures of a whole picture [1, H, W, 3], by layer; `view`: the picture's first, unless given.

        masks: each [1, H, W, 1] of the picture's size and dtype.
        """
        laid_by = self.views(picture)[0] if view is None else view
        [measured] = self._measured([look], picture, [None], masks, laid_by)
        return measured

    def style_distances(
        self, picture: tf.Tensor, targets: Targets, masks: Sequence[tf.Tensor | None]
    ) -> dict[str, tf.Tensor]:
        """How far the picture [1, H, W, 3] is from the style at each layer, of all regions by their shares: scalars."""
        style = self.terms["style"]
        assert isinstance(style, Style)  # noqa: S101 - for the type alone
        return style.distances(self.see(style, picture, masks=masks), targets["style"])

    @staticmethod
    def plainness(targets: Targets) -> float:
        """Of the styles, as `Style.plainness` has it."""
        return Style.plainness(targets.get("style", ()))

    def losses_at(self, picture: tf.Tensor, targets: Targets, view: View) -> dict[str, tf.Tensor]:
        """Of all terms with a target, without weights, at `picture` [1, H, W, 3] as `view` lays it; not compiled."""
        names = list(targets)
        looks = [self.terms[name] for name in names]
        measured = self._measured(looks, picture, [targets[name] for name in names], masks_in(targets), view)
        return self.losses(picture, dict(zip(names, measured, strict=True)), targets)

    def losses(
        self, picture: tf.Tensor, measured: Mapping[str, Mapping[str, Measured]], targets: Targets
    ) -> dict[str, tf.Tensor]:
        """Of the terms that were measured, without weights: scalars. picture: [1, H, W, 3]."""
        return {name: self.terms[name].loss(picture, measured[name], targets[name]) for name in measured}

    def _measured(
        self,
        looks: Sequence[Look],
        picture: tf.Tensor,
        targets: Sequence[Target],
        masks: Sequence[tf.Tensor | None],
        view: View,
    ) -> list[dict[str, Measured]]:
        """What each look measures of the whole picture [1, H, W, 3], by layer; masks: each [1, H, W, 1]."""
        laid = tf.pad(picture, view, "REFLECT")  # [1, H', W', 3]
        seen = [None if mask is None else tf.pad(mask, view, "REFLECT") for mask in masks]
        here = Here({raster.key: own_cells(raster, laid, view) for raster in rasters(looks)}, None, seen)
        return self._looked(looks, laid, here, targets)

    def _looked(
        self, looks: Sequence[Look], seen: tf.Tensor, here: Here, targets: Sequence[Target]
    ) -> list[dict[str, Measured]]:
        """What each look measures of what the network sees, [1, H', W', 3], by layer."""
        found: list[dict[str, Measured]] = [{} for _ in looks]

        def tap(layer: str, features: tf.Tensor) -> tf.Tensor:
            looking = [number for number, look in enumerate(looks) if layer in look.layers]

            def measure(whole: tf.Tensor) -> list[Measured]:
                return [looks[number].measure(layer, whole, here, targets[number]) for number in looking]

            features, measured = aside(measure, features)
            for number, value in zip(looking, measured, strict=True):
                found[number][layer] = value
            return features

        if layers := {layer for look in looks for layer in look.layers}:
            self.network.features(seen, layers, tap)
        return found

    def _evaluate_turn(
        self, picture: tf.Tensor, weights: Mapping[str, tf.Tensor], turn: tuple[Targets, View]
    ) -> Evaluation:
        """As `evaluate`, within a compiled function."""
        targets, view = turn
        return self._evaluate(picture, targets, weights, view)

    def _evaluate(
        self, picture: tf.Tensor, targets: Targets, weights: Mapping[str, tf.Tensor], view: View
    ) -> Evaluation:
        """As `evaluate`, to be compiled."""
        with tf.GradientTape() as tape:
            tape.watch(picture)
            terms = self.losses_at(picture, targets, view)
            total = tf.add_n([weights[name] * terms[name] for name in weights])
        gradient = tape.gradient(total, picture)
        # A slice's has lost how many channels there are.
        return Evaluation(total, tf.ensure_shape(gradient, picture.shape), terms)


def masks_in(targets: Targets) -> list[tf.Tensor | None]:
    """The regions' masks, each [1, H, W, 1]."""
    return [region.get("mask") for region in targets["style"]] if "style" in targets else [None]


def rasters(looks: Sequence[Look]) -> set[Raster]:
    """All that the looks' maps and statistics lie on."""
    return {look.raster(layer) or raster_of(layer) for look in looks for layer in look.layers} | {
        raster_of(layer) for look in looks for layer in look.layers
    }


def aside(measure: Callable[[tf.Tensor], _Measured], features: tf.Tensor) -> tuple[tf.Tensor, _Measured]:
    """`features` to go on with, and `measure(features)`, whose gradient is left until that of all the rest is there.

    features: [1, h, w, channels].

    Else TensorFlow takes every layer's as soon as the loss is known, and keeps them all until their layer's turn.
    """
    structure: list[_Measured] = []

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def both(features: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable[..., tf.Tensor]]:
        measured = measure(features)
        structure[:] = [measured]

        def gradient(onwards: tf.Tensor, *upstream: tf.Tensor) -> tf.Tensor:
            with tf.control_dependencies([onwards]):
                late = tf.identity(features)
            with tf.GradientTape() as tape:
                tape.watch(late)
                # Written again, not done again: what no gradient needs of it is left out.
                values = tf.nest.flatten(measure(late))
            return onwards + tape.gradient(values, late, output_gradients=list(upstream))

        return (tf.identity(features), *tf.nest.flatten(measured)), gradient

    onwards, *values = both(features)
    return onwards, tf.nest.pack_sequence_as(structure[0], values)
