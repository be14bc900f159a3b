"""What is said of a painted picture."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, ResolvedOptimizeRecipe, resolve
from stylequeue_worker.engine import Engine
from stylequeue_worker.engine.pictures import ssim
from tests.engine.conftest import Picture

LUMA = np.array([0.299, 0.587, 0.114])


def optimize(**given: object) -> ResolvedOptimizeRecipe:
    recipe = resolve(OptimizeRecipe.model_validate({"network": "vgg16", "preset": "painterly", "steps": 4, **given}))
    assert isinstance(recipe, ResolvedOptimizeRecipe)
    return recipe


def test_the_losses_are_those_of_the_picture(engine: Engine, photo: Picture, stripes: Picture) -> None:
    recipe = optimize(preset="tf-tutorial", steps=3)
    second, third = itertools.islice(engine.paint(photo(), [(stripes(), 1.0)], recipe), 1, 3)
    # What the third step evaluated is the picture that the second left behind.
    summary = second.summarise()
    assert dict(summary.losses) == pytest.approx(dict(third.losses), rel=1e-4)
    layers = recipe.style_layers
    assert summary.losses["style"] == pytest.approx(
        sum(weight * summary.style_distances[layer] for layer, weight in layers.items()), rel=1e-4
    )
    assert (summary.precision, summary.tiles) == ("float32", 1)


def test_ssim_is_that_of_the_lightness(photo: Picture) -> None:
    one, other = photo("coffee", 80, 96), photo("astronaut", 80, 96)
    wanted = structural_similarity(
        one[0] @ LUMA,
        other[0] @ LUMA,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(one, other) == pytest.approx(wanted, abs=0.02)
    assert ssim(one, one) == pytest.approx(1)


def test_in_the_contents_colours_it_is_the_shown_picture_that_is_compared(
    engine: Engine, photo: Picture, stripes: Picture
) -> None:
    content = photo()
    *_, last = engine.paint(content, [(stripes(), 1.0)], optimize(colours="luminance"))
    assert last.summarise().ssim == pytest.approx(ssim(last.picture, content))


def test_where_there_are_no_losses(engine: Engine, photo: Picture, stripes: Picture) -> None:
    content = photo()
    [fast] = engine.paint(content, [(stripes(), 1.0)], resolve(FastRecipe()))
    [nothing] = engine.paint(content, [(stripes(), 1.0)], optimize(strength=0))
    assert (fast.summarise().losses, fast.summarise().style_distances) == ({}, {})
    assert fast.summarise().ssim < 0.9
    assert nothing.summarise().ssim == pytest.approx(1)
