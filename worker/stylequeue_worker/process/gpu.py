"""How a worker's GPU is used, by NVIDIA's own command: no library of ours knows."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from shutil import which

from stylequeue.ledger.registry import PROCESSOR

_TIMEOUT_S = 5
_QUERY = "--query-gpu=memory.used,utilization.gpu"
_MIB = 2**20


@dataclass(frozen=True)
class GpuUse:
    """None where it does not say: of a part of a card (MIG), say."""

    memory_bytes: int | None = None
    """By whomever."""
    utilisation: float | None = None
    """How much of the time something is computed, from 0 to 1."""


def gpu_use(device: str) -> GpuUse:
    """Of the one GPU that this process sees; nothing on a processor, or where the command is not there."""
    command = None if device.startswith(PROCESSOR) else which("nvidia-smi")
    if command is None:
        return GpuUse()
    one = os.environ.get("CUDA_VISIBLE_DEVICES") or "0"
    asked = [command, f"--id={one.partition(',')[0]}", _QUERY, "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True).stdout  # noqa: S603
        memory, utilisation = (part.strip() for part in said.splitlines()[0].split(","))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return GpuUse()
    return GpuUse(
        int(memory) * _MIB if memory.isdecimal() else None, int(utilisation) / 100 if utilisation.isdecimal() else None
    )
