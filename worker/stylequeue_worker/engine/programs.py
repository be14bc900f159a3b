"""What TensorFlow compiles: one program for pictures of all sizes, from the first on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops

_GRADIENTS: dict[str, Any] = getattr(ops.gradient_registry, "_registry", {})
"""TensorFlow's own, by name: every custom gradient of every program that was ever compiled, and with it its graph."""


class Program:
    """`function` of nested structures of tensors, compiled once for each structure, whatever the sizes of its maps.

    Left to itself TensorFlow compiles for the first sizes as they are, and for all sizes when others come: which of the
    two a picture meets, and so its last bits, would depend on what was painted before.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        # Without autograph, which nothing needs: it writes files that a child that is killed leaves.
        self.function = tf.function(function, autograph=False)

    def __call__(self, *arguments: Any) -> Any:
        """What `function` returns."""
        if tf.config.functions_run_eagerly():
            return self.function(*arguments)
        known = set(_GRADIENTS)
        self.function.get_concrete_function(*tf.nest.map_structure(_of_any_size, arguments))
        # Gradients are taken within the function: once it is compiled nobody asks for these again.
        for name in set(_GRADIENTS) - known:
            del _GRADIENTS[name]
        return self.function(*arguments)


def _of_any_size(argument: Any) -> Any:
    """The kind of a map [1, h, w, channels]; whatever else there is stays as it is."""
    if not isinstance(argument, tf.Tensor):
        return argument
    if argument.shape.rank != 4:
        return tf.TensorSpec(argument.shape, argument.dtype)
    batch, _, _, channels = argument.shape
    return tf.TensorSpec([batch, None, None, channels], argument.dtype)
