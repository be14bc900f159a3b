"""Small pictures, and one engine for all tests: what it compiles it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage import data
from skimage.transform import resize

from stylequeue.contract.cost import ARCHITECTURES
from stylequeue_worker import models
from stylequeue_worker.engine import Engine, painter, weights
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.pictures import scaled

Picture = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def engine(model_dir: Path) -> Engine:
    return Engine(model_dir)


@pytest.fixture(scope="session")
def vgg16_path(model_dir: Path) -> Path:
    path = models.find("vgg16", model_dir)
    assert path
    return path


@pytest.fixture(scope="session")
def vgg16(vgg16_path: Path) -> Vgg:
    return weights.load("vgg16", vgg16_path)


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


@pytest.fixture(scope="module")
def samples() -> list[tf.Tensor]:
    """What filters are rescaled by, small."""
    return [scaled(picture, 0.25) for picture in weights.sample_pictures()]


@pytest.fixture(scope="module")
def narrow_engine(model_dir: Path, narrow: Vgg, samples: list[tf.Tensor]) -> Iterator[Engine]:
    """Of that network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "load", lambda *_: narrow)
        patch.setattr(painter, "sample_pictures", lambda: samples)
        yield Engine(model_dir)


@pytest.fixture(scope="module")
def uncompiled() -> Iterator[None]:
    """For many mixtures of few steps: compiling each would take far longer than the steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def uncompiled_once() -> Iterator[None]:
    """For one test among others that compile."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def photo() -> Picture:
    """A photograph at any size, float32 [1, height, width, 3]."""

    def photo(name: str = "astronaut", height: int = 64, width: int | None = None) -> np.ndarray:
        picture = resize(getattr(data, name)() / 255, (height, width or height, 3), anti_aliasing=True)
        return np.asarray(np.clip(picture, 0, 1)[None], np.float32)

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
