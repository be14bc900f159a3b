"""What is minimised: the weighted sum of content, style and variation, and its gradient to the picture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import tensorflow as tf

from .descent import Evaluation
from .losses import Statistics
from .networks import Vgg, stride_px
from .presets import Preset
from .safety import is_finite, not_finite

TERMS = ("content", "style", "variation")

View: TypeAlias = tf.Tensor
"""How a picture is laid before the network: paddings, int32 [4, 2] as `tf.pad` takes them."""


class Objective:
    """A preset's loss on a network. Compiled once for pictures of all sizes; targets are arguments."""

    def __init__(self, network: Vgg, preset: Preset) -> None:
        self.network = network
        self.preset = preset
        self.evaluate = tf.function(self._evaluate, reduce_retracing=True)

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

    def statistics(self, picture: tf.Tensor, view: View) -> dict[str, Statistics]:
        """The style statistics of `picture` at each of the style layers."""
        features = self.extract(picture, self.preset.style_layers, view)
        return {layer: self.preset.style.statistics(features[layer]) for layer in self.preset.style_layers}

    def style_target(self, styles: Sequence[tuple[tf.Tensor, float]]) -> dict[str, Statistics]:
        """What `evaluate` wants as `style`: the statistics of all styles averaged by their shares (which sum to 1).

        Raises Permanent(NOT_FINITE).
        """
        measure = self.preset.style
        blended: dict[str, dict[str, tf.Tensor]] = {layer: {} for layer in self.preset.style_layers}
        for picture, share in styles:
            for layer, statistics in self.statistics(picture, self.views(picture)[0]).items():
                for name, statistic in statistics.items():
                    blended[layer][name] = blended[layer].get(name, 0) + share * statistic
        if not is_finite(*(statistic for layer in blended.values() for statistic in layer.values())):
            raise not_finite()
        return {layer: measure.target(statistics) for layer, statistics in blended.items()}

    def terms(
        self, picture: tf.Tensor, content: Mapping[str, tf.Tensor], style: Mapping[str, Statistics], view: View
    ) -> dict[str, tf.Tensor]:
        """The three losses, without weights."""
        preset = self.preset
        statistics: dict[str, Statistics] = {}

        def tap(layer: str, features: tf.Tensor) -> tf.Tensor:
            if layer not in preset.style_layers:
                return features
            own = partial(_without_margin, view=view, stride=stride_px(layer), dtype=picture.dtype)
            features, statistics[layer] = aside(lambda whole: preset.style.statistics(own(whole)), features)
            return features

        features = self.extract(picture, {*preset.content_layers, *preset.style_layers}, view, tap)
        return self.losses(picture, features, statistics, content, style)

    def losses(
        self,
        picture: tf.Tensor,
        features: Mapping[str, tf.Tensor],
        statistics: Mapping[str, Statistics],
        content: Mapping[str, tf.Tensor],
        style: Mapping[str, Statistics],
    ) -> dict[str, tf.Tensor]:
        """The three losses of a picture with these features at the content layers, statistics at the style layers."""
        preset = self.preset
        return {
            "content": tf.add_n(
                [
                    share * preset.content_loss(features[layer], content[layer])
                    for layer, share in preset.content_layers.items()
                ]
            ),
            "style": tf.add_n(
                [
                    share * preset.style.loss(statistics[layer], style[layer])
                    for layer, share in preset.style_layers.items()
                ]
            ),
            "variation": preset.variation(picture),
        }

    def _evaluate(
        self,
        picture: tf.Tensor,
        content: Mapping[str, tf.Tensor],
        style: Mapping[str, Statistics],
        weights: Mapping[str, tf.Tensor],
        view: View,
    ) -> Evaluation:
        with tf.GradientTape() as tape:
            tape.watch(picture)
            terms = self.terms(picture, content, style, view)
            total = tf.add_n([weights[term] * terms[term] for term in TERMS])
        return Evaluation(total, tape.gradient(total, picture), terms)


def aside(measure: Callable[[tf.Tensor], Statistics], features: tf.Tensor) -> tuple[tf.Tensor, Statistics]:
    """`features` to go on with, and `measure(features)`, whose gradient is left until that of all the rest is there.

    Else TensorFlow takes every layer's as soon as the loss is known, and keeps them all until their layer's turn.
    """
    names: list[str] = []

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def both(features: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable[..., tf.Tensor]]:
        statistics = measure(features)
        names[:] = statistics

        def gradient(onwards: tf.Tensor, *upstream: tf.Tensor) -> tf.Tensor:
            with tf.control_dependencies([onwards]):
                late = tf.identity(features)
            with tf.GradientTape() as tape:
                tape.watch(late)
                # Written again, not done again: what no gradient needs of it is left out.
                values = list(measure(late).values())
            return onwards + tape.gradient(values, late, output_gradients=list(upstream))

        return (tf.identity(features), *statistics.values()), gradient

    onwards, *values = both(features)
    return onwards, dict(zip(names, values, strict=True))


def _without_margin(features: tf.Tensor, view: View, stride: int, dtype: tf.DType) -> tf.Tensor:
    before, after = view[1:3, 0] // stride, view[1:3, 1] // stride
    bottom, right = tf.unstack(tf.shape(features)[1:3] - after)
    return tf.cast(features[:, before[0] : bottom, before[1] : right], dtype)
