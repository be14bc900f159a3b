"""What a painted picture is measured by: content, style, total variation.

Features are float [1, h, w, channels]; losses are scalars; both float32, or float64 where the picture is. A style has
three parts: the `statistics` of its features, which can be averaged over several styles; the `target` made of them
once; and the `loss` of a picture's own statistics against that target. Statistics can be of a region: `weights`
[1, h, w, 1] say how much each pixel counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

Statistics = Mapping[str, tf.Tensor]
"""Of one layer, by name: gram [channels, channels]; or mean [channels] and covariance [channels, channels]; or, as a
target, what `principal` makes of these."""

_TINY = 1e-12
"""Keeps a division by the size of a flat picture's features finite."""


@dataclass(frozen=True)
class StyleMeasure:
    """A notion of style: what is kept of features, and how far a picture's are from a style's."""

    statistics: Callable[[tf.Tensor, tf.Tensor | None], Statistics]
    target: Callable[[Statistics, Statistics], Statistics]
    """Of a style's statistics, and the content's own."""
    loss: Callable[[Statistics, Statistics], tf.Tensor]
    together: Callable[[Sequence[tuple[Statistics, Statistics]]], Sequence[tf.Tensor]] | None = None
    """`loss` of many at once, where that is faster than one by one."""

    def losses(self, pairs: Sequence[tuple[Statistics, Statistics]]) -> Sequence[tf.Tensor]:
        """Of each pair of statistics and target, scalars."""
        return self.together(pairs) if self.together else [self.loss(*pair) for pair in pairs]


def gram(features: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Style as a Gram matrix [channels, channels]: which features occur together, wherever they are.

    The mean over the pixels of f f^T (Gatys, Ecker and Bethge, 2015), so that sizes can be compared; with weights
    [1, h, w, 1] that of a region (Gatys and others, 2017). features: [1, h, w, channels].
    """
    rows = tf.reshape(features, (-1, features.shape[-1]))  # [h w, channels]
    if weights is None:
        return _products(rows, None) / tf.cast(tf.shape(rows)[0], rows.dtype)
    return _products(rows, tf.reshape(weights, (-1, 1))) / (tf.reduce_sum(weights) + _TINY)


def _products(rows: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """Sum of w f f^T over rows [pixels, channels], weights [pixels, 1]: [channels, channels].

    Of a product with itself TensorFlow takes two gradients, and adds them; they are each other's mirror.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def products(rows: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        weighted = rows if weights is None else rows * weights
        return (
            tf.matmul(weighted, rows, transpose_a=True),
            lambda upstream: tf.matmul(weighted, upstream + tf.transpose(upstream)),
        )

    found: tf.Tensor = products(rows)
    return found


def gram_loss(statistics: Statistics, target: Statistics) -> tf.Tensor:
    """Mean squared difference of the Gram matrices [channels, channels], a scalar."""
    return mean_square(statistics["gram"], target["gram"])


GRAM = StyleMeasure(
    lambda features, weights: {"gram": gram(features, weights)}, lambda statistics, _: statistics, gram_loss
)


def gatys_loss(statistics: Statistics, target: Statistics) -> tf.Tensor:
    """sum (G - A)^2 / (4 channels^2 pixels^2) for Gram matrices that are sums over the pixels (Gatys et al., 2016).

    Here they are means, so that a style picture of another size than the content's is measured alike. Both
    [channels, channels].
    """
    return gram_loss(statistics, target) / 4


GATYS = StyleMeasure(GRAM.statistics, GRAM.target, gatys_loss)


def mean_and_covariance(features: tf.Tensor, weights: tf.Tensor | None = None) -> Statistics:
    """Mean [channels] and covariance [channels, channels] of the features [1, h, w, channels] over the pixels."""

    # TensorFlow's own gradient takes some ten passes more over the features.
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def both(features: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tf.Tensor]]:
        # In float32 a sum over millions of pixels loses digits, one over what is left after a first mean does not; nor
        # is the difference of Gram matrix and mean's square what is left of a covariance.
        roughly = _mean(features, weights)
        centred = features - roughly
        rest = _mean(centred, weights)

        def gradient(of_mean: tf.Tensor, of_covariance: tf.Tensor) -> tf.Tensor:
            # Here the rough mean does: written again behind the rest (`objective.aside`), that saves two passes.
            rows = tf.reshape(features - roughly, (-1, features.shape[-1]))  # [h w, channels]
            counted = tf.cast(tf.shape(rows)[0], rows.dtype) if weights is None else tf.reduce_sum(weights) + _TINY
            both_ways = (of_covariance + tf.transpose(of_covariance)) / counted
            upstream = tf.reshape(tf.matmul(rows, both_ways) + of_mean / counted, tf.shape(features))
            return upstream if weights is None else weights * upstream

        return (roughly + rest, gram(centred, weights) - rest[:, None] * rest), gradient

    mean, covariance = both(features)
    return {"mean": mean, "covariance": covariance}


