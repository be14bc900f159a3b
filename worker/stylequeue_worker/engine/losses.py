"""What a painted picture is measured by: content, style, total variation.

Features are float [1, h, w, channels]; losses are scalars. A style has three parts: `moments`, which can be averaged
over several styles; the `target` made of them once; and the `loss` of features against that target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import tensorflow as tf

Statistics = Mapping[str, tf.Tensor]
"""Of one layer, by name."""

_TINY = 1e-12
"""Keeps a division by the size of a flat picture's features finite."""


@dataclass(frozen=True)
class StyleMeasure:
    """A notion of style: what is kept of a style's features, and how far others are from it."""

    moments: Callable[[tf.Tensor], Statistics]
    target: Callable[[Statistics], Statistics]
    loss: Callable[[tf.Tensor, Statistics], tf.Tensor]


def gram(features: tf.Tensor) -> tf.Tensor:
    """Style as a Gram matrix [channels, channels]: which features occur together, wherever they are.

    The mean over the pixels of f f^T (Gatys, Ecker and Bethge, 2015), so that sizes can be compared.
    """
    rows = _rows(features)
    # Divided before the product: raw sums of VGG's features overflow narrow floats.
    rows /= tf.sqrt(tf.cast(tf.shape(rows)[0], rows.dtype))
    return tf.matmul(rows, rows, transpose_a=True)


def gram_loss(features: tf.Tensor, target: Statistics) -> tf.Tensor:
    """Mean squared difference of the Gram matrices."""
    return mean_square(gram(features), target["gram"])


GRAM = StyleMeasure(lambda features: {"gram": gram(features)}, lambda moments: moments, gram_loss)


def mean_and_covariance(features: tf.Tensor) -> Statistics:
    """Mean [channels] and covariance [channels, channels] of the features over the pixels."""
    rows = _rows(features)
    mean = tf.reduce_mean(rows, axis=0)
    return {"mean": mean, "covariance": gram(rows - mean)}


def principal(moments: Statistics) -> Statistics:
    """The covariance's principal directions, as many as carry the style, for `wasserstein_loss`.

    basis: [channels, rank]; spread: variance along each of them; rest: variance in all other directions together;
    size: the features' mean square, which makes the loss relative.
    """
    variances, directions = tf.linalg.eigh(moments["covariance"])
    variances = tf.maximum(variances, 0)
    rank = min(_RANK, variances.shape[0])
    return {
        "mean": moments["mean"],
        "basis": directions[:, -rank:],
        "spread": variances[-rank:],
        "rest": tf.reduce_sum(variances[:-rank]),
        "size": tf.reduce_sum(variances) + tf.reduce_sum(tf.square(moments["mean"])),
    }


_RANK = 64
"""A matrix root of this size costs next to nothing; one of all 512 channels costs as much as the network."""


def wasserstein_loss(features: tf.Tensor, target: Statistics) -> tf.Tensor:
    """Squared 2-Wasserstein distance of the features from the style's, both taken as Gaussian, over the target's size.

    |m - m'|^2 + tr(C + C' - 2 (C'^1/2 C C'^1/2)^1/2) (Olkin and Pukelsheim, 1982; for style: Mroueh, 2019), with the
    covariances taken in the style's principal directions; of what lies outside them only the whole variance counts.
    Unlike the Gram matrix's square, it grows with the features' square, so the strongest do not drown the others.
    """
    rows = _rows(features)
    count = tf.cast(tf.shape(rows)[0], rows.dtype)
    mean = tf.reduce_mean(rows, axis=0)
    rows -= mean
    variance = tf.reduce_sum(tf.square(rows)) / count
    covariance = gram(tf.matmul(rows, target["basis"]))
    inside = tf.linalg.trace(covariance)
    deviation = tf.sqrt(target["spread"])
    cross = root_trace(deviation[:, None] * covariance * deviation[None, :])
    distance = tf.reduce_sum(tf.square(mean - target["mean"])) + inside + tf.reduce_sum(target["spread"]) - 2 * cross
    if target["basis"].shape[0] > target["basis"].shape[1]:
        # The floor keeps the root's slope finite where the picture is flat.
        outside = tf.maximum(variance - inside, 1e-6 * variance + _TINY)
        distance += tf.square(tf.sqrt(outside) - tf.sqrt(target["rest"]))
    return distance / (target["size"] + _TINY)


WASSERSTEIN = StyleMeasure(mean_and_covariance, principal, wasserstein_loss)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def root_trace(matrix: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Trace of the square root of a symmetric, positive semi-definite matrix [n, n].

    By the coupled Newton-Schulz iteration (Higham, 2008), which also gives the inverse root: half of it is the
    gradient. A little is added to the diagonal, because the iteration needs a positive definite matrix.
    """
    identity = tf.eye(matrix.shape[0], dtype=matrix.dtype)
    ridge = 1e-5 * tf.linalg.trace(matrix) / matrix.shape[0] + _TINY
    matrix += ridge * identity
    size = tf.norm(matrix)
    root, inverse = matrix / size, identity
    for _ in range(_ROOT_ITERATIONS):
        half = 1.5 * identity - 0.5 * inverse @ root
        root, inverse = root @ half, half @ inverse
    return tf.linalg.trace(root) * tf.sqrt(size), lambda upstream: upstream * 0.5 * inverse / tf.sqrt(size)


_ROOT_ITERATIONS = 14


def mean_square(values: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Mean squared difference."""
    return tf.reduce_mean(tf.square(values - target))


def relative_square(values: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Squared distance over the target's squared size: free of the network's scale and the picture's size."""
    return tf.reduce_sum(tf.square(values - target)) / (tf.reduce_sum(tf.square(target)) + _TINY)


def total_variation(picture: tf.Tensor) -> tf.Tensor:
    """Sum of the absolute differences of neighbours, over pixels and channels (Rudin, Osher and Fatemi, 1992)."""
    return tf.reduce_sum(tf.image.total_variation(picture))


def roughness(picture: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of neighbours: total variation's smooth sister, the same at any size."""
    across, down = picture[:, :, 1:] - picture[:, :, :-1], picture[:, 1:] - picture[:, :-1]
    return tf.reduce_mean(tf.square(across)) + tf.reduce_mean(tf.square(down))


def _rows(features: tf.Tensor) -> tf.Tensor:
    return tf.reshape(features, (-1, features.shape[-1]))
