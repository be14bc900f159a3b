"""The networks' weights: read from Keras's own file layout, without building Keras's model."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import tensorflow as tf

from stylequeue.contract.cost import ARCHITECTURES
from stylequeue.contract.errors import Code, Permanent

from .networks import Kernels, Vgg
from .pictures import scaled


def load(name: str, path: Path) -> Vgg:
    """The network `name` ("vgg19" or "vgg16") from a Keras weights file without top.

    Raises Permanent(NETWORK_UNAVAILABLE) where the file does not hold that network.
    """
    try:
        with h5py.File(path) as file:
            return Vgg(_read(file, name))
    except (OSError, ValueError, KeyError) as error:
        raise Permanent(
            Code.NETWORK_UNAVAILABLE,
            f"{path.name} holds no weights of {name}: {type(error).__name__}",
            f"delete it and run `stylequeue models pull {name}`",
        ) from error


def _read(file: h5py.File, name: str) -> Kernels:
    """Raises KeyError or ValueError where a layer is missing, of another shape, or one too many."""
    widths = ARCHITECTURES[name]
    if others := {layer for layer in file if "_conv" in layer} - set(widths):
        raise ValueError(f"it has {sorted(others)}")
    kernels, channels_in = {}, 3
    for layer, channels in widths.items():
        # Keras has named the arrays differently from one release to the next; their order is kernel, bias.
        kernel, bias = (
            np.asarray(file[layer][_text(array)], np.float32) for array in file[layer].attrs["weight_names"]
        )
        if (kernel.shape, bias.shape) != ((3, 3, channels_in, channels), (channels,)):
            raise ValueError(f"{layer} is {kernel.shape}, {bias.shape}")
        kernels[layer], channels_in = (kernel, bias), channels
    return kernels


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def sample_pictures() -> list[tf.Tensor]:
    """The sample pictures that come with the project, three photographs and three paintings, at half their size.

    Each float32 [1, H, W, 3] in [0, 1].
    """
    samples = files("stylequeue") / "local" / "samples"
    names = sorted(sample.name for sample in samples.iterdir() if sample.name.endswith(".jpg"))
    pictures = [tf.io.decode_jpeg((samples / name).read_bytes())[None] / 255 for name in names]
    return [scaled(tf.cast(picture, tf.float32), 0.5) for picture in pictures]
