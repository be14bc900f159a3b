"""A plan of memory: what a painting will take, whether to paint it whole or in tiles, and what to do where it fails."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Callable, Sequence

import tensorflow as tf

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.recipe import MIN_SIDE_PX, OptimizerName

from .descent import LBFGS_PAIRS
from .device import on_gpu
from .matching import search_bytes
from .networks import Vgg, stride_px
from .objective import Objective
from .presets import Preset
from .steps import Plan
from .tiling import GRID_PX, MIN_TILE_PX

_log = logging.getLogger(__name__)

_ACTIVATIONS_KEPT = 1.15
"""Bytes a step needs at its peak over those of the activations alone: gradients and work space. Measured."""
_BESIDES_BYTES = 115 * 10**6
"""Whatever the size: programs, and kernels as convolutions like to have them. Measured."""
_PROCESSORS_FLOAT_BYTES = 4
"""A processor that computes in bfloat16 keeps so much in float32 besides that it takes as much. Measured."""
_PICTURES = {"adam": 15, "swift": 15, "lbfgs": 15 + 2 * LBFGS_PAIRS}
"""Of the content's size in float32: the optimiser's memory, the content, the step's gradient."""
_VIEWS_KEPT = 6
"""Content features of full size: targets for each view of the picture, its own features, their gradient."""
_COPIES_OF_STYLES = 1.25
"""Of all style pictures in float32: scaled, and those of the scale before."""
_COPIES_OF_STYLE = 2
"""Of one of them, besides, as it is scaled."""
_COPIES_OF_MASK = 3
"""Of each mask, of the content's size: scaled, and its region's as an array and as a tensor."""
_FIRST_TILE_PX, _FALLBACK_TILE_PX = 1024, 512

Sides = tuple[int, int]
"""Height and width, in pixels."""


def plan(
    content: Sides,
    styles: Sequence[Sides],
    network: Vgg,
    preset: Preset,
    optimizer: OptimizerName,
    budget_bytes: int | None,
    masks: int = 0,
) -> Plan:
    """Whole if that fits into the budget, else the largest tiles that do, else the smallest there are.

    No budget: whole. `masks`: how many of the styles have one.
    """
    margins_px = 2 * preset.margin_px
    own_px, *styles_px = ((height + margins_px) * (width + margins_px) for height, width in (content, *styles))
    largest_px = max(own_px, *styles_px)
    layers = preset.layers
    float_bytes = network.dtype.size if on_gpu() else max(network.dtype.size, _PROCESSORS_FLOAT_BYTES)
    step_bytes = _ACTIVATIONS_KEPT * float_bytes * network.floats_per_px(layers)
    content_floats = sum(network.channels(layer) / stride_px(layer) ** 2 for layer in preset.content_layers)
    kept_bytes = own_px * 4 * (3 * _PICTURES[optimizer] + _VIEWS_KEPT * content_floats)
    kept_bytes += 4 * 3 * (_COPIES_OF_STYLES * sum(styles_px) + _COPIES_OF_STYLE * max(styles_px)) + _BESIDES_BYTES
    kept_bytes += 4 * own_px * _COPIES_OF_MASK * masks

    searched_bytes = 0
    if preset.matching:
        scale = min(1, preset.matching.most_px / max(content))
        then, *styles_then = ((int(height * scale), int(width * scale)) for height, width in (content, *styles))
        searched_bytes, stays_bytes = search_bytes(then, styles_then, turned=preset.matching.turned)
        kept_bytes += stays_bytes

    def peak(tile_px: int | None) -> int:
        seen_px = largest_px if tile_px is None else min(largest_px, (tile_px + 2 * network.reach_px(layers)) ** 2)
        return int(kept_bytes + max(seen_px * step_bytes, searched_bytes))

    if budget_bytes is None or peak(None) <= budget_bytes:
        return Plan(peak(None), None)
    tile_px = _FIRST_TILE_PX
    while tile_px > MIN_TILE_PX and peak(tile_px) > budget_bytes:
        tile_px = max(MIN_TILE_PX, int(tile_px / 2**0.5) // GRID_PX * GRID_PX)
    return Plan(peak(tile_px), tile_px)


def smallest_bytes(network: Vgg, preset: Preset) -> int:
    """What a painting takes of the smallest pictures that a job may ask for."""
    sides = (MIN_SIDE_PX, MIN_SIDE_PX)
    return plan(sides, [sides], network, preset, "adam", None).peak_bytes


class Fitting:
    """How one painting fits into memory: whole or in tiles; where memory runs out all the same, in smaller ones, once.

    `make` gives the objective in tiles of so many pixels; None: whole.
    """

    def __init__(self, make: Callable[[int | None], Objective], tile_px: int | None) -> None:
        self._make = make
        self._fell_back = False
        self.tile_px = tile_px
        self.objective = make(tile_px)

    def fall_back(self, error: Exception) -> None:
        """Go on in smaller tiles, where `error` says that memory ran out for the first time.

        Raises Permanent(OUT_OF_MEMORY) where it did before, and `error` where it says another thing.
        """
        if not is_out_of_memory(error):
            raise error
        if self._fell_back:
            raise Permanent(
                Code.OUT_OF_MEMORY,
                "a step of this size does not fit into memory"
                + (f", not even in tiles of {self.tile_px} px" if self.tile_px else ""),
                "ask for a smaller size, or give the worker more memory",
            ) from error
        self._fell_back = True
        self.tile_px = max(MIN_TILE_PX, self.tile_px // 2 // GRID_PX * GRID_PX) if self.tile_px else _FALLBACK_TILE_PX
        _log.warning("out of memory: painting in tiles of %d px from here on", self.tile_px)
        self.objective = self._make(self.tile_px)
        # What failed holds its tensors for as long as its traceback lives.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        gc.collect()


_SPEAKS_OF_MEMORY = re.compile(
    r"(?!.*(illegal|misaligned))"  # of an address: a fault of another kind
    r".*(memory|\boom\b|resource.?exhausted|alloc|blas|cudnn|dnn library|cufft|cusolver|no algorithm worked|scratch)",
    re.IGNORECASE | re.DOTALL,
)
"""What CUDA's libraries say where they get no memory, whatever the error they say it with."""
_KINDS = (
    tf.errors.InternalError,
    tf.errors.UnknownError,
    tf.errors.NotFoundError,
    tf.errors.FailedPreconditionError,
    tf.errors.AbortedError,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is one of the many by which TensorFlow says that a GPU's or the machine's memory ran out."""
    if isinstance(error, tf.errors.ResourceExhaustedError | MemoryError):
        return True
    return isinstance(error, _KINDS) and bool(_SPEAKS_OF_MEMORY.match(str(error)))
