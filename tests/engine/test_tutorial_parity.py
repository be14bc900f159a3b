"""Preset `tf-tutorial` against the tutorial, derived again: losses, gradient and picture, to a millionth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.recipe import OptimizeRecipe, ResolvedOptimizeRecipe, resolve
from stylequeue_worker import models
from stylequeue_worker.engine.objective import Objective
from stylequeue_worker.engine.options import Options
from stylequeue_worker.engine.painter import Painter
from stylequeue_worker.engine.presets import PRESETS
from stylequeue_worker.engine.terms import scene
from stylequeue_worker.engine.weights import load
from tests.engine.conftest import Picture
from tests.support.tutorial import CONTENT_WEIGHT, STYLE_WEIGHT, VARIATION_WEIGHT, Tutorial
from tests.support.vgg19 import make_vgg19_from_vgg16

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def vgg19_path(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    vgg16_path = models.find("vgg16", model_dir)
    assert vgg16_path
    path = tmp_path_factory.mktemp("vgg19") / models.MODELS["vgg19"].filename
    make_vgg19_from_vgg16(vgg16_path, path)
    return path


def test_losses_gradient_and_picture_after_ten_steps(vgg19_path: Path, photo: Picture, stripes: Picture) -> None:
    content, style, elsewhere = photo(height=40, width=36), stripes(32, 44), photo("coffee", 40, 36)
    theirs = Tutorial("vgg19", vgg19_path, content.astype(np.float64), style.astype(np.float64))
    network = load("vgg19", vgg19_path).cast(tf.float64)
    recipe = resolve(OptimizeRecipe(preset="tf-tutorial", steps=10))
    assert isinstance(recipe, ResolvedOptimizeRecipe)
    weights = {"content": CONTENT_WEIGHT, "style": STYLE_WEIGHT, "variation": VARIATION_WEIGHT}
    assert weights == {term: getattr(recipe, f"{term}_weight") for term in weights}

    objective = Objective(network, PRESETS["tf-tutorial"])
    content64, style64, picture = (tf.constant(p, tf.float64) for p in (content, style, elsewhere))
    [view] = objective.views(content64)
    ours = objective.evaluate(
        picture,
        objective.targets(scene(content64, [(style64, 1.0)]), view),
        {term: tf.constant(weight, tf.float64) for term, weight in weights.items()},
        view,
    )
    for term, loss in theirs.terms(picture).items():
        np.testing.assert_allclose(ours.terms[term], loss, rtol=TOLERANCE)
    gradient = theirs.gradient(picture).numpy()
    np.testing.assert_allclose(ours.gradient, gradient, rtol=0, atol=TOLERANCE * np.abs(gradient).max())

    [*_, last] = Painter(network, Options()).paint(content, [(style, 1.0)], recipe, tf.float64)
    assert (last.step, last.steps) == (10, 10)
    painted = theirs.painted(content.astype(np.float64), 10)
    assert np.abs(painted - content).max() > 0.1
    np.testing.assert_allclose(last.picture, painted, rtol=0, atol=TOLERANCE)
