"""Adam and L-BFGS on functions whose minima are known."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from stylequeue_worker.engine.descent import AdamRule, Evaluate, Evaluation, Fall, Iterate, adam, lbfgs
from stylequeue_worker.engine.swift import frequency_metric, swift

PLAIN = AdamRule(learning_rate=0.02, beta1=0.9, beta2=0.999, epsilon=1e-8)


class Counted:
    """A function of a picture, as the descents want it; counts its evaluations."""

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, x: tf.Tensor) -> Evaluation:
        self.calls += 1
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = self.function(x)
        return Evaluation(total, tape.gradient(total, x), {})


def last(iterates: Iterator[Iterate], count: int) -> np.ndarray:
    [*_, iterate] = itertools.islice(iterates, count)
    return np.asarray(iterate.picture)


def quadratic(target: np.ndarray, curvatures: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda x: tf.reduce_sum(curvatures * (x - target) ** 2)


def linear(slopes: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda x: tf.reduce_sum(slopes * x)


def rosenbrock(x: tf.Tensor) -> tf.Tensor:
    """In the box [0, 1] for what is usually drawn in [-2, 2]: the minimum, 0, lies at 0.75 everywhere."""
    u = 4 * x - 2
    return tf.reduce_sum(100 * (u[1:] - u[:-1] ** 2) ** 2 + (1 - u[:-1]) ** 2)


def test_lbfgs_finds_the_minimum_of_an_ill_conditioned_quadratic() -> None:
    target, curvatures = np.linspace(0.2, 0.8, 20), np.logspace(0, 3, 20)
    found = last(lbfgs(Counted(quadratic(target, curvatures)), tf.constant(np.full(20, 0.5))), 200)
    np.testing.assert_allclose(found, target, atol=1e-6)


@pytest.mark.parametrize("dimensions", [2, 10])
def test_lbfgs_finds_the_end_of_rosenbrocks_valley(dimensions: int) -> None:
    start = np.full(dimensions, 0.2)
    start[::2] = 0.7
    found = last(lbfgs(Counted(rosenbrock), tf.constant(start)), 400)
    np.testing.assert_allclose(found, 0.75, atol=1e-5)


def test_lbfgs_keeps_to_the_box() -> None:
    # A coupled quadratic with its free minimum outside; where the box holds it, the gradient pushes outwards.
    random = np.random.default_rng(3)
    root = random.normal(size=(12, 12))
    hessian, target = root @ root.T / 12 + np.eye(12), random.uniform(-0.7, 1.7, 12)

    def function(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum((x - target) * tf.linalg.matvec(tf.constant(hessian), x - target)) / 2

    found = last(lbfgs(Counted(function), tf.constant(np.full(12, 0.5))), 300)
    gradient = hessian @ (found - target)
    low, high = found == 0, found == 1
    assert low.any()
    assert high.any()
    assert (gradient[low] > 0).all()
    assert (gradient[high] < 0).all()
    np.testing.assert_allclose(gradient[~low & ~high], 0, atol=1e-5)


def test_lbfgs_ends_where_no_descent_is_left() -> None:
    function = Counted(quadratic(np.full(5, 0.25), np.ones(5)))
    iterates = list(itertools.islice(lbfgs(function, tf.constant(np.full(5, 0.5))), 1000))
    assert len(iterates) < 100
    np.testing.assert_allclose(iterates[-1].picture, 0.25, atol=1e-8)


def test_lbfgs_never_shows_a_worse_picture() -> None:
    function = Counted(rosenbrock)
    shown = [
        float(rosenbrock(i.picture)) for i in itertools.islice(lbfgs(function, tf.constant([0.2, 0.7, 0.1, 0.9])), 60)
    ]
    assert shown == sorted(shown, reverse=True)
    assert shown[-1] < shown[0]


def start_adam(function: Evaluate, start: tf.Tensor) -> Iterator[Iterate]:
    return adam(function, start, PLAIN)


@pytest.mark.parametrize("descend", [start_adam, lbfgs])
def test_one_evaluation_a_yield_and_none_ahead(descend: Callable[[Evaluate, tf.Tensor], Iterator[Iterate]]) -> None:
    function = Counted(rosenbrock)
    descent = descend(function, tf.constant(np.array([0.2, 0.7])))
    for number in range(1, 30):
        next(descent)
        assert function.calls == number


@pytest.mark.parametrize("epsilon", [1e-7, 0.1])
def test_adam_takes_kerass_steps(epsilon: float) -> None:
    target, curvatures = np.linspace(0.1, 0.9, 6), np.logspace(-2, 1, 6)
    theirs = tf.Variable(np.full(6, 0.5))
    optimizer = keras.optimizers.Adam(learning_rate=0.01, beta_1=0.99, beta_2=0.999, epsilon=epsilon)
    for _ in range(25):
        optimizer.apply_gradients([(tf.constant(2 * curvatures * (theirs.numpy() - target)), theirs)])
    rule = AdamRule(learning_rate=0.01, beta1=0.99, beta2=0.999, epsilon=epsilon)
    ours = last(adam(Counted(quadratic(target, curvatures)), tf.constant(np.full(6, 0.5)), rule), 25)
    # Keras keeps its rates in float32, whatever it is given.
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=2e-5)


def test_adam_shows_the_average_of_its_pictures() -> None:
    averaged = AdamRule(PLAIN.learning_rate, PLAIN.beta1, PLAIN.beta2, PLAIN.epsilon, averaging=0.8)
    function, start = quadratic(np.array([0.1]), np.array([1.0])), tf.constant(np.array([0.9]))
    plain = [float(i.picture[0]) for i in itertools.islice(adam(Counted(function), start, PLAIN), 8)]
    shown = last(adam(Counted(function), start, averaged), 8)
    np.testing.assert_allclose(shown, np.average(plain, weights=0.8 ** np.arange(7, -1, -1)))


def test_sharpening_gives_an_edge_more_contrast_and_leaves_a_plane() -> None:
    edge = np.where(np.arange(8) < 4, 0.3, 0.7)[None, None, :, None] * np.ones((1, 8, 1, 1))
    still = AdamRule(0.0, 0.9, 0.99, 0.1, sharpening=0.5)
    shown = last(adam(Counted(linear(np.ones_like(edge))), tf.constant(edge), still), 1)[0, 4, :, 0]
    np.testing.assert_allclose(shown, [0.3, 0.3, 0.3, 0.25, 0.75, 0.7, 0.7, 0.7])


def test_sharpening_leaves_no_value_outside_the_box() -> None:
    checkerboard = np.indices((8, 8)).sum(axis=0)[None, :, :, None] % 2.0
    still = AdamRule(0.0, 0.9, 0.99, 0.1, sharpening=0.5)
    shown = last(adam(Counted(linear(checkerboard)), tf.constant(checkerboard), still), 1)
    assert shown.min() == 0
    assert shown.max() == 1


def test_smoothing_takes_the_checkerboard_out_of_a_step_and_leaves_the_plane() -> None:
    checkerboard = np.indices((8, 8)).sum(axis=0)[None, :, :, None] % 2 - 0.5
    smooth = AdamRule(0.01, 0.9, 0.99, 0.1, smoothing=True)
    for pattern, moves in ((checkerboard, False), (np.ones_like(checkerboard), True)):
        start = tf.constant(np.full(pattern.shape, 0.5))
        moved = last(adam(Counted(linear(pattern)), start, smooth), 1)
        assert bool(np.abs(moved - 0.5)[:, 1:-1, 1:-1].max() > 1e-4) is moves


def smooth_quadratic(height: int, width: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Its coarse traits lie in valleys a thousand times flatter than its fine ones."""
    target = np.random.default_rng(5).uniform(0.3, 0.7, (1, height, width, 3))
    stiffness = frequency_metric(height, width, -2.0)

    def function(x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum((x - target) * stiffness(x - target))

    return function


def test_a_rate_falls_ever_faster_and_again() -> None:
    rule = AdamRule(0.2, beta1=0.9, beta2=0.99, epsilon=1e-8, falls=(Fall(50), Fall(20, share=0.5)))
    rates = np.array([rule.rate(step) for step in range(1, 80)])
    assert rates[0] == 0.2
    assert rates[50] == pytest.approx(0.1), "half of the rule's"
    assert rates[70:] == pytest.approx(0.1 / 50)
    for falls in -np.diff(rates[:50]), -np.diff(rates[50:70]):
        assert (falls > 0).all()
        assert (np.diff(falls) > 0).all()


@pytest.mark.parametrize("steps", [60, 240])
def test_the_measure_by_frequency_shortens_the_way(steps: int) -> None:
    function = smooth_quadratic(33, 40)
    start = tf.constant(np.full((1, 33, 40, 3), 0.1))
    rule = AdamRule(learning_rate=0.02, beta1=0.9, beta2=0.99, epsilon=1e-8, falls=(Fall(steps),))
    plain, ours = adam(Counted(function), start, rule), swift(Counted(function), start, steps)
    assert function(last(ours, steps)) < function(last(plain, steps)) / 1.4


def test_swift_takes_the_steps_it_was_given_and_goes_on_where_it_left_off() -> None:
    function = smooth_quadratic(16, 18)
    start, steps = tf.constant(np.full((1, 16, 18, 3), 0.1)), 230
    whole = list(swift(Counted(function), start, steps))
    assert len(whole) == steps
    cut = 50
    *_, resumed = swift(Counted(function), whole[cut - 1].picture, steps, cut, whole[cut - 1].moments)
    np.testing.assert_allclose(resumed.picture, whole[-1].picture, atol=1e-6)
