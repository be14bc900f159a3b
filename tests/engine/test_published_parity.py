"""Presets `tf-keras-2018` and `gatys-2016` against their publications, derived again: losses, gradient, picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.recipe import OptimizeRecipe, PresetName, ResolvedOptimizeRecipe, resolve
from stylequeue_worker.engine import painter
from stylequeue_worker.engine.descent import Evaluation
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.objective import Objective
from stylequeue_worker.engine.options import Options
from stylequeue_worker.engine.painter import Painter
from stylequeue_worker.engine.presets import PRESETS
from stylequeue_worker.engine.terms import scene
from tests.engine.conftest import Picture
from tests.support.published import Gatys2016, TfKeras2018

TOLERANCE = 1e-6


def evaluated(
    network: Vgg, preset: PresetName, content: np.ndarray, style: np.ndarray, picture: tf.Tensor
) -> Evaluation:
    recipe = resolve(OptimizeRecipe(preset=preset))
    assert isinstance(recipe, ResolvedOptimizeRecipe)
    objective = Objective(network, PRESETS[preset])
    content64 = tf.constant(content)
    [view] = objective.views(content64)
    weights = {
        "content": recipe.content_weight,
        "style": recipe.style_weight,
        "variation": recipe.variation_weight,
    }
    evaluation: Evaluation = objective.evaluate(
        picture,
        objective.targets(scene(content64, [(tf.constant(style), 1.0)]), view),
        {term: tf.constant(weight, tf.float64) for term, weight in weights.items()},
        view,
    )
    return evaluation


def test_tf_keras_2018(vgg16: Vgg, vgg16_path: Path, photo: Picture, stripes: Picture) -> None:
    content, style, elsewhere = (p.astype(np.float64) for p in (photo(height=32), stripes(32), photo("coffee", 32)))
    theirs = TfKeras2018("vgg16", vgg16_path, content, style)
    network = vgg16.cast(tf.float64)
    picture = tf.constant(elsewhere)
    ours = evaluated(network, "tf-keras-2018", content, style, picture)
    with tf.GradientTape() as tape:
        tape.watch(picture)
        total = theirs.total(picture)
    gradient = tape.gradient(total, picture).numpy()
    np.testing.assert_allclose(ours.total, total, rtol=TOLERANCE)
    np.testing.assert_allclose(ours.gradient, gradient, rtol=0, atol=TOLERANCE * np.abs(gradient).max())

    recipe = resolve(OptimizeRecipe(preset="tf-keras-2018", steps=4))
    assert isinstance(recipe, ResolvedOptimizeRecipe)
    [*_, last] = Painter(network, Options()).paint(
        content.astype(np.float32), [(style.astype(np.float32), 1.0)], recipe, tf.float64
    )
    painted = theirs.painted(content.astype(np.float32).astype(np.float64), 4)
    assert np.abs(painted - content).max() > 0.05
    np.testing.assert_allclose(last.picture, painted, rtol=0, atol=1e-5)


def test_the_best_picture_is_kept(vgg16: Vgg, photo: Picture, stripes: Picture) -> None:
    # At rate 5 and so great a content weight the first step from the content leads upwards.
    recipe = resolve(OptimizeRecipe(preset="tf-keras-2018", steps=2, content_weight=1e6))
    assert isinstance(recipe, ResolvedOptimizeRecipe)
    steps = list(Painter(vgg16, Options()).paint(photo(height=32), [(stripes(32), 1.0)], recipe))
    weights = {"content": 1e6, "style": 1e-2, "variation": 0.0}
    totals = [sum(weights[term] * loss for term, loss in step.losses.items()) for step in steps]
    assert totals[-1] > min(totals)
    best = int(np.argmin(totals))
    for step in steps[best:]:
        np.testing.assert_array_equal(step.picture, steps[best].picture)


def test_gatys_2016(vgg16: Vgg, vgg16_path: Path, photo: Picture, stripes: Picture) -> None:
    content, style, elsewhere = (p.astype(np.float64) for p in (photo(height=32), stripes(32), photo("coffee", 32)))
    samples = [photo("chelsea", 40, 64).astype(np.float64), photo("rocket", 32).astype(np.float64)]
    theirs = Gatys2016("vgg16", vgg16_path, content, style, samples)
    network = vgg16.cast(tf.float64).pooled("average").rescaled(map(tf.constant, samples))
    picture = tf.constant(elsewhere)
    ours = evaluated(network, "gatys-2016", content, style, picture)
    with tf.GradientTape() as tape:
        tape.watch(picture)
        terms = theirs.terms(picture)
        total = 1e-3 * terms["content"] + terms["style"]
    for term, loss in terms.items():
        np.testing.assert_allclose(ours.terms[term], loss, rtol=TOLERANCE)
    gradient = tape.gradient(total, picture).numpy()
    np.testing.assert_allclose(ours.gradient, gradient, rtol=0, atol=TOLERANCE * np.abs(gradient).max())


def test_the_painter_takes_the_rescaled_network(
    vgg16: Vgg, photo: Picture, stripes: Picture, samples: list[tf.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painter, "sample_pictures", lambda: samples)
    recipe = resolve(OptimizeRecipe(preset="gatys-2016", steps=1))
    assert isinstance(recipe, ResolvedOptimizeRecipe)
    [step] = Painter(vgg16, Options()).paint(photo(height=32), [(stripes(32), 1.0)], recipe)
    noise = np.random.default_rng(0).uniform(size=(1, 32, 32, 3))
    rescaled = vgg16.pooled("average").rescaled(samples)
    wanted = evaluated(
        rescaled.cast(tf.float64),
        "gatys-2016",
        photo(height=32).astype(np.float64),
        stripes(32).astype(np.float64),
        tf.constant(noise),
    )
    for term in ("content", "style"):
        np.testing.assert_allclose(step.losses[term], wanted.terms[term], rtol=1e-3)
