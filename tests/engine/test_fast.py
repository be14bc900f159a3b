"""Fast stylisation with our module, and with one that knows nothing but the call."""

from __future__ import annotations

import hashlib
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.recipe import FastRecipe, resolve
from stylequeue_worker import models
from stylequeue_worker.engine import Engine
from stylequeue_worker.engine.feedforward import resolve as resolve_handle
from stylequeue_worker.engine.ground import TINTED
from tests.engine.conftest import Picture
from tests.support.judge import ssim, style_distance


def painted(
    engine: Engine, content: np.ndarray, *styles: tuple[np.ndarray, float], strength: float = 1.0
) -> np.ndarray:
    [step] = engine.paint(content, styles, resolve(FastRecipe(strength=strength)))
    assert (step.step, step.steps, step.losses) == (1, 1, {})
    assert step.size_px == max(content.shape[1:3])
    assert step.picture.dtype == np.float32
    assert 0 <= step.picture.min() <= step.picture.max() <= 1
    return step.picture


def with_module(directory: Path) -> Engine:
    own = {"fast": models.digest(directory)}
    return Engine(directory.parent / "nothing", hub_handle=str(directory), network_sha256=own)


@pytest.fixture
def foreign(tmp_path: Path) -> Engine:
    """An engine with a module that mirrors the content and gives it the style's mean colour."""

    class Mirror(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])] * 2)  # type: ignore[untyped-decorator]
        def __call__(self, content: tf.Tensor, style: tf.Tensor) -> list[tf.Tensor]:
            colour = tf.reduce_mean(style, axis=(1, 2), keepdims=True)
            # Like the original, which returns sides that are multiples of four, and now and then more than 1.
            return [1.5 * (content[:, :-1, ::-1] + colour) / 2]

    tf.saved_model.save(Mirror(), str(tmp_path / "mirror"))
    return with_module(tmp_path / "mirror")


@pytest.mark.parametrize(("height", "width"), [(64, 64), (61, 47), (16, 90)])
def test_keeps_the_contents_size(engine: Engine, photo: Picture, stripes: Picture, height: int, width: int) -> None:
    content = photo("coffee", height, width)
    assert painted(engine, content, (stripes(40, 70), 1.0)).shape == content.shape


@pytest.mark.parametrize("colours", ["style", "match"])
def test_pictures_in_eight_bits(
    engine: Engine, foreign: Engine, photo: Picture, stripes: Picture, colours: str
) -> None:
    given = [(picture * 255).round().astype(np.uint8) for picture in (photo("coffee", 32), stripes(40))]
    recipe = resolve(FastRecipe.model_validate({"strength": 1, "colours": colours}))
    for each in (engine, foreign):
        eight_bits, in_floats = (
            next(each.paint(content, [(style, 1.0)], recipe)).picture
            for content, style in (given, [picture.astype(np.float32) / np.float32(255) for picture in given])
        )
        np.testing.assert_array_equal(eight_bits, in_floats)


TWENTIETHS = [0.001, *(number / 20 for number in range(1, 21))]
LEFT_HALF = np.zeros((1, 96, 128, 1), np.float32)
LEFT_HALF[:, :, :64] = 1


@pytest.mark.parametrize(
    ("colours", "masks"), [("style", None), ("match", None), ("luminance", [LEFT_HALF]), ("style", [LEFT_HALF])]
)
def test_strength_is_continuous_from_the_content_to_the_style(
    engine: Engine, photo: Picture, stripes: Picture, colours: str, masks: list[np.ndarray] | None
) -> None:
    content, style = photo("chelsea", 96, 128), stripes(128)
    pictures = [content]
    for strength in TWENTIETHS:
        recipe = resolve(FastRecipe.model_validate({"strength": strength, "colours": colours}))
        pictures += [step.picture for step in engine.paint(content, [(style, 1.0)], recipe, masks=masks)]
    likeness = np.array([ssim(picture, content) for picture in pictures])
    assert likeness[1] > 0.99, "0.001 looks like 0"
    assert likeness[-1] < 0.85
    assert np.abs(np.diff(likeness)).max() < 0.15
    if (colours, masks) == ("style", None):  # the others keep from the style what they are told to keep
        distances = np.array([style_distance(picture, style) for picture in pictures])
        assert np.diff(distances).max() < NOISE
        assert distances[-1] < 0.6 * distances[0]


