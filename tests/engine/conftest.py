"""Small pictures, and one engine for most tests: what it compiles it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage import data
from skimage.transform import resize

from stylequeue.contract.cost import ARCHITECTURES
from stylequeue_worker import models
from stylequeue_worker.engine import Engine, painter, weights, winograd
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.pictures import scaled

Picture = Callable[..., np.ndarray]


_load = weights.load
"""Whatever is put in its place while an engine is first asked for."""


def _engine(model_dir: Path, load: Callable[..., Vgg]) -> Engine:
    """With its networks loaded by `load`."""
    made = Engine(model_dir)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "load", load)
        made.warm_up(["optimize"])
    return made


@pytest.fixture(scope="session")
def engine(model_dir: Path, narrow: Vgg) -> Engine:
    """Of a network that shows how a painting goes, and takes a fraction of the time: `narrow`."""
    return _engine(model_dir, lambda *_: narrow)


@pytest.fixture(scope="session")
def whole_engine(model_dir: Path) -> Engine:
    """For tests of what a picture looks like."""
    return _engine(model_dir, _load)


@pytest.fixture(scope="session")
def vgg16_path(model_dir: Path) -> Path:
    path = models.find("vgg16", model_dir)
    assert path
    return path


@pytest.fixture(scope="session")
def vgg16(vgg16_path: Path) -> Vgg:
    return _load("vgg16", vgg16_path)


@pytest.fixture(scope="session")
def narrow(vgg16_path: Path) -> Vgg:
    """VGG-16 with the first quarter of each layer's filters: a sixteenth of the arithmetic."""
    model = keras.applications.VGG16(include_top=False, weights=str(vgg16_path))
    kernels, channels = {}, 3
    for layer in model.layers:
        if "_conv" in layer.name:
            kernel, bias = layer.get_weights()
            kernels[layer.name] = (kernel[:, :, :channels, : len(bias) // 4], bias[: len(bias) // 4])
            channels = len(bias) // 4
    return Vgg(kernels)


@pytest.fixture(scope="session")
def thin() -> Vgg:
    """VGG-16's architecture with three filters a layer, drawn by chance: it computes next to nothing."""
    random = np.random.default_rng(0)
    return Vgg(
        {
            layer: (random.normal(size=(3, 3, 3, 3)).astype(np.float32) / 5, np.zeros(3, np.float32))
            for layer in ARCHITECTURES["vgg16"]
        }
    )


@pytest.fixture(scope="session")
def samples() -> list[tf.Tensor]:
    """What filters are rescaled by, small."""
    return [scaled(picture, 0.25) for picture in weights.sample_pictures()]


@pytest.fixture
def narrowed(narrow: Vgg, samples: list[tf.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that a test makes have that network."""
    monkeypatch.setattr(weights, "load", lambda *_: narrow)
    monkeypatch.setattr(painter, "sample_pictures", lambda: samples)


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Functions run as they are written, but for convolutions, most of it: compiled once, they do for all sizes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_onwards", "_backwards"):
            patch.setattr(winograd, name, getattr(winograd, name).get_concrete_function())
        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def uncompiled() -> Iterator[None]:
    """For many mixtures of few steps: compiling each would take far longer than the steps."""
    with _uncompiled():
        yield


@pytest.fixture
def uncompiled_once() -> Iterator[None]:
    """For one test among others that compile."""
    with _uncompiled():
        yield


@pytest.fixture(scope="session")
def photo() -> Picture:
    """A photograph at any size, float32 [1, height, width, 3]."""

    @cache  # scaling one takes as long as painting a step
    def scaled_to(name: str, height: int, width: int) -> np.ndarray:
        picture = resize(getattr(data, name)() / 255, (height, width, 3), anti_aliasing=True)
        return np.asarray(np.clip(picture, 0, 1)[None], np.float32)

    def photo(name: str = "astronaut", height: int = 64, width: int | None = None) -> np.ndarray:
        return scaled_to(name, height, width or height).copy()

    return photo


@pytest.fixture(scope="session")
def portrait(photo: Picture) -> np.ndarray:
    """The astronaut's head and shoulders, float32 [1, 64, 64, 3]."""
    return np.ascontiguousarray(photo("astronaut", 133)[:, :64, 27:91])


@pytest.fixture(scope="session")
def stripes() -> Picture:
    """A style of its own: wavy stripes in two colours."""

    def stripes(
        height: int = 64,
        width: int | None = None,
        colours: tuple[tuple[float, ...], ...] = ((0.9, 0.6, 0.1), (0, 0, 0.5)),
    ) -> np.ndarray:
        y, x = np.mgrid[:height, : width or height]
        wave = (0.5 + 0.5 * np.sin(x / 2 + 2 * np.sin(y / 5)))[..., None]
        return np.asarray((wave * np.array(colours[0]) + (1 - wave) * np.array(colours[1]))[None], np.float32)

    return stripes
