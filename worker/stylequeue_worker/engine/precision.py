"""Which arithmetic the network's convolutions are fastest in here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tensorflow as tf

_FAST_IN_BFLOAT16 = ({"amx_bf16"}, {"avx512_bf16", "AuthenticAMD"})
"""What /proc/cpuinfo says of such processors. Intel's with `avx512_bf16` alone take longer for it than for float32."""
_BFLOAT16_CAPABILITY = (8, 0)
"""Of NVIDIA's GPUs, from Ampere on; older ones compute it by way of float32."""


def fast_dtype(wanted: Literal["auto", "float32", "bfloat16"] = "auto") -> tf.DType:
    """The precision for networks that may compute in less than float32: the one `wanted`, or what is fastest here.

    Its kind of GPU or processor says, not a measurement: every process of a machine chooses alike, however busy it is.
    """
    if wanted != "auto":
        return tf.as_dtype(wanted)
    if gpus := tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpus[0])
        fast = details.get("compute_capability", (0, 0)) >= _BFLOAT16_CAPABILITY
    else:
        words = _cpuinfo()
        fast = any(needed <= words for needed in _FAST_IN_BFLOAT16)
    return tf.bfloat16 if fast else tf.float32


def _cpuinfo() -> set[str]:
    try:
        return set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return set()
