"""Styles with next to nothing in them: they bring the colours that they have, and leave the content."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, PresetName, ResolvedOptimizeRecipe, resolve
from stylequeue_worker.engine import Engine, losses
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.pictures import scaled, ssim
from stylequeue_worker.engine.presets import PRESETS
from stylequeue_worker.engine.terms import Style
from stylequeue_worker.engine.weights import sample_pictures
from tests.engine.conftest import Picture

LEAST_SSIM = 0.3
SIDE_PX = 64


def flat(side: int, *colour: float) -> np.ndarray:
    return np.tile(np.array(colour, np.float32), (1, side, side, 1))


def across(side: int) -> np.ndarray:
    """From 0 at the left to 1 at the right."""
    return np.broadcast_to(np.linspace(0, 1, side, dtype=np.float32)[:, None], (1, side, side, 1))


STYLES: dict[str, Callable[[int], np.ndarray]] = {
    "white": lambda side: flat(side, 1, 1, 1),
    "black": lambda side: flat(side, 0, 0, 0),
    "red": lambda side: flat(side, 0.8, 0.1, 0.1),
    "two tones": lambda side: np.where(across(side) < 0.5, flat(side, 0.9, 0.7, 0.2), flat(side, 0.1, 0.2, 0.5)),
    "a gradient": lambda side: across(side) * flat(side, 1, 0.9, 0.8),
    "a line on white": lambda side: np.where(np.abs(across(side) - 0.5) < 0.02, 0, flat(side, 1, 1, 1)),
}


def grain(picture: np.ndarray) -> float:
    """Root mean square of what differs from the mean of its four neighbours, but for the margin."""
    padded = np.pad(picture, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    neighbours = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return float(np.sqrt(np.mean((picture - neighbours / 4) ** 2)))


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Of the mean colours."""
    return float(np.abs(one.mean(axis=(1, 2)) - other.mean(axis=(1, 2))).mean())


def leaves_the_content_and_brings_colours(content: np.ndarray, style: np.ndarray, picture: np.ndarray) -> None:
    assert ssim(picture, content) > LEAST_SSIM
    if apart(content, style) > 0.1:
        assert apart(picture, style) < 0.7 * apart(content, style)
    else:
        assert apart(picture, style) < 0.1


def statistics(network: Vgg, picture: np.ndarray) -> dict[str, losses.Statistics]:
    features = network.features(tf.constant(picture), PRESETS["painterly"].style_layers)
    return {layer: losses.mean_and_covariance(seen) for layer, seen in features.items()}


@pytest.mark.parametrize("name", STYLES)
def test_the_content_is_never_far_from_a_poor_style(narrow: Vgg, photo: Picture, name: str) -> None:
    """Else that distance would count for more than all else; and what is wanted has room for what the content shows."""
    content, style = (statistics(narrow, picture) for picture in (photo(height=SIDE_PX), STYLES[name](SIDE_PX)))
    for layer, own in content.items():
        target = losses.principal(style[layer], own)
        assert 0 < float(losses.wasserstein_loss(own, target)) < 0.81
        varies = float(tf.reduce_sum(target["spread"]) + target["rest"])
        assert varies > 0.24 * float(tf.linalg.trace(own["covariance"]))


def test_paintings_are_wanted_as_they_are(narrow: Vgg, photo: Picture) -> None:
    paintings = [scaled(picture, 0.4).numpy() for picture in sample_pictures()[3:]]
    for content in (photo("astronaut"), photo("chelsea")):
        own = statistics(narrow, content)
        for painting in paintings:
            for layer, style in statistics(narrow, painting).items():
                covariances = (tf.cast(each["covariance"], tf.float64) for each in (style, own[layer]))
                assert [float(lack) for lack in losses._lacking(*covariances)] == [0, 0]


def test_what_varies_in_one_direction_alone_is_not_sharpened() -> None:
    random = np.random.default_rng(0)
    content, other = (losses.mean_and_covariance(tf.constant(random.normal(size=(1, 16, 16, 8)))) for _ in range(2))
    line = losses.mean_and_covariance(tf.constant(random.normal(size=(1, 16, 16, 1)) * np.ones(8)))

    def sharpened(*regions: tuple[losses.Statistics, float]) -> float:
        """regions: styles, and of how much of the picture each."""
        target = [
            {"wanted": {"block1_conv1": losses.principal(style, content)}, "share": tf.constant(share)}
            for style, share in regions
        ]
        return PRESETS["painterly"].adam_at(SIDE_PX, plainness=Style.plainness(target)).sharpening

    assert sharpened((other, 1.0)) == 0.3
    assert sharpened((line, 1.0)) == sharpened((line, 0.02)) == 0, "however little is painted besides"
    assert sharpened((other, 0.5), (line, 0.5)) == 0
    assert 0.27 < sharpened((other, 0.98), (line, 0.02)) < 0.3, "a small region does not speak for all"


@pytest.mark.parametrize("name", STYLES)
def test_fast(engine: Engine, photo: Picture, name: str) -> None:
    content, style = photo(height=96), STYLES[name](96)
    [step] = engine.paint(content, [(style, 1.0)], resolve(FastRecipe(strength=0.5)))
    leaves_the_content_and_brings_colours(content, style, step.picture)
    assert grain(step.picture) < grain(content)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("preset", ["painterly", "brushwork"])
@pytest.mark.parametrize("name", STYLES)
def test_painted(engine: Engine, photo: Picture, name: str, preset: PresetName) -> None:
    content, style = photo(height=SIDE_PX), STYLES[name](SIDE_PX)
    *_, last = engine.paint(content, [(style, 1.0)], recipe(preset))
    leaves_the_content_and_brings_colours(content, style, last.picture)
    assert grain(last.picture) < 1.1 * max(grain(content), grain(style))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("preset", ["painterly", "brushwork"])
def test_a_content_in_its_own_style_stays(engine: Engine, photo: Picture, preset: PresetName) -> None:
    content = photo(height=SIDE_PX)
    *_, last = engine.paint(content, [(content, 1.0)], recipe(preset))
    assert ssim(last.picture, content) > 0.8
    assert apart(last.picture, content) < 0.02


def recipe(preset: PresetName) -> ResolvedOptimizeRecipe:
    resolved = resolve(OptimizeRecipe(network="vgg16", preset=preset, strength=0.5))
    assert isinstance(resolved, ResolvedOptimizeRecipe)
    return resolved