def _mean(features: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """Mean [channels] over the pixels, in two stages: as one, TensorFlow's sums on processors drift by percents."""
    # [1, h, w, channels] to [1, h, channels] to [channels].
    if weights is None:
        return tf.reduce_mean(tf.reduce_mean(features, axis=2), axis=(0, 1))
    whole = tf.reduce_sum(tf.reduce_sum(weights * features, axis=2), axis=(0, 1))
    return whole / (tf.reduce_sum(weights) + _TINY)


def mixture(parts: Sequence[Statistics], shares: Sequence[float]) -> Statistics:
    """The statistics of a picture of which each part makes up a share; shares sum to 1.

    Gram matrices, means and raw second moments add up; so a mixture's covariance also has what lies between the means.
    Each part's shapes, mean [channels] and gram or covariance [channels, channels], and dtype are the mixture's.
    """
    whole = {
        name: tf.add_n([share * part[name] for part, share in zip(parts, shares, strict=True)]) for name in parts[0]
    }
    if "covariance" in whole:
        # [parts, channels].
        apart = tf.stack(
            [share**0.5 * (part["mean"] - whole["mean"]) for part, share in zip(parts, shares, strict=True)]
        )
        whole["covariance"] += tf.matmul(apart, apart, transpose_a=True)
    return whole


def principal(statistics: Statistics, content: Statistics) -> Statistics:
    """The covariance's principal directions, as many as carry the style, for `wasserstein_loss`.

    basis: [channels, rank], noughts for directions in which it does not vary; spread [rank]: variance along each of
    them; the rest are scalars. rest: variance in all others together, and rest_ridge their ridge; ridge: what is added
    to the variance in a direction; size: what makes the loss relative. It is the features' mean square; but a style
    that has next to nothing in it would then count for more than all else, so the content itself is never further than
    `_FURTHEST` away. And what such a style lacks of variation is the content's own: it has colours to bring, no more.
    All in the dtype of the statistics.
    """
    # In float64: what eigenvectors miss would look like a difference from the style's own features.
    dtype = statistics["covariance"].dtype
    own, contents = (tf.cast(each["covariance"], tf.float64) for each in (statistics, content))
    less_variance, less_rank = _lacking(own, contents)
    variances, directions = tf.linalg.eigh(own + tf.maximum(less_variance, less_rank) * contents)
    variances = tf.maximum(variances, 0)
    rank = min(_RANK, variances.shape[0])
    size = tf.maximum(_mean_square(statistics), _POOR * _mean_square(content))
    ridge = _RIDGE * variances[-1] + _FLAT_RIDGE * size + _TINY
    # A small style varies in few directions: which others an eigenvector takes is chance.
    counted = tf.cast(variances[-rank:] > _COUNTED * ridge, tf.float64)
    spread = counted * variances[-rank:]
    target = {
        "basis": counted * directions[:, -rank:],
        "spread": spread,
        "rest": tf.reduce_sum(variances) - tf.reduce_sum(spread),
        "rest_ridge": ridge * tf.maximum(variances.shape[0] - tf.reduce_sum(counted), 1),
        "ridge": ridge,
        "size": size,
        "plainness": less_rank,
    }
    found = {"mean": statistics["mean"], **{name: tf.cast(value, dtype) for name, value in target.items()}}
    return {
        **found,
        "size": found["size"] * tf.maximum(tf.constant(1, dtype), wasserstein_loss(content, found) / _FURTHEST),
    }


def _lacking(own: tf.Tensor, contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """How much less a style has than paintings have, beside the content: of variance, and of its effective rank.

    Scalars in [0, 1], of covariances float64 [channels, channels]; nothing from `_ENOUGH` on.
    """
    (variance, rank), (contents_variance, contents_rank) = (
        (trace, trace**2 / (tf.reduce_sum(tf.square(covariance)) + _TINY))
        for covariance in (own, contents)
        for trace in [tf.linalg.trace(covariance)]
    )
    there = tf.stack([variance / (contents_variance + _TINY), rank / (contents_rank + _TINY)])  # [2]
    lacking = tf.clip_by_value(1 - there / _ENOUGH, 0, 1) * tf.cast(contents_variance > _TINY, tf.float64)
    return tuple(tf.unstack(lacking))


_ENOUGH = (0.25, 0.45)
"""Of the content's variance and effective rank. Paintings vary by 0.18 (the deepest layer's, at 128 px) to 4 of a
photograph's variance, and in 0.51 and more of its effective rank; two tones, or a line, have a rank of little more than
1, where photographs have 6 to 28."""


def _mean_square(statistics: Statistics) -> tf.Tensor:
    """Of features of this mean [channels] and covariance [channels, channels]: a scalar in float64."""
    mean, covariance = (tf.cast(statistics[name], tf.float64) for name in ("mean", "covariance"))
    return tf.linalg.trace(covariance) + tf.reduce_sum(tf.square(mean))


_POOR = 0.4
"""Paintings have 0.4 to 1.6 times a photograph's mean square."""
_FURTHEST = 0.8
"""Photographs are 0.1 to 1.3 from paintings."""
_RANK = 64
"""A matrix root of this size costs next to nothing; one of all 512 channels costs as much as the network."""
_RIDGE = 2e-3
"""Of the largest variance: what is fainter than this is no trait of the style, and float32 could not tell it."""
_COUNTED = 1e-2
"""Of the ridge: what varies less is lost in rounding."""
_FLAT_RIDGE = 2e-5
"""Of the features' size, for a style that hardly varies at all."""


def wasserstein_loss(statistics: Statistics, target: Statistics) -> tf.Tensor:
    """Squared 2-Wasserstein distance from the style, both taken as Gaussian, over the size of the style's features.

    |m - m'|^2 + tr(C + C' - 2 (C'^1/2 C C'^1/2)^1/2) (Olkin and Pukelsheim, 1982; for style: Mroueh, 2019), with the
    covariances taken in the style's principal directions; of what lies outside them only the whole variance counts.
    Both covariances are a little larger in every direction, so that roots have slopes; the style itself is at 0, and
    nothing is below. Unlike the Gram matrices' squared distance it grows with the features' square, not their fourth
    power, so the strongest do not drown the others. A scalar, of statistics as `mean_and_covariance` and a target as
    `principal` makes them.
    """
    return wasserstein_losses([(statistics, target)])[0]


def wasserstein_losses(pairs: Sequence[tuple[Statistics, Statistics]]) -> list[tf.Tensor]:
    """`wasserstein_loss` of each, with one matrix root for all of a rank: a GPU takes as long for one as for many.

    Scalars of the statistics' dtype.
    """
    # Each [rank, rank]: the covariance in the style's principal directions.
    withins = [
        tf.matmul(target["basis"], statistics["covariance"] @ target["basis"], transpose_a=True)
        for statistics, target in pairs
    ]
    by_rank: dict[int, list[int]] = {}
    for number, (_, target) in enumerate(pairs):
        by_rank.setdefault(target["basis"].shape[1], []).append(number)
    turned: dict[int, tf.Tensor] = {}
    for rank, numbers in by_rank.items():
        # In units of the ridge, so that no power of it leaves float32's range: [numbers], [numbers, rank, rank] and
        # [numbers, rank].
        ridges = tf.stack([pairs[number][1]["ridge"] for number in numbers])
        within = tf.stack([withins[number] for number in numbers]) / ridges[:, None, None]
        spread = tf.stack([pairs[number][1]["spread"] for number in numbers]) / ridges[:, None]
        distances = ridges * bures(within + tf.eye(rank, dtype=within.dtype), spread + 1)
        turned |= zip(numbers, tf.unstack(distances), strict=True)
    losses = []
    for number, (statistics, target) in enumerate(pairs):
        distance = turned[number] + tf.reduce_sum(tf.square(statistics["mean"] - target["mean"]))
        outside = tf.maximum(tf.linalg.trace(statistics["covariance"]) - tf.linalg.trace(withins[number]), 0)
        distance += tf.square(tf.sqrt(outside + target["rest_ridge"]) - tf.sqrt(target["rest"] + target["rest_ridge"]))
        losses.append(distance / (target["size"] + _TINY))
    return losses


WASSERSTEIN = StyleMeasure(mean_and_covariance, principal, wasserstein_loss, wasserstein_losses)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def bures(covariance: tf.Tensor, spread: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
    """tr(C + D - 2 (D^1/2 C D^1/2)^1/2) of covariances C [..., n, n] and D = diag(`spread` [..., n]): [...].

    Both positive definite. Never below 0, where rounding would leave it. With the root R its slope with respect to C is
    1 - D^1/2 R^-1 D^1/2; `spread` is taken as constant.
    """
    deviation = tf.sqrt(spread)
    columns, rows = deviation[..., :, None], deviation[..., None, :]
    root, inverse = roots(columns * covariance * rows)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        identity = tf.eye(spread.shape[-1], dtype=spread.dtype)
        return upstream[..., None, None] * (identity - columns * inverse * rows), None

    distance = tf.linalg.trace(covariance) + tf.reduce_sum(spread, axis=-1) - 2 * tf.linalg.trace(root)
    return tf.maximum(distance, 0), gradient


def roots(matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The square roots of symmetric, positive definite matrices [..., n, n], and the roots' inverses.

    By the coupled Newton-Schulz iteration (Higham, 2008), each step scaled for the least eigenvalue that counts (Chen
    and Chow, 2014), so that few are needed.
    """
    identity = tf.eye(matrix.shape[-1], dtype=matrix.dtype)
    size = tf.norm(matrix, axis=(-2, -1), keepdims=True)
    root, inverse = matrix / size, identity
    for scale in _ROOT_SCALES:
        half = 1.5 * scale * identity - 0.5 * scale**3 * inverse @ root
        root, inverse = root @ half, half @ inverse
    return root * tf.sqrt(size), inverse / tf.sqrt(size)


def _root_scales(least: float) -> list[float]:
    """Of a matrix of norm 1: eigenvalues from `least` on come to their roots; the iteration diverges for none below."""
    scales, low = [], least**0.5
    while low < 1 - 1e-4:
        scales.append((3 / (1 + low + low**2)) ** 0.5)
        low = scales[-1] * low * (3 - (scales[-1] * low) ** 2) / 2
    return [*scales, 1.0]


_ROOT_SCALES = _root_scales(_RIDGE**2 / 50)
"""A style's own features have eigenvalues from the ridge's square on; the matrix's norm is larger than its largest."""


def mean_square(values: tf.Tensor, target: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Mean squared difference of arrays alike; with weights [1, h, w, 1] of features, each place's counts as often."""
    return tf.reduce_mean(_squares(values, target, weights))


def half_square(values: tf.Tensor, target: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Half the squared distance of features [1, h, w, channels], each place's as often as weights [1, h, w, 1] say."""
    return tf.reduce_sum(_squares(values, target, weights)) / 2


def relative_square(values: tf.Tensor, target: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Squared distance over the target's squared size: free of the network's scale and the picture's size.

    Of features [1, h, w, channels]; weights: [1, h, w, 1].
    """
    return tf.reduce_sum(_squares(values, target, weights)) / (tf.reduce_sum(tf.square(target)) + _TINY)


def _squares(values: tf.Tensor, target: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """Of the differences of arrays alike, in their shape; weights: [1, h, w, 1] where these are features."""
    squares = tf.square(values - target)
    return squares if weights is None else weights * squares


def total_variation(picture: tf.Tensor) -> tf.Tensor:
    """Sum of the absolute differences of neighbours, over pixels and channels (Rudin, Osher and Fatemi, 1992).

    picture: [1, H, W, channels].
    """
    across, down = _differences(picture)
    return tf.reduce_sum(tf.abs(across)) + tf.reduce_sum(tf.abs(down))


def roughness(picture: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of neighbours: total variation's smooth sister, the same at any size.

    picture: [1, H, W, channels].
    """
    across, down = _differences(picture)
    return tf.reduce_mean(tf.square(across)) + tf.reduce_mean(tf.square(down))


def _differences(picture: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of neighbours across and down: [1, H, W - 1, channels] and [1, H - 1, W, channels].

    Not by indices, whose gradient takes a processor four times as long.
    """
    (height, width), channels = tf.unstack(tf.shape(picture)[1:3]), picture.shape[-1]
    right, left = (tf.slice(picture, [0, 0, start, 0], [1, height, width - 1, channels]) for start in (1, 0))
    lower, upper = (tf.slice(picture, [0, start, 0, 0], [1, height - 1, width, channels]) for start in (1, 0))
    return right - left, lower - upper
