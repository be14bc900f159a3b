"""Losses against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import sqrtm

from stylequeue_worker.engine import losses
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.presets import PRESETS
from stylequeue_worker.engine.weights import sample_pictures


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def wanted(features: tf.Tensor) -> losses.Statistics:
    """What the Wasserstein loss wants of a style, for a content as rich as it."""
    statistics = losses.mean_and_covariance(features)
    return losses.principal(statistics, statistics)


def test_gram_is_the_mean_outer_product(random: np.random.Generator) -> None:
    features = random.normal(size=(1, 5, 7, 4))
    expected = sum(np.outer(f, f) for f in features.reshape(-1, 4)) / 35
    np.testing.assert_allclose(losses.gram(tf.constant(features)), expected)


def test_gram_does_not_depend_on_size(random: np.random.Generator) -> None:
    features = random.normal(size=(1, 6, 6, 3))
    np.testing.assert_allclose(losses.gram(tf.tile(features, [1, 2, 3, 1])), losses.gram(tf.constant(features)))


def test_total_variation_is_the_sum_of_absolute_differences(random: np.random.Generator) -> None:
    picture = random.uniform(size=(1, 4, 5, 3))
    expected = np.abs(np.diff(picture, axis=1)).sum() + np.abs(np.diff(picture, axis=2)).sum()
    np.testing.assert_allclose(losses.total_variation(tf.constant(picture)), expected)


def test_roughness_is_the_mean_square_of_differences(random: np.random.Generator) -> None:
    picture = random.uniform(size=(1, 4, 5, 3))
    expected = (np.diff(picture, axis=1) ** 2).mean() + (np.diff(picture, axis=2) ** 2).mean()
    np.testing.assert_allclose(losses.roughness(tf.constant(picture)), expected)


def test_wasserstein_is_the_distance_of_two_gaussians(random: np.random.Generator) -> None:
    style, other = random.normal(size=(1, 9, 9, 6)) + 1, 2 * random.normal(size=(1, 8, 9, 6))
    target = wanted(tf.constant(style))
    (m, c), (n, d) = ((f.reshape(-1, 6).mean(0), np.cov(f.reshape(-1, 6).T, bias=True)) for f in (style, other))
    distance = ((m - n) ** 2).sum() + np.trace(c + d - 2 * sqrtm(sqrtm(c) @ d @ sqrtm(c)).real)
    expected = distance / (np.trace(c) + (m**2).sum())
    np.testing.assert_allclose(
        losses.wasserstein_loss(losses.mean_and_covariance(tf.constant(other)), target), expected, rtol=1e-3
    )


def test_wasserstein_counts_what_lies_outside_the_principal_directions(random: np.random.Generator) -> None:
    features = random.normal(size=(1, 24, 24, 100))
    target = wanted(tf.constant(features))
    outside = np.eye(100) - target["basis"].numpy() @ target["basis"].numpy().T
    louder = features + features @ outside
    itself, other = (
        float(losses.wasserstein_loss(losses.mean_and_covariance(tf.constant(f)), target)) for f in (features, louder)
    )
    assert itself == pytest.approx(0, abs=1e-3)
    assert other > 0.1


@pytest.mark.parametrize("measure", [losses.GRAM, losses.WASSERSTEIN], ids=["gram", "wasserstein"])
def test_a_mixture_is_what_one_picture_of_all_its_parts_has(
    random: np.random.Generator, measure: losses.StyleMeasure
) -> None:
    features = random.normal(size=(1, 8, 12, 5)) + random.normal(size=(1, 1, 12, 5))
    parts = [measure.statistics(tf.constant(part), None) for part in (features[:, :, :3], features[:, :, 3:])]
    whole = measure.statistics(tf.constant(features), None)
    for name, statistic in losses.mixture(parts, [0.25, 0.75]).items():
        np.testing.assert_allclose(statistic, whole[name], rtol=1e-9)


@pytest.mark.parametrize(("side_px", "weighted"), [(4096, False), (2048, True)])
def test_means_over_millions_of_pixels_keep_their_digits(
    random: np.random.Generator, side_px: int, weighted: bool
) -> None:
    features = random.random((1, side_px, side_px, 2), np.float32)
    weights = random.random((1, side_px, side_px, 1), np.float32) if weighted else None
    found = losses.mean_and_covariance(tf.constant(features), None if weights is None else tf.constant(weights))
    exact, shares = features.astype(np.float64), 1 if weights is None else weights / weights.sum(dtype=np.float64)
    mean = exact.mean(axis=(0, 1, 2)) if weights is None else (shares * exact).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(found["mean"], mean, rtol=5e-7)


def test_a_style_is_at_no_distance_from_itself_and_none_is_nearer(vgg16: Vgg) -> None:
    layers = PRESETS["painterly"].style_layers
    pictures = [tf.image.resize(picture, (72, 96)) for picture in sample_pictures()]
    features = [vgg16.features(picture, layers) for picture in pictures]
    for layer in layers:
        here, elsewhere = features[0][layer], features[1][layer]
        target = wanted(here)
        away, slope_there = slope_at(elsewhere, target)
        itself, slope = slope_at(here, target)
        assert 0 <= itself < 1e-6 < 1e-2 < away
        assert slope < 1e-4 * slope_there
        for reach in (1e-3, 1e-2, 0.1):
            near, _ = slope_at(here + reach * (elsewhere - here), target)
            assert near >= 0
        assert near > itself


def slope_at(features: tf.Tensor, target: losses.Statistics) -> tuple[float, float]:
    """The Wasserstein loss and its gradient's norm."""
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = losses.wasserstein_loss(losses.mean_and_covariance(features), target)
    return float(loss), float(tf.norm(tape.gradient(loss, features)))


