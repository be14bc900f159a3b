"""The TensorFlow documentation's neural style transfer written plainly, as its readers do: the baseline for speed.

tf.function, float32, Keras's own network and Adam; imports nothing from the engine. VGG-16's weights.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

CONTENT_LAYER = "block5_conv2"
STYLE_LAYERS = [f"block{block}_conv1" for block in range(1, 6)]
CONTENT_WEIGHT, STYLE_WEIGHT, VARIATION_WEIGHT = 1e4, 1e-2, 30.0


class PlainTutorial:
    """Content and style float32 [1, H, W, 3] in [0, 1]; `picture` is painted on by `step`, with `xla` by way of it."""

    def __init__(self, vgg16_weights: Path, content: np.ndarray, style: np.ndarray, *, xla: bool = False) -> None:
        self.xla = xla
        vgg = keras.applications.VGG16(include_top=False, weights=str(vgg16_weights))
        vgg.trainable = False
        layers = [*STYLE_LAYERS, CONTENT_LAYER]
        self._network = keras.Model(vgg.input, [vgg.get_layer(layer).output for layer in layers])
        self._grams = [self._gram(features) for features in self._features(style)[:-1]]
        self._content = self._features(content)[-1]
        self._optimizer = keras.optimizers.Adam(learning_rate=0.02, beta_1=0.99, epsilon=1e-1)
        self._start = content
        self.picture = tf.Variable(content)
        self._optimizer.build([self.picture])
        self.step = tf.function(self._step, jit_compile=xla or None)

    @tf.function  # type: ignore[untyped-decorator]
    def loss(self, picture: tf.Tensor) -> tf.Tensor:
        """The tutorial's loss of a picture."""
        *styles, content = self._features(picture)
        style_loss = tf.add_n(
            [
                tf.reduce_mean((self._gram(features) - gram) ** 2)
                for features, gram in zip(styles, self._grams, strict=True)
            ]
        )
        return (
            STYLE_WEIGHT / len(STYLE_LAYERS) * style_loss
            + CONTENT_WEIGHT * tf.reduce_mean((content - self._content) ** 2)
            + VARIATION_WEIGHT * tf.reduce_sum(tf.image.total_variation(picture))
        )

    def _step(self) -> None:
        """One step of Adam, and clipping."""
        with tf.GradientTape() as tape:
            loss = self.loss(self.picture)
        self._optimizer.apply_gradients([(tape.gradient(loss, self.picture), self.picture)])
        self.picture.assign(tf.clip_by_value(self.picture, 0.0, 1.0))

    def restart(self) -> None:
        """Begin again; what is compiled stays."""
        self.picture.assign(self._start)
        for variable in self._optimizer.variables:
            if variable is not self._optimizer._learning_rate:
                variable.assign(tf.zeros_like(variable))

    def loss_of(self, picture: np.ndarray | tf.Variable) -> float:
        """The same as a number."""
        return float(self.loss(tf.convert_to_tensor(picture)))

    def _features(self, picture: tf.Tensor) -> list[tf.Tensor]:
        features: list[tf.Tensor] = self._network(keras.applications.vgg16.preprocess_input(picture * 255.0))
        return features

    @staticmethod
    def _gram(features: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(tf.shape(features)[1] * tf.shape(features)[2], tf.float32)
        return tf.linalg.einsum("bijc,bijd->bcd", features, features) / pixels