NOISE = 0.02
"""Of the judge's distance, between pictures that look alike."""


def test_at_full_strength_it_is_the_networks_own_picture(engine: Engine, photo: Picture, stripes: Picture) -> None:
    content, style = photo("chelsea", 64), stripes(48)
    [own] = engine.load_fast()._module(tf.constant(content), tf.constant(style))
    np.testing.assert_array_equal(painted(engine, content, (style, 1.0)), own)


def test_several_styles_are_blended_by_weight(engine: Engine, photo: Picture, stripes: Picture) -> None:
    content, sun, blue = photo("coffee", 96), stripes(colours=((0.9, 0.6, 0.1), (0.8, 0.1, 0))), stripes()
    whole = [painted(engine, content, (style, 1.0)) for style in (sun, blue)]
    nearness = []
    for weight in (0.1, 1.0, 10.0):
        picture = painted(engine, content, (sun, weight), (blue, 1.0))
        to_sun, to_blue = (float(np.abs(picture - other).mean()) for other in whole)
        nearness.append(to_blue - to_sun)
    assert nearness == sorted(nearness)
    assert nearness[0] < 0 < nearness[-1]


def drawing(height: int = 200, width: int = 256, paper: float = 1.0) -> np.ndarray:
    """Black rings on paper."""
    y, x = np.mgrid[:height, :width]
    away = np.hypot(y - height / 2, x - width / 2)
    lines = np.minimum(np.abs(away - 60), np.abs(away - 30)) < 2
    return np.where(lines, 0, paper).astype(np.float32)[None, ..., None].repeat(3, axis=-1)


DARK = ((0.1, 0.1, 0.5), (0.6, 0.3, 0))


@pytest.mark.parametrize("strength", [0.25, 1.0])
@pytest.mark.parametrize("colours", ["style", "luminance"])
def test_a_white_ground_stays_white(engine: Engine, stripes: Picture, strength: float, colours: str) -> None:
    recipe = resolve(FastRecipe.model_validate({"strength": strength, "colours": colours}))
    # As a scanner or JPEG leaves it.
    noise = np.random.default_rng(5).normal(0, 0.01, (1, 200, 256, 3))
    content = np.clip(drawing(paper=0.99) + noise, 0, 1).astype(np.float32)
    [step] = engine.paint(content, [(stripes(colours=DARK), 1.0)], recipe)
    ground = drawing()[..., 0] == 1
    marks = ~ground
    darker = (content - step.picture).mean(axis=-1)
    assert np.mean(np.abs(step.picture - content).max(axis=-1)[ground] == 0) > 0.6
    assert np.mean(darker[ground] > 0.05) < 0.2
    assert np.abs(step.picture - content)[marks].max() > 0.05, "the lines are painted"
    assert step.summarise().notes == ()


def test_it_says_where_a_light_ground_is_tinted(engine: Engine, photo: Picture, stripes: Picture) -> None:
    style = stripes(colours=DARK)
    for content, strength, notes in (
        (drawing(paper=0.92), 1.0, (TINTED,)),
        (drawing(paper=0.92), 0.01, ()),
        (photo("coffee", 96), 1.0, ()),
    ):
        [step] = engine.paint(content, [(style, 1.0)], resolve(FastRecipe(strength=strength)))
        assert step.summarise().notes == notes
    nowhere = [np.where(drawing()[..., :1] == 1, 0, 1).astype(np.float32)]
    [step] = engine.paint(drawing(paper=0.92), [(style, 1.0)], resolve(FastRecipe()), masks=nowhere)
    assert step.summarise().notes == (), "what no style applies to is as it was"


def test_a_foreign_module_is_called_as_the_hub_has_it(foreign: Engine, photo: Picture, stripes: Picture) -> None:
    content, style = photo("coffee", 40, 60), stripes(40, 80)
    picture = painted(foreign, content, (style, 2.0))
    assert picture.shape == content.shape
    expected = np.clip(1.5 * (content[:, :, ::-1] + style.mean(axis=(1, 2), keepdims=True)) / 2, 0, 1)
    assert np.abs(picture - expected).mean() < 0.03


