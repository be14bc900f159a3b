"""A VGG-19 whose features are VGG-16's, so that VGG-19's path is tested exactly without its weights."""

from __future__ import annotations

from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np

from stylequeue_worker.models.vgg16 import write_keras_weights


def make_vgg19_from_vgg16(vgg16_path: Path, target: Path) -> None:
    """Write a VGG-19 weights file that computes what the VGG-16 in `vgg16_path` does.

    VGG-19's additional convolutions (the fourth of blocks 3, 4 and 5) become identities: a kernel that passes each
    channel on, and the ReLU after it leaves alone what the ReLU before it made positive.
    """
    with h5py.File(vgg16_path) as file:
        weights = {
            name: (file[f"{name}/{name}/kernel:0"][()], file[f"{name}/{name}/bias:0"][()])
            for block, count in enumerate((2, 2, 3, 3, 3), start=1)
            for name in (f"block{block}_conv{number}" for number in range(1, count + 1))
        }
    for block, channels in ((3, 256), (4, 512), (5, 512)):
        kernel = np.zeros((3, 3, channels, channels), np.float32)
        kernel[1, 1] = np.eye(channels)
        weights[f"block{block}_conv4"] = (kernel, np.zeros(channels, np.float32))
    write_keras_weights(target, dict(sorted(weights.items())))
