"""A plan of memory: what a painting will take, whether to paint it whole or in tiles, and what to do where it fails."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Callable, Sequence

import tensorflow as tf

from stylequeue.contract import memory
from stylequeue.contract.cost import Sides
from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.memory import MIN_TILE_PX, TILES_GRID_PX, Plan
from stylequeue.contract.recipe import MIN_SIDE_PX, OptimizerName

from .device import on_gpu
from .networks import Vgg
from .objective import Objective
from .presets import Preset

_log = logging.getLogger(__name__)

_PROCESSORS_FLOAT_BYTES = 4
"""A processor that computes in bfloat16 keeps so much in float32 besides that it takes as much. Measured."""
_MOST_FALLBACK_TILE_PX = 512


def plan(
    content: Sides,
    styles: Sequence[Sides],
    network: Vgg,
    preset: Preset,
    optimizer: OptimizerName,
    budget_bytes: int | None,
    masks: int = 0,
) -> Plan:
    """As `memory.plan` of the contract, of a preset on a network, here."""
    return memory.plan(
        content,
        styles,
        memory.Network(
            network.widths,
            preset.layers,
            list(preset.content_layers),
            network.dtype.size if on_gpu() else max(network.dtype.size, _PROCESSORS_FLOAT_BYTES),
            on_gpu(),
        ),
        optimizer,
        scales=preset.scales,
        margin_px=preset.margin_px,
        budget_bytes=budget_bytes,
        masks=masks,
        turned=preset.matching.turned if preset.matching else None,
    )


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

    def fall_back(self, error: Exception, longest_px: int) -> None:
        """Go on in smaller tiles, where `error` says that memory ran out for the first time.

        longest_px: longest side of the picture that was too much; a tile of all of it would be, too.
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
        laid_px = longest_px + 2 * self.objective.preset.margin_px
        half_px = min(laid_px, self.tile_px or laid_px) // 2
        self.tile_px = max(MIN_TILE_PX, min(half_px, _MOST_FALLBACK_TILE_PX) // TILES_GRID_PX * TILES_GRID_PX)
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