def test_root_and_inverse_are_right(random: np.random.Generator) -> None:
    root = random.normal(size=(5, 5))
    matrix = root @ root.T + np.eye(5)
    expected = sqrtm(matrix).real
    found, inverse = losses.roots(tf.constant(matrix))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(inverse, np.linalg.inv(expected), rtol=1e-6, atol=1e-9)


def test_flat_features_have_a_finite_loss_and_gradient(random: np.random.Generator) -> None:
    flat, lively = tf.zeros((1, 8, 8, 80)), tf.constant(random.normal(size=(1, 8, 8, 80)), tf.float32)
    for features, style in ((flat, lively), (lively, flat), (flat, flat)):
        target = wanted(style)
        with tf.GradientTape() as tape:
            tape.watch(features)
            loss = losses.wasserstein_loss(losses.mean_and_covariance(features), target)
        assert np.isfinite(loss)
        assert np.isfinite(tape.gradient(loss, features)).all()


def test_one_root_for_all_layers_and_regions_is_that_of_each(random: np.random.Generator) -> None:
    """Of layers of 6, 6 and 70 channels, so that two are taken together, and one rank is that of the rest."""
    features = [tf.constant(random.normal(size=(1, 9, 9, channels))) for channels in (6, 6, 70)]
    targets = [wanted(tf.constant(random.normal(size=(1, 9, 9, channels)) * 2 + 1)) for channels in (6, 6, 70)]
    weights = tf.constant([1.0, 3.0, 0.5], tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        measured = [losses.mean_and_covariance(seen) for seen in features]
        pairs = list(zip(measured, targets, strict=True))
        together = losses.WASSERSTEIN.losses(pairs)
        apart = [losses.wasserstein_loss(*pair) for pair in pairs]
        totals = [tf.reduce_sum(weights * tf.stack(found)) for found in (together, apart)]
    np.testing.assert_allclose(together, apart, rtol=1e-12)
    for slopes in zip(*(tape.gradient(total, features) for total in totals), strict=True):
        np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-9, atol=1e-15)
    assert float(together[0]) > 0
