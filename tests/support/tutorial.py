"""The TensorFlow documentation's neural style transfer, derived again for comparison: imports nothing from the engine.

float64 throughout.
"""

from __future__ import annotations

from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import tensorflow as tf

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
CONTENT_LAYER = "block5_conv2"
STYLE_LAYERS = [f"block{block}_conv1" for block in range(1, 6)]
CONTENT_WEIGHT, STYLE_WEIGHT, VARIATION_WEIGHT = 1e4, 1e-2, 30.0
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 0.02, 0.99, 0.999, 1e-1


class Tutorial:
    """The losses of a picture, for one content and one style picture (float64 [1, H, W, 3] in [0, 1])."""

    def __init__(self, network: str, weights: Path, content: np.ndarray, style: np.ndarray) -> None:
        with h5py.File(weights) as file:
            self.kernels = {
                name: [file[name][name][f"{part}:0"][()].astype(np.float64) for part in ("kernel", "bias")]
                for name in file.attrs["layer_names"].astype(str)
                if "_conv" in name
            }
        self.blocks = CONVOLUTIONS[network]
        self.content = self.features(tf.constant(content))[CONTENT_LAYER]
        self.grams = {layer: self.gram(f) for layer, f in self.features(tf.constant(style)).items() if "conv1" in layer}

    def features(self, picture: tf.Tensor) -> dict[str, tf.Tensor]:
        found = self.activations(picture)
        return {layer: found[layer] for layer in [CONTENT_LAYER, *STYLE_LAYERS]}

    def activations(self, picture: tf.Tensor, pooling: str = "MAX") -> dict[str, tf.Tensor]:
        """Of all layers."""
        blue_green_red = tf.reverse(picture * 255.0, axis=[-1])
        x = blue_green_red - np.array([103.939, 116.779, 123.68])
        found = {}
        for block, convolutions in enumerate(self.blocks, start=1):
            for number in range(1, convolutions + 1):
                kernel, bias = self.kernels[f"block{block}_conv{number}"]
                x = tf.maximum(tf.nn.convolution(x, kernel, padding="SAME") + bias, 0)
                found[f"block{block}_conv{number}"] = x
            x = tf.nn.pool(x, [2, 2], pooling, strides=[2, 2], padding="VALID")
        return found

    @staticmethod
    def gram(features: tf.Tensor) -> tf.Tensor:
        locations = features.shape[1] * features.shape[2]
        return tf.einsum("bijc,bijd->cd", features, features) / locations

    def terms(self, picture: tf.Tensor) -> dict[str, tf.Tensor]:
        """Without weights, save the mean over the style layers."""
        features = self.features(picture)
        differences = [self.gram(features[layer]) - self.grams[layer] for layer in STYLE_LAYERS]
        across, down = picture[:, :, 1:] - picture[:, :, :-1], picture[:, 1:] - picture[:, :-1]
        return {
            "content": tf.reduce_mean((features[CONTENT_LAYER] - self.content) ** 2),
            "style": sum(tf.reduce_mean(d**2) for d in differences) / len(STYLE_LAYERS),
            "variation": tf.reduce_sum(tf.abs(across)) + tf.reduce_sum(tf.abs(down)),
        }

    def gradient(self, picture: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(picture)
            terms = self.terms(picture)
            total = (
                CONTENT_WEIGHT * terms["content"]
                + STYLE_WEIGHT * terms["style"]
                + VARIATION_WEIGHT * terms["variation"]
            )
        return tape.gradient(total, picture)

    def painted(self, start: np.ndarray, steps: int) -> np.ndarray:
        """By Adam as Keras 3 writes it, in NumPy."""
        picture, momentum, velocity = start, np.zeros_like(start), np.zeros_like(start)
        for step in range(1, steps + 1):
            gradient = self.gradient(tf.constant(picture)).numpy()
            momentum = momentum + (gradient - momentum) * (1 - BETA_1)
            velocity = velocity + (gradient**2 - velocity) * (1 - BETA_2)
            alpha = LEARNING_RATE * np.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
            picture = np.clip(picture - momentum * alpha / (np.sqrt(velocity) + EPSILON), 0, 1)
        return picture
