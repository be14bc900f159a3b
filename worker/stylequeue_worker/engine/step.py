"""What the engine tells while it paints. No TensorFlow here: callers need these types without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

ENGINE_VERSION = "1"
"""Part of every fingerprint: grows when the same job would come out as other bytes."""

Pixels = npt.NDArray[np.float32]
"""float32 [1, height, width, 3] in [0, 1]."""


@dataclass(frozen=True)
class Network:
    """What paints: its name and the SHA-256 (hex) of its weights."""

    name: str
    digest: str


@dataclass(frozen=True)
class Step:
    """One step of a painting; the last one is the result."""

    step: int
    """Gradient evaluations done, over all scales."""
    steps: int
    """How many there will be."""
    size_px: int
    """Longest side being painted now."""
    losses: Mapping[str, float]
    """Un-weighted, by term: content, style, variation; empty for the fast method."""
    done: float
    """Share of the arithmetic done, in [0, 1]: a step at a large scale counts for more."""
    render: Callable[[], Pixels]

    @cached_property
    def picture(self) -> Pixels:
        """The picture so far; read only when asked for."""
        return self.render()
