"""Cells of a layer's features, and which of them are the picture's own: it is laid with a margin, or seen in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from stylequeue.contract.cost import stride_px

from .networks import laid

View: TypeAlias = tf.Tensor
"""How a picture is laid before the network: paddings, int32 [4, 2] as `tf.pad` takes them."""


class Raster(NamedTuple):
    """Where a map's cells lie: one for each `stride_px` along a side, as far as blocks of `block_px` fit."""

    stride_px: int
    block_px: int

    def cells(self, side_px: Any) -> Any:
        """Along a side of so many pixels, a number or an integer tensor."""
        return side_px // self.block_px * (self.block_px // self.stride_px)

    @property
    def key(self) -> str:
        """As the key of a structure of tensors."""
        return f"{self.stride_px}/{self.block_px}"


def raster_of(layer: str) -> Raster:
    """Of a layer's features."""
    return Raster(stride_px(layer), stride_px(layer))


class Here(NamedTuple):
    """Which part of a picture the network sees, as tensors: cells of the picture itself, neither margin nor halo."""

    bounds: Mapping[str, tf.Tensor]
    """By raster: int32 [2, 2], the rows and columns of what is seen, from and to, that are the part's own."""
    places: Mapping[str, tf.Tensor] | None
    """By raster: int32 [2, 2], where these lie in a map of the whole picture; None: they are the whole."""
    masks: Sequence[tf.Tensor | None]
    """The regions' masks as the picture is seen, each [1, H', W', 1]."""

    def own(self, cells: tf.Tensor, raster: Raster) -> tf.Tensor:
        """Of a map [1, h', w', channels] of all that is seen, the part's own."""
        return cut(cells, self.bounds[raster.key])

    def of_whole(self, cells: tf.Tensor, raster: Raster) -> tf.Tensor:
        """Of a map [1, h, w, ...] of the whole picture, the part's own."""
        return cells if self.places is None else cut(cells, self.places[raster.key])

    def guides(self, layer: str) -> list[tf.Tensor | None]:
        """The masks [1, h, w, 1] in cells of the layer."""
        raster = raster_of(layer)
        return [None if mask is None else self.own(pooled(mask, raster.stride_px), raster) for mask in self.masks]


def cut(cells: tf.Tensor, bounds: tf.Tensor) -> tf.Tensor:
    """Rows and columns of [1, h, w, ...] between `bounds`, int32 [2, 2]."""
    starts, ends = bounds[:, 0], bounds[:, 1]
    rest = tf.shape(cells)[3:]
    begin = tf.concat([[0], starts, tf.zeros_like(rest)], axis=0)
    # Not by indices, whose gradient a processor takes on one core, and slowly.
    part = tf.slice(cells, begin, tf.concat([[1], ends - starts, rest], axis=0))
    return tf.ensure_shape(part, [1, None, None, *cells.shape[3:]])


_BLOCKS_AT_ONCE = 8
"""Sides that are pooled are multiples of so many blocks: of 32 px, for features."""


def pooled(cells: tf.Tensor, block: int) -> tf.Tensor:
    """Means over blocks of `block` by `block`: of [1, H, W, channels], [1, H // block, W // block, channels]."""
    size = tf.shape(cells)[1:3]
    # A processor keeps memory for every new size of what is pooled, so these are few.
    on_canvas = laid(cells, size + -size % (_BLOCKS_AT_ONCE * block))
    means = tf.nn.avg_pool2d(on_canvas, block, block, "VALID")
    return cut(means, tf.stack([tf.zeros_like(size), size // block], axis=1))


def own_cells(raster: Raster, seen: tf.Tensor, view: View) -> tf.Tensor:
    """Rows and columns, from and to, of what is no margin of a picture that is laid, [1, H', W', ...]: int32 [2, 2]."""
    before, after = view[1:3, 0] // raster.stride_px, view[1:3, 1] // raster.stride_px
    return tf.stack([before, raster.cells(tf.shape(seen)[1:3]) - after], axis=1)


def covered(mask: tf.Tensor, view: View, raster: Raster) -> tf.Tensor:
    """How much of each cell of a picture that is laid like that a mask covers: of [1, H, W, 1], [1, h, w, 1]."""
    seen = tf.pad(mask, view, "REFLECT")
    return cut(pooled(seen, raster.stride_px), own_cells(raster, seen, view))
