"""What the engine computes on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import tensorflow as tf

from stylequeue.contract.errors import CannotServe, Code, with_extra

from .options import Options

_ASK_S = 30
_NUMBER = re.compile(r"GPU (\d+):")
_UUID = re.compile(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)")


def on_gpu() -> bool:
    """Whether TensorFlow has a GPU here."""
    return bool(tf.config.list_physical_devices("GPU"))


def set_up(options: Options) -> None:
    """What can be set only before TensorFlow first computes. Raises CannotServe where it is too late for that."""
    try:
        for gpu in tf.config.list_physical_devices("GPU"):
            if options.gpu_memory_bytes:
                # Read as the GPU is first used. Else all that it may take is taken then: beside a limit TensorFlow
                # knows no growth by `set_memory_growth`.
                os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
                limit = tf.config.LogicalDeviceConfiguration(memory_limit=options.gpu_memory_bytes / _MB)
                tf.config.set_logical_device_configuration(gpu, [limit])
            else:
                # Else TensorFlow takes all of a GPU's memory at once.
                tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError as error:
        raise CannotServe(
            Code.DEVICE_UNAVAILABLE, f"the GPU's memory is taken already: {error}", "set up the engine first of all"
        ) from error
    if not on_gpu():
        # Read as TensorFlow first computes. Each of these threads keeps up to 1024 of oneDNN's primitives, 0.1 MB each,
        # for shapes that may never come again; networks are chains, no faster by more of them.
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    keep_float32_whole()
    if options.deterministic:
        # It wants random numbers to be seeded; ours are NumPy's.
        tf.random.set_seed(0)
        tf.config.experimental.enable_op_determinism()


_MB = 1024**2


def gpu_bytes_taken() -> int:
    """What this process holds of its GPU now: networks, and what was kept of paintings. 0 where there is none."""
    return int(tf.config.experimental.get_memory_info("GPU:0")["current"]) if on_gpu() else 0


def keep_float32_whole() -> None:
    """From here on. Else a GPU rounds what is meant to be float32: statistics and losses."""
    tf.config.experimental.enable_tensor_float_32_execution(False)


def rounds_float32(options: Options, *, reduced: bool) -> bool:
    """Sets and returns whether from here on a GPU rounds the inputs of float32 convolutions and products to 10 bits.

    Never for presets whose network is `reduced` to bfloat16: what they do in float32 are statistics and losses.
    """
    rounds = options.tensor_float_32 and not reduced and on_gpu()
    tf.config.experimental.enable_tensor_float_32_execution(rounds)
    return rounds


def describe() -> str:
    """The device, for people."""
    if gpus := tf.config.list_physical_devices("GPU"):
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU, {cores} cores"


def require_gpu() -> None:
    """Return if TensorFlow sees a GPU, or `CUDA_VISIBLE_DEVICES` names none.

    Raises CannotServe, with what there is, where it names one in vain: the worker would paint on the processor, and
    nobody would know why it is slow.
    """
    which, _, _ = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")
    if not re.match(r"\d|GPU-|MIG-", which) or on_gpu():
        return
    there = _gpus()
    if any(_is(which, line) for line in there):
        raise CannotServe(
            Code.DEVICE_UNAVAILABLE,
            f"GPU {which} is on this machine, but TensorFlow cannot use it",
            f"where CUDA is missing, {with_extra('gpu')}; `--gpu -1` paints on the processor",
        )
    raise CannotServe(
        Code.DEVICE_UNAVAILABLE,
        f"there is no GPU {which} on this machine; there is {'; '.join(there) or 'none'}",
        "name one of those with --gpu" if there else "`--gpu -1` paints on the processor",
    )


def _gpus() -> list[str]:
    """The machine's NVIDIA GPUs, and the parts of them (MIG), as the driver's own program lists them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=_ASK_S, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if _UUID.search(line)]


def _is(which: str, line: str) -> bool:
    """Whether a GPU, or a part of one, goes by this number or by what its UUID begins with, as for CUDA."""
    number, uuid = _NUMBER.match(line), _UUID.search(line)
    return bool((number and number[1] == which) or (uuid and not which.isdecimal() and uuid[1].startswith(which)))
