"""Fast stylisation with our module, and with one that knows nothing but the call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.recipe import FastRecipe, resolve
from stylequeue_worker.engine import Engine
from tests.engine.conftest import Picture
from tests.support.judge import style_distance


def painted(
    engine: Engine, content: np.ndarray, *styles: tuple[np.ndarray, float], strength: float = 1.0
) -> np.ndarray:
    [step] = engine.paint(content, styles, resolve(FastRecipe(strength=strength)))
    assert (step.step, step.steps, step.losses) == (1, 1, {})
    assert step.size_px == max(content.shape[1:3])
    assert step.picture.dtype == np.float32
    assert 0 <= step.picture.min() <= step.picture.max() <= 1
    return step.picture


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
    return Engine(tmp_path / "nothing", hub_handle=str(tmp_path / "mirror"))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (61, 47), (16, 90)])
def test_keeps_the_contents_size(engine: Engine, photo: Picture, stripes: Picture, height: int, width: int) -> None:
    content = photo("coffee", height, width)
    assert painted(engine, content, (stripes(40, 70), 1.0)).shape == content.shape


def test_strength_moves_from_the_content_to_the_style(engine: Engine, photo: Picture, stripes: Picture) -> None:
    content, style = photo("chelsea", 128), stripes(128)
    np.testing.assert_array_equal(painted(engine, content, (style, 1.0), strength=0), content)
    distances = [
        style_distance(painted(engine, content, (style, 1.0), strength=s), style) for s in (0.05, 0.35, 0.65, 1)
    ]
    assert distances == sorted(distances, reverse=True)


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
        painted(Engine(tmp_path, hub_handle=str(tmp_path / "broken")), photo(), (photo(), 1.0))
    assert caught.value.code == Code.NOT_FINITE
