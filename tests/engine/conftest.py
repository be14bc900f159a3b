"""Small pictures, and one engine for all tests: what it compiles it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from skimage import data
from skimage.transform import resize

from stylequeue_worker.engine import Engine

Picture = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def engine(model_dir: Path) -> Engine:
    return Engine(model_dir)


@pytest.fixture(scope="module")
def uncompiled() -> Iterator[None]:
    """For many mixtures of few steps: compiling each would take far longer than the steps."""
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
