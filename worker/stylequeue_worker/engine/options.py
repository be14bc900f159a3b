"""How the engine uses its machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Options:
    """None changes what is painted, but for rounding. Some hold for all of the process."""

    memory_bytes: int | None = None
    """What an optimised painting may take beside what is loaded, on a processor; pictures that would take more are
    painted in tiles. None: most of what the machine, or the container's limit, has left when the painting begins."""
    gpu_memory_bytes: int | None = None
    """All that TensorFlow takes of a GPU, networks among it, as it comes to need it; None: as much as there is."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the network where a preset allows less than float32; auto: what the kind of device is faster in."""
    deterministic: bool = False
    """Whether the same job gives the same bytes on a GPU, too, where it costs speed."""
    tensor_float_32: bool = False
    """Whether a GPU rounds the inputs of float32 convolutions to 10 bits, as published presets do elsewhere."""
    xla: bool = False
    """Whether the network is compiled by XLA, once for each size of canvas."""
    compilation_cache_dir: Path | None = None
    """Where XLA keeps what it has compiled, for the next process; None: nowhere."""
    warm_up_px: tuple[int, ...] = ()
    """Longest sides of the pictures that are painted a step of before the first job."""
