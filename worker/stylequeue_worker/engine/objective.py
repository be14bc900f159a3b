"""What is minimised: the weighted sum of content, style and variation, and its gradient to the picture."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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

    def extract(self, picture: tf.Tensor, layers: Collection[str], view: View) -> dict[str, tf.Tensor]:
        """Features of `picture` [1, H, W, 3] at `layers`, without those of the margin, in the picture's precision."""
        laid = tf.pad(picture, view, "REFLECT")
        return {
            layer: tf.cast(_without_margin(features, view, stride_px(layer)), picture.dtype)
            for layer, features in self.network.features(laid, layers).items()
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
        features = self.extract(picture, {*preset.content_layers, *preset.style_layers}, view)
        statistics = {layer: preset.style.statistics(features[layer]) for layer in preset.style_layers}
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


def _without_margin(features: tf.Tensor, view: View, stride: int) -> tf.Tensor:
    before, after = view[1:3, 0] // stride, view[1:3, 1] // stride
    bottom, right = tf.unstack(tf.shape(features)[1:3] - after)
    return features[:, before[0] : bottom, before[1] : right]
