"""A plan of memory: what a painting will take, whether to paint it whole or in tiles, and what to do where it fails."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

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
    *,
    masks: int = 0,
    kept: bool = False,
) -> Plan:
    """As `memory.plan` of the contract, of a preset on a network, here."""
    return memory.plan(
        content,
        styles,
        memory.Network(
            network.widths,
            preset.layers,
            list(preset.content_layers),
            list(preset.style_layers),
            network.dtype.size if on_gpu() else max(network.dtype.size, _PROCESSORS_FLOAT_BYTES),
            on_gpu(),
        ),
        optimizer,
        scales=preset.scales,
        margin_px=preset.margin_px,
        budget_bytes=budget_bytes,
        masks=masks,
        kept=kept,
        turned=preset.turned_styles,
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
        Raises Permanent(OUT_OF_MEMORY) where it did before, and `error` where it says another thing; the second time
        also where memory is only one of the things that it may mean, a broken card another.
        """
        if self._fell_back and is_out_of_memory(error):
            raise _out_of_memory(
                f"a step of this size does not fit into memory, not even in tiles of {self.tile_px} px"
            ) from error
        if self._fell_back or not may_be_out_of_memory(error):
            raise error
        self._fell_back = True
        laid_px = longest_px + 2 * self.objective.preset.margin_px
        half_px = min(laid_px, self.tile_px or laid_px) // 2
        self.tile_px = max(MIN_TILE_PX, min(half_px, _MOST_FALLBACK_TILE_PX) // TILES_GRID_PX * TILES_GRID_PX)
        _log.warning("out of memory: painting in tiles of %d px from here on", self.tile_px)
        self.objective = self._make(self.tile_px)
        # What failed holds its tensors for as long as its traceback lives.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        gc.collect()


@contextmanager
def told_as_lack_of_memory() -> Iterator[None]:
    """Raises Permanent(OUT_OF_MEMORY) in place of an error that says that memory ran out."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise _out_of_memory("the painting took more memory than the worker has") from error


def _out_of_memory(message: str) -> Permanent:
    return Permanent(Code.OUT_OF_MEMORY, message, "ask for a smaller size, or give the worker more memory")


_NO_FAULT_OF_ADDRESSES = r"(?!.*(illegal|misaligned))"
_SPEAKS_OF_MEMORY = re.compile(
    _NO_FAULT_OF_ADDRESSES + r".*(memory|\boom\b|resource.?exhausted|alloc)", re.IGNORECASE | re.DOTALL
)
_MAY_MEAN_MEMORY = re.compile(
    _NO_FAULT_OF_ADDRESSES + r".*(blas|cudnn|dnn library|cufft|cusolver|no algorithm worked|scratch)",
    re.IGNORECASE | re.DOTALL,
)
"""What CUDA's libraries say where they get no memory, and where a card is broken."""
_KINDS = (
    tf.errors.InternalError,
    tf.errors.UnknownError,
    tf.errors.NotFoundError,
    tf.errors.FailedPreconditionError,
    tf.errors.AbortedError,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is one of those by which TensorFlow says that a GPU's or the machine's memory ran out."""
    if isinstance(error, tf.errors.ResourceExhaustedError | MemoryError):
        return True
    return isinstance(error, _KINDS) and bool(_SPEAKS_OF_MEMORY.match(str(error)))


def may_be_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says so, or is one of those behind which a lack of memory may stand, or a broken card."""
    return is_out_of_memory(error) or (isinstance(error, _KINDS) and bool(_MAY_MEAN_MEMORY.match(str(error))))
