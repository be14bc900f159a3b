"""What is minimised: the weighted sum of content, style and variation, and its gradient to the picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

import tensorflow as tf

from .descent import AdamCalls, Evaluation
from .losses import Statistics, mixture
from .networks import Vgg, stride_px
from .presets import Preset
from .regions import Masks, regions
from .safety import is_finite, not_finite

TERMS = ("content", "style", "variation")

View: TypeAlias = tf.Tensor
"""How a picture is laid before the network: paddings, int32 [4, 2] as `tf.pad` takes them."""

_Measured = TypeVar("_Measured")
"""A nested structure of tensors."""


class Wanted(NamedTuple):
    """The style that a region should have."""

    target: Mapping[str, Statistics]
    """By layer."""
    mask: tf.Tensor | None
    """[1, H, W, 1] in [0, 1]: how much each pixel belongs to the region; None: wholly."""
    share: tf.Tensor
    """Of the region in the picture: how much its style counts."""


_KEPT_STYLES = 24
"""Statistics of one take 3 MB; a painting needs one for each style and scale."""


class Objective:
    """A preset's loss on a network. Compiled once for pictures of all sizes; targets are arguments.

    Shapes: a picture is [1, H, W, 3], what is laid of it [1, H', W', 3], features are [1, h, w, channels].
    """

    tile_px: int | None = None
    """Side of the tiles it is taken in; None: it is taken whole."""

    def __init__(self, network: Vgg, preset: Preset) -> None:
        self.network = network
        self.preset = preset
        # Here as everywhere without autograph, which nothing needs: it writes files that a child that is killed leaves.
        self._compiled = tf.function(self._evaluate, reduce_retracing=True, autograph=False)
        self.calls = AdamCalls(self._evaluate_turn, preset.adam, TERMS)
        self._styles: dict[bytes, dict[str, Statistics]] = {}

    def evaluate(
        self,
        picture: tf.Tensor,
        content: Mapping[str, tf.Tensor],
        style: Sequence[Wanted],
        weights: Mapping[str, tf.Tensor],
        view: View,
    ) -> Evaluation:
        """The weighted sum of the terms and its gradient, at `picture` as `view` lays it."""
        evaluation: Evaluation = self._compiled(picture, content, style, weights, view)
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

    def extract(
        self,
        picture: tf.Tensor,
        layers: Collection[str],
        view: View,
        tap: Callable[[str, tf.Tensor], tf.Tensor] | None = None,
    ) -> dict[str, tf.Tensor]:
        """Features of `picture` [1, H, W, 3] at `layers`, without those of the margin, in the picture's precision."""
        laid = tf.pad(picture, view, "REFLECT")
        return {
            layer: _without_margin(features, view, stride_px(layer), picture.dtype)
            for layer, features in self.network.features(laid, layers, tap).items()
        }

    def content_target(self, content: tf.Tensor, view: View) -> dict[str, tf.Tensor]:
        """What `evaluate` wants as `content`, of that view."""
        return self.extract(content, self.preset.content_layers, view)

    def statistics(
        self, picture: tf.Tensor, view: View, masks: Sequence[tf.Tensor | None] = (None,)
    ) -> dict[str, list[Statistics]]:
        """The style statistics of `picture` at each of the style layers, of the regions that `masks` mark."""
        measure = self.preset.style.statistics
        features = self.extract(picture, self.preset.style_layers, view)
        guides = {layer: self._guides(masks, layer, view) for layer in self.preset.style_layers}
        return {layer: [measure(features[layer], guide) for guide in guides[layer]] for layer in guides}

    def style_target(self, styles: Sequence[tuple[tf.Tensor, float]], masks: Masks | None = None) -> tuple[Wanted, ...]:
        """What `evaluate` wants as `style`: for each region the mixture of its styles by their shares.

        styles: pictures with shares that sum to 1; masks: where each applies, at the painted picture's size.
        Raises Permanent(NOT_FINITE).
        """
        wanted = []
        for region in regions(styles, masks):
            parts = [self._style_statistics(picture) for picture, _ in region.styles]
            shares = [share for _, share in region.styles]
            blended = {layer: mixture([part[layer] for part in parts], shares) for layer in self.preset.style_layers}
            if not is_finite(*(statistic for layer in blended.values() for statistic in layer.values())):
                raise not_finite()
            dtype = region.styles[0][0].dtype
            mask = None if region.mask is None else tf.constant(region.mask, dtype)
            share = tf.constant(1, dtype) if mask is None else tf.reduce_mean(mask)
            target = {layer: self.preset.style.target(statistics) for layer, statistics in blended.items()}
            wanted.append(Wanted(target, mask, share))
        return tuple(wanted)

    def _style_statistics(self, picture: tf.Tensor) -> dict[str, Statistics]:
        """As `statistics`, of a whole style picture; those of the last few are kept."""
        key = hashlib.sha256(repr((picture.shape, picture.dtype)).encode() + picture.numpy().tobytes()).digest()
        if key not in self._styles:
            found = self.statistics(picture, self.views(picture)[0])
            self._styles[key] = {layer: statistics for layer, [statistics] in found.items()}
            if len(self._styles) > _KEPT_STYLES:
                del self._styles[next(iter(self._styles))]
        return self._styles[key]

    def _guides(self, masks: Sequence[tf.Tensor | None], layer: str, view: View) -> list[tf.Tensor | None]:
        """`masks` as `layer` sees a picture of their size."""
        stride = stride_px(layer)
        return [
            None
            if mask is None
            else _without_margin(pooled(tf.pad(mask, view, "REFLECT"), stride), view, stride, mask.dtype)
            for mask in masks
        ]

    def terms(
        self, picture: tf.Tensor, content: Mapping[str, tf.Tensor], style: Sequence[Wanted], view: View
    ) -> dict[str, tf.Tensor]:
        """The three losses, without weights."""
        preset = self.preset
        masks = [wanted.mask for wanted in style]
        statistics: dict[str, list[Statistics]] = {}

        def tap(layer: str, features: tf.Tensor) -> tf.Tensor:
            if layer not in preset.style_layers:
                return features
            own = partial(_without_margin, view=view, stride=stride_px(layer), dtype=picture.dtype)
            guides = self._guides(masks, layer, view)

            def measure(whole: tf.Tensor) -> list[Statistics]:
                return [preset.style.statistics(own(whole), guide) for guide in guides]

            features, statistics[layer] = aside(measure, features)
            return features

        features = self.extract(picture, {*preset.content_layers, *preset.style_layers}, view, tap)
        return self.losses(picture, features, statistics, content, style)

    def losses(
        self,
        picture: tf.Tensor,
        features: Mapping[str, tf.Tensor],
        statistics: Mapping[str, Sequence[Statistics]],
        content: Mapping[str, tf.Tensor],
        style: Sequence[Wanted],
    ) -> dict[str, tf.Tensor]:
        """The three losses of a picture with these features at the content layers, statistics at the style layers."""
        preset = self.preset
        distances = self.style_distances(statistics, style)
        return {
            "content": tf.add_n(
                [
                    share * preset.content_loss(features[layer], content[layer])
                    for layer, share in preset.content_layers.items()
                ]
            ),
            "style": tf.add_n([share * distances[layer] for layer, share in preset.style_layers.items()]),
            "variation": preset.variation(picture),
        }

    def style_distances(
        self, statistics: Mapping[str, Sequence[Statistics]], style: Sequence[Wanted]
    ) -> dict[str, tf.Tensor]:
        """By layer, of all regions by their shares."""
        pairs = [
            (regional, wanted.target[layer])
            for layer in self.preset.style_layers
            for regional, wanted in zip(statistics[layer], style, strict=True)
        ]
        losses = iter(self.preset.style.losses(pairs))
        return {
            layer: tf.add_n([wanted.share * next(losses) for wanted in style]) for layer in self.preset.style_layers
        }

    def _evaluate_turn(
        self,
        picture: tf.Tensor,
        shared: tuple[Sequence[Wanted], Mapping[str, tf.Tensor]],
        turn: tuple[Mapping[str, tf.Tensor], View],
    ) -> Evaluation:
        (style, weights), (content, view) = shared, turn
        return self._evaluate(picture, content, style, weights, view)

    def _evaluate(
        self,
        picture: tf.Tensor,
        content: Mapping[str, tf.Tensor],
        style: Sequence[Wanted],
        weights: Mapping[str, tf.Tensor],
        view: View,
    ) -> Evaluation:
        with tf.GradientTape() as tape:
            tape.watch(picture)
            terms = self.terms(picture, content, style, view)
            total = tf.add_n([weights[term] * terms[term] for term in TERMS])
        return Evaluation(total, tape.gradient(total, picture), terms)


def aside(measure: Callable[[tf.Tensor], _Measured], features: tf.Tensor) -> tuple[tf.Tensor, _Measured]:
    """`features` to go on with, and `measure(features)`, whose gradient is left until that of all the rest is there.

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


def pooled(mask: tf.Tensor, stride: int) -> tf.Tensor:
    """`mask` [1, H, W, 1] in pixels of `stride`, as pooling makes them."""
    return tf.nn.avg_pool2d(mask, stride, stride, "VALID")


def _without_margin(features: tf.Tensor, view: View, stride: int, dtype: tf.DType) -> tf.Tensor:
    before, after = view[1:3, 0] // stride, view[1:3, 1] // stride
    bottom, right = tf.unstack(tf.shape(features)[1:3] - after)
    return tf.cast(features[:, before[0] : bottom, before[1] : right], dtype)
