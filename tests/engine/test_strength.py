"""Strength of our presets from 0 to 1: pictures leave their content by small steps, and come ever nearer the style."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from stylequeue.contract.recipe import OptimizeRecipe, PresetName, ResolvedOptimizeRecipe, content_weight_of, resolve
from stylequeue_worker.engine import Engine, Options
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.painter import Painter
from tests.engine.conftest import Picture
from tests.support.judge import ssim, style_distance

TWENTIETHS = [number / 20 for number in range(1, 21)]
MOST_A_STEP = 0.15
"""Of SSIM."""
NOISE = 0.03
"""Of the style's distance, between pictures that look alike."""


def recipe(preset: PresetName, strength: float, **given: object) -> ResolvedOptimizeRecipe:
    resolved = resolve(
        OptimizeRecipe.model_validate({"network": "vgg16", "preset": preset, "strength": strength, **given})
    )
    assert isinstance(resolved, ResolvedOptimizeRecipe)
    return resolved


def is_continuous(content: np.ndarray, pictures: Iterable[np.ndarray]) -> None:
    """From strength 0 by 0.001 to 0.05 and on."""
    likeness = np.array([1.0, *(ssim(picture, content) for picture in pictures)])
    assert likeness[1] > 0.98, "0.001 looks like 0"
    assert np.abs(np.diff(likeness)).max() < MOST_A_STEP, likeness


def test_content_weights_fall_ever_more_slowly() -> None:
    for preset in ("painterly", "brushwork"):
        weights = [content_weight_of(strength, preset) for strength in (0.001, *TWENTIETHS)]
        falls = -np.diff(weights)
        assert (falls > 0).all()
        assert (np.diff(falls) < 1e-9).all()


@pytest.mark.parametrize("preset", ["painterly", pytest.param("brushwork", marks=pytest.mark.slow)])
def test_faint_strengths_change_little(narrow: Vgg, photo: Picture, stripes: Picture, preset: PresetName) -> None:
    content, style = photo(height=48), stripes(48)
    painter = Painter(narrow, Options(precision="float32"))
    pictures = []
    for strength in (0.001, 0.05, 0.1):
        *_, last = painter.paint(content, [(style, 1.0)], recipe(preset, strength, steps=30))
        pictures.append(last.picture)
    is_continuous(content, pictures)
    assert np.abs(pictures[-1] - content).mean() > 0.01, "and something"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("preset", ["painterly", "brushwork"])
def test_strength_is_continuous(whole_engine: Engine, photo: Picture, stripes: Picture, preset: PresetName) -> None:
    content, style = photo(height=96), stripes(96)
    pictures = []
    for strength in (0.001, *TWENTIETHS):
        *_, last = whole_engine.paint(content, [(style, 1.0)], recipe(preset, strength))
        pictures.append(last.picture)
    is_continuous(content, pictures)
    distances = [style_distance(picture, style) for picture in (content, *pictures)]
    assert np.diff(distances).max() < NOISE, distances
    assert distances[-1] < 0.7 * distances[0]
