"""Losses against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import sqrtm

from stylequeue_worker.engine import losses


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


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
    target = losses.principal(losses.mean_and_covariance(tf.constant(style)))
    (m, c), (n, d) = ((f.reshape(-1, 6).mean(0), np.cov(f.reshape(-1, 6).T, bias=True)) for f in (style, other))
    distance = ((m - n) ** 2).sum() + np.trace(c + d - 2 * sqrtm(sqrtm(c) @ d @ sqrtm(c)).real)
    expected = distance / (np.trace(c) + (m**2).sum())
    np.testing.assert_allclose(
        losses.wasserstein_loss(losses.mean_and_covariance(tf.constant(other)), target), expected, rtol=1e-3
    )


def test_wasserstein_counts_what_lies_outside_the_principal_directions(random: np.random.Generator) -> None:
    features = random.normal(size=(1, 24, 24, 100))
    target = losses.principal(losses.mean_and_covariance(tf.constant(features)))
    outside = np.eye(100) - target["basis"].numpy() @ target["basis"].numpy().T
    louder = features + features @ outside
    itself, other = (
        float(losses.wasserstein_loss(losses.mean_and_covariance(tf.constant(f)), target)) for f in (features, louder)
    )
    assert itself == pytest.approx(0, abs=1e-3)
    assert other > 0.1


def test_styles_are_blended_by_their_statistics(random: np.random.Generator) -> None:
    one, two = (losses.mean_and_covariance(tf.constant(random.normal(size=(1, 8, 8, 5)))) for _ in range(2))
    blend = {name: (one[name] + two[name]) / 2 for name in one}
    np.testing.assert_allclose(
        losses.principal(blend)["size"],
        np.trace(blend["covariance"]) + np.sum(np.square(blend["mean"])),
    )


def test_the_gradient_of_the_root_trace_is_right(random: np.random.Generator) -> None:
    root = random.normal(size=(5, 5))
    matrix = tf.constant(root @ root.T + np.eye(5))
    with tf.GradientTape() as tape:
        tape.watch(matrix)
        trace = losses.root_trace(matrix)
    np.testing.assert_allclose(trace, np.trace(sqrtm(matrix.numpy()).real), rtol=1e-4)
    np.testing.assert_allclose(tape.gradient(trace, matrix), np.linalg.inv(sqrtm(matrix.numpy())) / 2, rtol=1e-3)


def test_flat_features_have_a_finite_loss_and_gradient(random: np.random.Generator) -> None:
    flat, lively = tf.zeros((1, 8, 8, 80)), tf.constant(random.normal(size=(1, 8, 8, 80)), tf.float32)
    for features, style in ((flat, lively), (lively, flat), (flat, flat)):
        target = losses.principal(losses.mean_and_covariance(style))
        with tf.GradientTape() as tape:
            tape.watch(features)
            loss = losses.wasserstein_loss(losses.mean_and_covariance(features), target)
        assert np.isfinite(loss)
        assert np.isfinite(tape.gradient(loss, features)).all()
