"""A plan of memory: what a painting will take, whether to paint it whole or in tiles, and what to do where it fails."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import tensorflow as tf

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.recipe import MIN_SIDE_PX

from .descent import Evaluation
from .device import on_gpu
from .losses import Statistics
from .networks import Vgg, stride_px
from .objective import Objective, View, Wanted
from .presets import Preset
from .steps import Plan
from .tiling import GRID_PX, MIN_TILE_PX, TiledObjective

_log = logging.getLogger(__name__)

_SHARE_OF_AVAILABLE = 0.8
"""Of the memory at hand: the rest is for the pictures' own bytes and for what the prediction misses."""
_ACTIVATIONS_KEPT = 1.3
"""Bytes a step needs at its peak over those of the activations alone: gradients and work space. Measured."""
_PICTURE_COPIES = 15
"""Pictures of full size in float32: the optimiser's memory, the content, the step's gradient."""
_VIEWS_KEPT = 6
"""Content features of full size: targets for each view of the picture, its own features, their gradient."""
_FIRST_TILE_PX, _FALLBACK_TILE_PX = 1024, 512


def plan(sides: Sequence[tuple[int, int]], network: Vgg, preset: Preset, budget_bytes: int | None) -> Plan:
    """Whole if that fits into the budget, else the largest tiles that do, else the smallest there are.

    sides: height and width of the content and of each style picture, in pixels. No budget: whole.
    """
    largest_px = max((height + 2 * preset.margin_px) * (width + 2 * preset.margin_px) for height, width in sides)
    layers = {*preset.content_layers, *preset.style_layers}
    step_bytes = _ACTIVATIONS_KEPT * network.dtype.size * network.floats_per_px(layers)
    content_floats = sum(network.channels(layer) / stride_px(layer) ** 2 for layer in preset.content_layers)
    kept_bytes = largest_px * 4 * (3 * _PICTURE_COPIES + _VIEWS_KEPT * content_floats)

    def peak(tile_px: int | None) -> int:
        seen_px = largest_px if tile_px is None else min(largest_px, (tile_px + 2 * network.reach_px(layers)) ** 2)
        return int(kept_bytes + seen_px * step_bytes)

    if budget_bytes is None or peak(None) <= budget_bytes:
        return Plan(peak(None), None)
    tile_px = _FIRST_TILE_PX
    while tile_px > MIN_TILE_PX and peak(tile_px) > budget_bytes:
        tile_px = max(MIN_TILE_PX, int(tile_px / 2**0.5) // GRID_PX * GRID_PX)
    return Plan(peak(tile_px), tile_px)


def smallest_bytes(network: Vgg, preset: Preset) -> int:
    """What a painting takes of the smallest pictures that a job may ask for."""
    return plan([(MIN_SIDE_PX, MIN_SIDE_PX)], network, preset, None).peak_bytes


def available_bytes() -> int | None:
    """What this machine, or the container's limit, has left for a painting; None where that is unknown, as on a GPU."""
    if on_gpu():
        return None
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    left = [int(found[1]) * 1024] if found else []
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no limit
        left.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return int(_SHARE_OF_AVAILABLE * min(left)) if left else None


class FittingObjective(Objective):
    """Whole or in tiles; where memory runs out all the same, in smaller tiles from then on, once.

    `tile_px` is the side of a tile, None for the whole. Raises Permanent(OUT_OF_MEMORY) when memory runs out again.
    """

    def __init__(self, network: Vgg, preset: Preset, tile_px: int | None) -> None:
        super().__init__(network, preset)
        self.tile_px = tile_px
        self.fell_back = False
        self._inner = TiledObjective(network, preset, tile_px) if tile_px else Objective(network, preset)

    def content_target(self, content: tf.Tensor, view: View) -> dict[str, tf.Tensor]:
        """As `Objective.content_target`."""
        found: dict[str, tf.Tensor] = self._fitting("content_target", content, view)
        return found

    def statistics(
        self, picture: tf.Tensor, view: View, masks: Sequence[tf.Tensor | None] = (None,)
    ) -> dict[str, list[Statistics]]:
        """As `Objective.statistics`."""
        found: dict[str, list[Statistics]] = self._fitting("statistics", picture, view, masks)
        return found

    def evaluate(
        self,
        picture: tf.Tensor,
        content: Mapping[str, tf.Tensor],
        style: Sequence[Wanted],
        weights: Mapping[str, tf.Tensor],
        view: View,
    ) -> Evaluation:
        """As `Objective.evaluate`."""
        evaluation: Evaluation = self._fitting("evaluate", picture, content, style, weights, view)
        return evaluation

    def _fitting(self, name: str, *arguments: Any) -> Any:
        try:
            return getattr(self._inner, name)(*arguments)
        except tf.errors.ResourceExhaustedError as error:
            if self.fell_back:
                raise Permanent(
                    Code.OUT_OF_MEMORY,
                    f"a step of this size does not fit into memory, not even in tiles of {self.tile_px} px",
                    "ask for a smaller size, or give the worker more memory",
                ) from error
        self.fell_back = True
        self.tile_px = max(MIN_TILE_PX, self.tile_px // 2 // GRID_PX * GRID_PX) if self.tile_px else _FALLBACK_TILE_PX
        _log.warning("out of memory: painting in tiles of %d px from here on", self.tile_px)
        self._inner = TiledObjective(self.network, self.preset, self.tile_px)
        return getattr(self._inner, name)(*arguments)
