"""Every option of a recipe alone and with others: a picture comes out, and the gradient is the loss's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.job import OptimizeRecipe, ResolvedOptimizeRecipe, resolve
from stylequeue_worker import models
from stylequeue_worker.engine import Engine
from stylequeue_worker.engine.networks import Vgg, load, sample_pictures
from stylequeue_worker.engine.objective import TERMS, Objective
from stylequeue_worker.engine.pictures import scaled
from stylequeue_worker.engine.presets import preset_of
from tests.engine.conftest import Picture

SIDE_PX, STEPS = 64, 3
EVERY = 4
"""Of the pairs, one in so many is painted: all of them would take minutes."""

OPTIONS: list[tuple[str, Any]] = [
    ("preset", "tf-tutorial"),
    ("preset", "tf-keras-2018"),
    ("preset", "gatys-2016"),
    ("optimizer", "lbfgs"),
    ("optimizer", "swift"),
    ("strength", 0.9),
    ("content_weight", 3.0),
    ("variation_weight", 2.0),
    ("colours", "luminance"),
    ("colours", "match"),
    ("init", "noise"),
    ("init", "style"),
    ("init", "image"),
    ("pooling", "average"),
    ("content_layers", {"block2_conv2": 0.5, "block3_conv3": 1.0}),
    ("style_layers", {"block1_conv2": 1.0, "block3_conv2": 0.3}),
    ("time_budget_s", 1000.0),
    ("stop_when", 0.5),
    ("styles", 2),
]


def go_together(one: tuple[str, Any], other: tuple[str, Any]) -> bool:
    names = {one[0], other[0]}
    published = "preset" in names and "strength" in names
    return len(names) == 2 and not published and names != {"strength", "content_weight"}


ALONE = [(option,) for option in OPTIONS]
PAIRS = [pair for pair in itertools.combinations(OPTIONS, 2) if go_together(*pair)]
CASES = [*ALONE, *PAIRS[::EVERY]]


def recipe_of(options: tuple[tuple[str, Any], ...]) -> ResolvedOptimizeRecipe:
    fields: dict[str, Any] = {name: value for name, value in options if name != "styles"}
    if fields.get("init") == "image":
        fields["init_image"] = {"bucket": "uploads", "key": "start.jpg"}
    recipe = resolve(OptimizeRecipe.model_validate({"network": "vgg16", "steps": STEPS, **fields}))
    assert isinstance(recipe, ResolvedOptimizeRecipe)
    return recipe


@pytest.fixture(scope="module", autouse=True)
def uncompiled() -> Iterator[None]:
    """Compiling every mixture for three steps would take far longer than the steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def network(model_dir: Path) -> Vgg:
    path = models.find("vgg16", model_dir)
    assert path
    return load("vgg16", path).cast(tf.float64)


@cache
def rescaled(network: Vgg) -> Vgg:
    return network.rescaled(tf.cast(scaled(picture, 0.3), tf.float64) for picture in sample_pictures())


@pytest.mark.parametrize("options", CASES, ids=lambda options: " ".join(f"{name}={value}" for name, value in options))
def test_a_picture_comes_out(
    engine: Engine, photo: Picture, stripes: Picture, options: tuple[tuple[str, Any], ...]
) -> None:
    content, start = photo("coffee", SIDE_PX, 56), photo("chelsea", 40)
    styles = [(stripes(48), 1.0), (photo("rocket", 40, 48), 2.0)][: dict(options).get("styles", 1)]
    steps = list(engine.paint(content, styles, recipe_of(options), start=start))
    assert len(steps) == STEPS
    last = steps[-1].picture
    assert last.shape == content.shape
    assert np.isfinite(last).all()
    assert 0 <= last.min() <= last.max() <= 1
    assert np.abs(last - content).max() > 0.01


DIFFERENTIABLE = {"preset", "pooling", "content_layers", "style_layers", "variation_weight", "styles"}
GRADIENTS = [case for case in [*ALONE, *PAIRS] if {name for name, _ in case} <= DIFFERENTIABLE]


@pytest.mark.parametrize("options", GRADIENTS, ids=lambda options: " ".join(f"{n}={value}" for n, value in options))
def test_the_gradient_is_the_slope_of_the_loss(
    network: Vgg, photo: Picture, stripes: Picture, options: tuple[tuple[str, Any], ...]
) -> None:
    recipe = recipe_of(options)
    preset = preset_of(recipe)
    pooled = network.pooled(recipe.pooling)
    objective = Objective(rescaled(pooled) if preset.rescaled else pooled, preset)
    content, one, two = (
        tf.constant(p, tf.float64) for p in (photo("coffee", SIDE_PX, 56), stripes(48), photo("rocket", 40, 48))
    )
    shares = [(one, 0.4), (two, 0.6)] if ("styles", 2) in options else [(one, 1.0)]
    random = np.random.default_rng(11)
    picture = tf.constant(random.uniform(0.2, 0.8, content.shape))
    direction = random.normal(size=content.shape)
    direction /= np.linalg.norm(direction)
    view = objective.views(picture)[-1]
    weights = {term: tf.constant(getattr(recipe, f"{term}_weight"), tf.float64) for term in TERMS}
    arguments = (objective.content_target(content, view), objective.style_target(shares), weights, view)
    slope = float(tf.reduce_sum(objective.evaluate(picture, *arguments).gradient * direction))
    reach = 1e-5
    up, down = (float(objective.evaluate(picture + sign * reach * direction, *arguments).total) for sign in (1, -1))
    assert slope == pytest.approx((up - down) / (2 * reach), rel=1e-3)