def test_a_foreign_module_takes_one_style_at_full_strength(foreign: Engine, photo: Picture, stripes: Picture) -> None:
    for styles, strength in (([(stripes(), 1.0)] * 2, 1.0), ([(stripes(), 1.0)], 0.5)):
        with pytest.raises(Permanent) as caught:
            painted(foreign, photo(), *styles, strength=strength)
        assert caught.value.code == Code.RECIPE_UNSUPPORTED
    np.testing.assert_array_equal(painted(foreign, photo(), (stripes(), 1.0), strength=0), photo())


def test_a_handle_that_leads_nowhere_is_named(tmp_path: Path, photo: Picture) -> None:
    (tmp_path / "empty").mkdir()
    for handle in (tmp_path / "absent", tmp_path / "empty"):
        with pytest.raises(Permanent) as caught:
            painted(Engine(tmp_path, hub_handle=str(handle)), photo(), (photo(), 1.0))
        assert caught.value.code == Code.NETWORK_UNAVAILABLE
        assert str(handle) in caught.value.message


def test_nan_never_leaves(tmp_path: Path, photo: Picture) -> None:
    class Broken(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])] * 2)  # type: ignore[untyped-decorator]
        def __call__(self, content: tf.Tensor, style: tf.Tensor) -> list[tf.Tensor]:
            return [content * style[0, 0, 0, 0] * float("nan")]

    tf.saved_model.save(Broken(), str(tmp_path / "broken"))
    with pytest.raises(Permanent) as caught:
        painted(with_module(tmp_path / "broken"), photo(), (photo(), 1.0))
    assert caught.value.code == Code.NOT_FINITE


def test_a_module_without_its_digest_is_not_loaded(
    tmp_path: Path, photo: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "saved_model.pb").write_bytes(b"whatever it does when it is loaded")
    monkeypatch.setattr("tensorflow_hub.load", pytest.fail)
    for own in ({}, {"fast": "0" * 64}, {"vgg16": models.digest(tmp_path / "module")}):
        engine = Engine(tmp_path, hub_handle=str(tmp_path / "module"), network_sha256=own)
        engine.warm_up({"fast"})
        assert engine.networks() == {}
        with pytest.raises(Permanent) as caught:
            painted(engine, photo(), (photo(), 1.0))
        assert caught.value.code == Code.NETWORK_UNAVAILABLE
        assert models.digest(tmp_path / "module") in caught.value.hint


def test_a_module_that_is_altered_before_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "module" / "saved_model.pb"
    module.parent.mkdir()
    module.write_bytes(b"what was looked at")
    monkeypatch.setattr("tensorflow_hub.load", pytest.fail)
    own = {"fast": models.digest(module.parent)}
    engine = Engine(tmp_path, hub_handle=str(module.parent), network_sha256=own)
    recipe = resolve(FastRecipe())
    assert engine.network(recipe).digest == own["fast"]
    module.write_bytes(b"something else")
    for use in (partial(engine.network, recipe), engine.load_fast):
        with pytest.raises(Permanent) as caught:
            use()
        assert caught.value.code == Code.NETWORK_UNAVAILABLE


def test_a_module_is_not_taken_from_the_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow Hub's own cache, where any user of the machine may lay something before us."""
    handle = "https://127.0.0.1:9/module"  # the discard port: nobody listens
    folder = hashlib.sha1(handle.encode()).hexdigest()
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)
    monkeypatch.setenv("TFHUB_MODEL_LOAD_FORMAT", "UNCOMPRESSED")
    monkeypatch.setenv("TFHUB_DISABLE_CERT_VALIDATION", "true")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    laid = tmp_path / "tmp" / "tfhub_modules" / folder / "saved_model.pb"
    laid.parent.mkdir(parents=True)
    laid.touch()
    cache = tmp_path / "models" / "hub"
    with pytest.raises(Permanent) as caught:
        resolve_handle(handle, cache)
    assert caught.value.code == Code.NETWORK_UNAVAILABLE
    assert cache.stat().st_mode & 0o077 == 0
    shutil.copytree(laid.parent, cache / folder)
    assert resolve_handle(handle, cache) == cache / folder
    assert "TFHUB_DISABLE_CERT_VALIDATION" not in os.environ
