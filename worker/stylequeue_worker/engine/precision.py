"""Which arithmetic the network's convolutions are fastest in here."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import tensorflow as tf

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
"""What Linux calls a processor's instructions for it."""
_MATRIX_FLAG = "amx_bf16"
"""Of those that are made for it: others may take as long for it as for float32, or longer."""
_BFLOAT16_CAPABILITY = (8, 0)
"""Of NVIDIA's GPUs, from Ampere on; older ones compute it by way of float32."""
_GAIN = 1.1
"""How many times faster bfloat16 must be, for it to be taken: it costs digits, and a measurement strays."""
_ROUNDS = 3
_LAYERS = ((96, 64), (24, 256))
"""Side in pixels and channels of the convolutions that are timed: like a painting's first and middle blocks."""


def fast_dtype(wanted: Literal["auto", "float32", "bfloat16"] = "auto", *, deterministic: bool = False) -> tf.DType:
    """The precision for networks that may compute in less than float32: the one `wanted`, or what is fastest here.

    On a GPU its generation says, on a processor a measurement, once a process, some tenths of a second. A
    `deterministic` choice hangs on the device alone.
    """
    if wanted != "auto":
        return tf.as_dtype(wanted)
    if gpus := tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpus[0])
        return tf.bfloat16 if details.get("compute_capability", (0, 0)) >= _BFLOAT16_CAPABILITY else tf.float32
    flags = _flags()
    if not flags & _BFLOAT16_FLAGS:
        return tf.float32
    if deterministic:
        return tf.bfloat16 if _MATRIX_FLAG in flags else tf.float32
    return tf.bfloat16 if bfloat16_gain() >= _GAIN else tf.float32


def _flags() -> set[str]:
    try:
        return set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return set()


@cache
def bfloat16_gain() -> float:
    """Seconds of some convolutions and their gradients in float32 over those in bfloat16, the best of a few turns."""
    works = {dtype: [_convolution(dtype, *layer) for layer in _LAYERS] for dtype in (tf.float32, tf.bfloat16)}
    least: dict[tf.DType, float] = {}
    for dtype, convolutions in [*works.items()] * (_ROUNDS + 1):  # the first of each compiles
        began_s = time.perf_counter()
        for convolution in convolutions:
            convolution()
        spent_s = time.perf_counter() - began_s
        least[dtype] = min(least.get(dtype, float("inf")), spent_s)
    return least[tf.float32] / least[tf.bfloat16]


def _convolution(dtype: tf.DType, side_px: int, channels: int) -> Callable[[], object]:
    features = tf.cast(tf.random.stateless_uniform((1, side_px, side_px, channels), (0, 0)), dtype)
    kernel = tf.cast(tf.random.stateless_uniform((3, 3, channels, channels), (0, 1)) / (9 * channels), dtype)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def there_and_back() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(features)
            seen = features
            for _ in range(2):
                seen = tf.nn.relu(tf.nn.conv2d(seen, kernel, strides=1, padding="SAME"))
        return tf.reduce_max(tape.gradient(seen, features))

    return lambda: there_and_back().numpy()
