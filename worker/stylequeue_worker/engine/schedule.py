"""Coarse to fine: a recipe's steps shared out among scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .presets import Preset

_MIN_SCALED_SIDES_PX = 64, 120
"""Of the shorter and the longer side: coarser stages lose faces, and hold too little of the content to be worth a step.
"""


@dataclass(frozen=True)
class Stage:
    """Steps at one scale."""

    scale: float
    steps: int

    @property
    def work(self) -> float:
        """Its arithmetic, in steps at full size."""
        return self.steps * self.scale**2


def schedule(preset: Preset, sides_px: Sequence[int], steps: int) -> list[Stage]:
    """`steps` shared out among the preset's scales, coarse to fine; the last has the output's size.

    Scales with too small a side are left out, and the coarsest where there are fewer steps than scales.
    """
    least = max(least_px / side_px for least_px, side_px in zip(_MIN_SCALED_SIDES_PX, sorted(sides_px), strict=True))
    scales = [scale for scale in preset.scales if scale.size == 1 or scale.size >= least][-steps:]
    whole = sum(scale.steps for scale in scales)
    stages = [Stage(scale.size, max(1, int(steps * scale.steps / whole))) for scale in scales[:-1]]
    return [*stages, Stage(scales[-1].size, steps - sum(stage.steps for stage in stages))]
