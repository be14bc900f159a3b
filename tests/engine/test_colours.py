"""Keeping the content's colours."""

from __future__ import annotations

import numpy as np
import pytest

from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, resolve
from stylequeue_worker.engine import Engine
from stylequeue_worker.engine.pictures import in_colours_of, with_chroma_of
from tests.engine.conftest import Picture

TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def moments(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    colours = picture.reshape(-1, 3).astype(np.float64)
    return colours.mean(axis=0), np.cov(colours, rowvar=False)


def test_a_matched_style_has_the_contents_mean_and_covariance() -> None:
    random = np.random.default_rng(5)
    content = (0.45 + 0.04 * random.normal(size=(1, 40, 40, 3)) @ random.normal(size=(3, 3))).astype(np.float32)
    style = (0.6 + 0.1 * random.normal(size=(1, 30, 50, 3))).astype(np.float32)
    for ours, wanted in zip(moments(in_colours_of(style, content)), moments(content), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=2e-3)


def test_a_style_in_the_contents_colours_stays_as_it_is(photo: Picture) -> None:
    picture = np.clip(photo(), 0.05, 0.95)
    np.testing.assert_allclose(in_colours_of(picture, picture[:, ::-1]), picture, atol=1e-5)


def test_flat_pictures_can_be_matched(photo: Picture) -> None:
    flat = np.full((1, 20, 20, 3), 0.3, np.float32)
    np.testing.assert_allclose(
        in_colours_of(flat, photo()), np.broadcast_to(photo().mean((0, 1, 2)), flat.shape), atol=1e-5
    )
    assert in_colours_of(photo(), flat).std() < 0.01
    assert np.isfinite(in_colours_of(flat, flat)).all()


def test_chroma_is_the_contents_and_lightness_the_paintings(photo: Picture) -> None:
    # Of low contrast, so that nothing is clipped.
    content, painted = 0.4 + 0.2 * photo("coffee"), 0.4 + 0.2 * photo("chelsea")
    mixed = with_chroma_of(painted, content) @ TO_YIQ.T
    np.testing.assert_allclose(mixed[..., 0], (painted @ TO_YIQ.T)[..., 0], atol=2e-3)
    np.testing.assert_allclose(mixed[..., 1:], (content @ TO_YIQ.T)[..., 1:], atol=2e-3)


@pytest.mark.parametrize("colours", ["luminance", "match"])
@pytest.mark.parametrize("method", ["fast", "optimize"])
def test_the_contents_colours_are_kept(
    engine: Engine, photo: Picture, stripes: Picture, colours: str, method: str
) -> None:
    # Grey content, orange and blue style: whatever colour is left came from the style.
    content = np.repeat(photo("coffee", 128) @ TO_YIQ[0][:, None], 3, axis=-1).astype(np.float32)
    saturation = []
    for choice in ("style", colours):
        if method == "fast":
            recipe = resolve(FastRecipe.model_validate({"colours": choice}))
        else:
            given = {"preset": "painterly", "colours": choice, "steps": 12, "strength": 0.9, "network": "vgg16"}
            recipe = resolve(OptimizeRecipe.model_validate(given))
        *_, last = engine.paint(content, [(stripes(96), 1.0)], recipe)
        assert 0 <= last.picture.min() <= last.picture.max() <= 1
        saturation.append(float(np.ptp(last.picture, axis=-1).mean()))
    assert saturation[1] < 0.5 * saturation[0]
    if colours == "luminance":
        assert saturation[1] < 1e-3
