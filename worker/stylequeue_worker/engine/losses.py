"""What a painted picture is measured by: content, style, total variation.

Features are float [1, h, w, channels]; losses are scalars. A style has three parts: the `statistics` of its features,
which can be averaged over several styles; the `target` made of them once; and the `loss` of a picture's own statistics
against that target. Statistics can be of a region: `weights` [1, h, w, 1] say how much each pixel counts.
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
    """A notion of style: what is kept of features, and how far a picture's are from a style's."""

    statistics: Callable[[tf.Tensor, tf.Tensor | None], Statistics]
    target: Callable[[Statistics], Statistics]
    loss: Callable[[Statistics, Statistics], tf.Tensor]


def gram(features: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Style as a Gram matrix [channels, channels]: which features occur together, wherever they are.

    The mean over the pixels of f f^T (Gatys, Ecker and Bethge, 2015), so that sizes can be compared; with weights that
    of a region (Gatys and others, 2017).
    """
    rows = tf.reshape(features, (-1, features.shape[-1]))
    if weights is None:
        return tf.matmul(rows, rows, transpose_a=True) / tf.cast(tf.shape(rows)[0], rows.dtype)
    weighted = rows * tf.reshape(weights, (-1, 1))
    return tf.matmul(weighted, rows, transpose_a=True) / (tf.reduce_sum(weights) + _TINY)


def gram_loss(statistics: Statistics, target: Statistics) -> tf.Tensor:
    """Mean squared difference of the Gram matrices."""
    return mean_square(statistics["gram"], target["gram"])


GRAM = StyleMeasure(
    lambda features, weights: {"gram": gram(features, weights)}, lambda statistics: statistics, gram_loss
)


def gatys_loss(statistics: Statistics, target: Statistics) -> tf.Tensor:
    """sum (G - A)^2 / (4 channels^2 pixels^2) for Gram matrices that are sums over the pixels (Gatys et al., 2016).

    Here they are means, so that a style picture of another size than the content's is measured alike.
    """
    return gram_loss(statistics, target) / 4


GATYS = StyleMeasure(GRAM.statistics, GRAM.target, gatys_loss)


def mean_and_covariance(features: tf.Tensor, weights: tf.Tensor | None = None) -> Statistics:
    """Mean [channels] and covariance [channels, channels] of the features over the pixels."""
    if weights is None:
        mean = tf.reduce_mean(features, axis=(0, 1, 2))
    else:
        mean = tf.reduce_sum(weights * features, axis=(0, 1, 2)) / (tf.reduce_sum(weights) + _TINY)
    # Centred first: the difference of Gram matrix and mean's square need not be positive in float32.
    return {"mean": mean, "covariance": gram(features - mean, weights)}


def principal(statistics: Statistics) -> Statistics:
    """The covariance's principal directions, as many as carry the style, for `wasserstein_loss`.

    basis: [channels, rank]; spread: variance along each of them; rest: variance in all other directions together;
    size: the features' mean square, which makes the loss relative.
    """
    variances, directions = tf.linalg.eigh(statistics["covariance"])
    variances = tf.maximum(variances, 0)
    rank = min(_RANK, variances.shape[0])
    return {
        "mean": statistics["mean"],
        "basis": directions[:, -rank:],
        "spread": variances[-rank:],
        "rest": tf.reduce_sum(variances[:-rank]),
        "size": tf.reduce_sum(variances) + tf.reduce_sum(tf.square(statistics["mean"])),
    }


_RANK = 64
"""A matrix root of this size costs next to nothing; one of all 512 channels costs as much as the network."""


def wasserstein_loss(statistics: Statistics, target: Statistics) -> tf.Tensor:
    """Squared 2-Wasserstein distance from the style, both taken as Gaussian, over the size of the style's features.

    |m - m'|^2 + tr(C + C' - 2 (C'^1/2 C C'^1/2)^1/2) (Olkin and Pukelsheim, 1982; for style: Mroueh, 2019), with the
    covariances taken in the style's principal directions; of what lies outside them only the whole variance counts.
    Unlike the Gram matrices' squared distance it grows with the features' square, not their fourth power, so the
    strongest do not drown the others.
    """
    mean, covariance, basis = statistics["mean"], statistics["covariance"], target["basis"]
    within = tf.matmul(basis, covariance @ basis, transpose_a=True)
    inside = tf.linalg.trace(within)
    deviation = tf.sqrt(target["spread"])
    cross = root_trace(deviation[:, None] * within * deviation[None, :])
    distance = tf.reduce_sum(tf.square(mean - target["mean"])) + inside + tf.reduce_sum(target["spread"]) - 2 * cross
    if basis.shape[0] > basis.shape[1]:
        whole = tf.linalg.trace(covariance)
        # The floor keeps the root's slope finite where the picture is flat.
        outside = tf.maximum(whole - inside, 1e-6 * whole + _TINY)
        distance += tf.square(tf.sqrt(outside) - tf.sqrt(target["rest"]))
    return distance / (target["size"] + _TINY)


WASSERSTEIN = StyleMeasure(mean_and_covariance, principal, wasserstein_loss)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def root_trace(matrix: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Trace of the square root of a symmetric, positive semi-definite matrix [n, n].

    By the coupled Newton-Schulz iteration (Higham, 2008), which also gives the inverse root: half of it is the
    gradient. Each step is scaled for the least eigenvalue that counts (Chen and Chow, 2014), so that few are needed. A
    little is added to the diagonal, because the iteration needs a positive definite matrix.
    """
    share = _RIDGE / matrix.shape[0]
    identity = tf.eye(matrix.shape[0], dtype=matrix.dtype)
    matrix += (share * tf.linalg.trace(matrix) + _TINY) * identity
    size = tf.norm(matrix)
    root, inverse = matrix / size, identity
    for scale in _ROOT_SCALES:
        half = 1.5 * scale * identity - 0.5 * scale**3 * inverse @ root
        root, inverse = root @ half, half @ inverse

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        slope = 0.5 * inverse / tf.sqrt(size)
        # What is added to the diagonal grows with the matrix.
        return upstream * (slope + share * tf.linalg.trace(slope) * identity)

    return tf.linalg.trace(root) * tf.sqrt(size), gradient


_RIDGE = 3e-5
"""Of the mean eigenvalue: more than float32's rounding makes negative."""


def _root_scales(least: float) -> list[float]:
    """Of a matrix of norm 1: eigenvalues from `least` on come to their roots; the iteration diverges for none below."""
    scales, low = [], least**0.5
    while low < 1 - 1e-4:
        scales.append((3 / (1 + low + low**2)) ** 0.5)
        low = scales[-1] * low * (3 - (scales[-1] * low) ** 2) / 2
    return [*scales, 1.0]


_ROOT_SCALES = _root_scales(5e-6)


def mean_square(values: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Mean squared difference."""
    return tf.reduce_mean(tf.square(values - target))


def half_square(values: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Half the squared distance."""
    return tf.reduce_sum(tf.square(values - target)) / 2


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
