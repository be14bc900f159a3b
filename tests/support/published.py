"""Two published recipes, derived again for comparison: imports nothing from the engine. float64 throughout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.support.tutorial import STYLE_LAYERS, Tutorial


class TfKeras2018(Tutorial):
    """The tf.keras article of 2018: the tutorial's losses, weighed otherwise, on values in [0, 255]."""

    def total(self, picture: tf.Tensor) -> tf.Tensor:
        terms = self.terms(picture)
        return 1e3 * terms["content"] + 1e-2 * terms["style"]

    def painted(self, start: np.ndarray, steps: int) -> np.ndarray:
        """By the Adam of TensorFlow 1 at rate 5; the picture of the step whose loss was the least."""
        picture, momentum, velocity = 255 * start, np.zeros_like(start), np.zeros_like(start)
        least, best = np.inf, start
        for step in range(1, steps + 1):
            variable = tf.constant(picture)
            with tf.GradientTape() as tape:
                tape.watch(variable)
                total = self.total(variable / 255)
            gradient = tape.gradient(total, variable).numpy()
            momentum = 0.99 * momentum + 0.01 * gradient
            velocity = 0.999 * velocity + 0.001 * gradient**2
            rate = 5 * np.sqrt(1 - 0.999**step) / (1 - 0.99**step)
            picture = np.clip(picture - rate * momentum / (np.sqrt(velocity) + 0.1), 0, 255)
            if float(total) < least:
                least, best = float(total), picture / 255
        return best


class Gatys2016(Tutorial):
    """Gatys, Ecker and Bethge, equations 1 to 7: sums, not means; filters scaled to a mean activation of 1.

    `samples` (float64 [1, H, W, 3] in [0, 1]) stand in for the paper's images. All pictures are of one size.
    """

    CONTENT_LAYER = "block4_conv2"

    def __init__(
        self, network: str, weights: Path, content: np.ndarray, style: np.ndarray, samples: list[np.ndarray]
    ) -> None:
        super().__init__(network, weights, content, style)
        self.means: dict[str, np.ndarray] = {}
        found = [self.activations(tf.constant(sample)) for sample in samples]
        for layer in self.kernels:
            means = np.mean([np.mean(f[layer], axis=(0, 1, 2)) for f in found], axis=0)
            self.means[layer] = np.where(means == 0, 1, means)
        self.wanted_content = self.scaled(content)[self.CONTENT_LAYER]
        self.wanted_grams = {layer: self.sum_gram(self.scaled(style)[layer]) for layer in STYLE_LAYERS}

    def activations(self, picture: tf.Tensor, pooling: str = "AVG") -> dict[str, tf.Tensor]:
        return super().activations(picture, pooling)

    def scaled(self, picture: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scaling a filter scales its activations: ReLU and pooling pass a positive factor on."""
        return {layer: f / self.means[layer] for layer, f in self.activations(tf.constant(picture)).items()}

    @staticmethod
    def sum_gram(features: tf.Tensor) -> tf.Tensor:
        rows = tf.reshape(features, (-1, features.shape[-1]))
        return tf.transpose(rows) @ rows

    def terms(self, picture: tf.Tensor) -> dict[str, tf.Tensor]:
        features = self.scaled(picture)
        style = 0.0
        for layer, wanted in self.wanted_grams.items():
            _, height, width, channels = features[layer].shape
            squares = tf.reduce_sum((self.sum_gram(features[layer]) - wanted) ** 2)
            style += squares / (4 * channels**2 * (height * width) ** 2) / len(STYLE_LAYERS)
        return {
            "content": 0.5 * tf.reduce_sum((features[self.CONTENT_LAYER] - self.wanted_content) ** 2),
            "style": style,
        }
