"""The forward pass against Keras's own models, and files that hold no network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.errors import Code, Permanent
from stylequeue_worker import models
from stylequeue_worker.engine import winograd
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.weights import load
from stylequeue_worker.engine.winograd import Convolution
from tests.engine.conftest import Picture
from tests.support.vgg19 import make_vgg19_from_vgg16

LAYERS = ["block1_conv1", "block3_conv3", "block4_conv2", "block5_conv3"]


def test_features_are_those_of_kerass_model(vgg16: Vgg, vgg16_path: Path, photo: Picture) -> None:
    picture = photo("chelsea", 45, 70)
    theirs = keras.applications.VGG16(include_top=False, weights=str(vgg16_path))
    outputs = keras.Model(theirs.input, [theirs.get_layer(layer).output for layer in LAYERS])
    expected = outputs(keras.applications.vgg16.preprocess_input(picture * 255))
    found = vgg16.features(tf.constant(picture), LAYERS)
    for layer, features in zip(LAYERS, expected, strict=True):
        np.testing.assert_allclose(found[layer], features, rtol=1e-3, atol=1e-2 * float(tf.reduce_mean(features)))


def test_vgg19_is_read_and_computed(vgg16: Vgg, vgg16_path: Path, tmp_path: Path, photo: Picture) -> None:
    """Its additional convolutions are identities here, so its features must be VGG-16's, layer for layer."""
    path = tmp_path / models.MODELS["vgg19"].filename
    make_vgg19_from_vgg16(vgg16_path, path)
    picture = tf.constant(photo())
    deeper = [f"block{block}_conv4" for block in (3, 4, 5)]
    same = partial(np.testing.assert_allclose, rtol=1e-4, atol=0.05)
    found = load("vgg19", path).features(picture, [*LAYERS, *deeper])
    expected = vgg16.features(picture, LAYERS)
    for layer in LAYERS:
        same(found[layer], expected[layer])
    same(found["block5_conv4"], expected["block5_conv3"])


def test_bfloat16_sees_much_the_same(vgg16: Vgg, photo: Picture) -> None:
    picture = tf.constant(photo())
    narrow, wide = (net.features(picture, LAYERS) for net in (vgg16.cast(tf.bfloat16), vgg16))
    for layer in LAYERS:
        assert narrow[layer].dtype == tf.bfloat16
        difference = tf.norm(tf.cast(narrow[layer], tf.float32) - wide[layer]) / tf.norm(wide[layer])
        assert 0 < float(difference) < 0.02


def test_an_unknown_layer_is_refused(vgg16: Vgg, photo: Picture) -> None:
    with pytest.raises(ValueError, match="block9_conv1"):
        vgg16.features(tf.constant(photo()), ["block9_conv1"])


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", None])
def test_a_file_that_holds_another_thing_says_so(content: bytes | None, tmp_path: Path, vgg16_path: Path) -> None:
    path = tmp_path / "vgg19.h5"
    path.write_bytes(vgg16_path.read_bytes() if content is None else content)
    with pytest.raises(Permanent) as caught:
        load("vgg19", path)
    assert caught.value.code == Code.NETWORK_UNAVAILABLE
    assert "models pull vgg19" in caught.value.hint


@pytest.mark.parametrize(
    ("height", "width", "rows"), [(1, 1, None), (5, 7, None), (16, 13, None), (43, 13, 0), (43, 13, 3)]
)
def test_fewer_products_convolve_alike(
    height: int, width: int, rows: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rows: of tiles, as many as there may be at once."""
    if rows is not None:
        monkeypatch.setattr(winograd, "_AT_ONCE", 36 * 30 * -(-width // 4) * rows)
        for name, backwards in (("_onwards", False), ("_backwards", True)):
            monkeypatch.setattr(winograd, name, winograd._written_once(backwards=backwards))
    random = np.random.default_rng(0)
    kernel = random.normal(size=(3, 3, 20, 30)).astype(np.float32)
    features = tf.constant(random.normal(size=(1, height, width, 20)), tf.float32)
    exact = partial(tf.nn.conv2d, filters=tf.constant(kernel, tf.float64), strides=1, padding="SAME")
    found, expected = (
        _with_gradient(convolve, tf.cast(features, dtype))
        for convolve, dtype in ((Convolution(kernel), tf.float32), (exact, tf.float64))
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=3e-5 * np.abs(other).max())


def _with_gradient(convolve: Callable[[tf.Tensor], tf.Tensor], features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Of features [1, h, w, in] what is convolved, and the gradient of its squares, in a program for any size."""

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, features.shape[-1]], features.dtype)], autograph=False)  # type: ignore[untyped-decorator]
    def both(features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            convolved = convolve(features)
            squares = tf.reduce_sum(tf.square(convolved))
        return convolved, tape.gradient(squares, features)

    return both(features)  # type: ignore[no-any-return]


def test_wide_layers_take_fewer_products_where_a_processor_does_float32(
    vgg16: Vgg, photo: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are what takes the time there."""
    asked = []
    products = Convolution.__call__

    def counted(self: Convolution, features: tf.Tensor) -> tf.Tensor:
        asked.append(features.shape[-1])
        return products(self, features)

    monkeypatch.setattr(Convolution, "__call__", counted)
    vgg16.features(tf.constant(photo()), ["block5_conv1"])
    assert asked == [128, 128, 256, 256, 256, 512, 512, 512]
    vgg16.cast(tf.bfloat16).features(tf.constant(photo()), ["block5_conv1"])
    monkeypatch.setattr("stylequeue_worker.engine.networks.on_gpu", lambda: True)
    vgg16.features(tf.constant(photo()), ["block5_conv1"])
    assert len(asked) == 8
