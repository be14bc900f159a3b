"""An objective taken block by block: the same loss and gradient, in memory that hardly grows with the picture.

All that the loss knows of the style layers are statistics of the whole picture. A first pass over the tiles gathers
each tile's part of them; the loss's derivative with respect to that part is then a constant, by which a second pass
gets the tile's exact gradient alone. A tile is seen with as much around it as its features depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import tensorflow as tf

from stylequeue.contract.memory import Span, halo_px, spans

from .cells import Here, Raster, View, pooled, raster_of
from .descent import Evaluation
from .losses import mixture
from .networks import Vgg
from .objective import Objective, Targets, masks_in, rasters
from .presets import Preset
from .programs import Program
from .terms import Look, Measured, Target


@dataclass(frozen=True)
class Tile:
    """A block of a picture as it is laid before the network."""

    rows: Span
    columns: Span

    @property
    def seen(self) -> tuple[slice, ...]:
        """Of [1, H, W, channels]: the tile and what it is seen with."""
        rows, columns = (slice(span.seen_start, span.seen_end) for span in (self.rows, self.columns))
        return (slice(None), rows, columns)

    def places(self, raster: Raster, laid: tf.Tensor, view: View) -> np.ndarray:
        """Which cells of the whole picture's map are the tile's: int32 [rows or columns, from or to].

        Neither its surroundings' nor the margin's. All tiles' own cells are those of the whole, each once.
        """
        bounds = []
        for span, side_px, margins in zip((self.rows, self.columns), laid.shape[1:3], view.numpy()[1:3], strict=True):
            low, high = margins[0] // raster.stride_px, raster.cells(side_px) - margins[1] // raster.stride_px
            start, end = (
                min(max(edge, low), high) - low
                for edge in (span.start // raster.stride_px, self._end(span, raster, side_px))
            )
            bounds.append((start, end))
        return np.array(bounds, np.int32)

    @staticmethod
    def _end(span: Span, raster: Raster, side_px: int) -> int:
        return raster.cells(side_px) if span.end == side_px else span.end // raster.stride_px

    def own(self, raster: Raster, laid: tf.Tensor, view: View) -> np.ndarray:
        """Where these lie in the map of what is seen: int32 [2, 2]."""
        margin = view.numpy()[1:3, :1] // raster.stride_px
        seen = np.array([[self.rows.seen_start], [self.columns.seen_start]]) // raster.stride_px
        return np.asarray(self.places(raster, laid, view) + margin - seen, np.int32)


Part = Sequence[Mapping[str, Measured]]
"""What each look measures of one tile, by layer."""


class TiledObjective(Objective):
    """As `Objective`, tile by tile: slower by half, and by what tiles are seen with beyond their own."""

    def __init__(self, network: Vgg, preset: Preset, tile_px: int) -> None:
        """`tile_px` is a multiple of 16, from 64."""
        super().__init__(network, preset)
        # Only what is done to a tile is compiled: as one graph, all tiles would be in memory at once.
        self._parts: dict[tuple[Look, ...], tuple[Callable[..., Part], Callable[..., tf.Tensor]]] = {}
        self.tile_px: int = tile_px

    def see(
        self, look: Look, picture: tf.Tensor, view: View | None = None, masks: Sequence[tf.Tensor | None] = (None,)
    ) -> dict[str, Measured]:
        """As `Objective.see`."""
        laid_by = self.views(picture)[0] if view is None else view
        laid = tf.pad(picture, laid_by, "REFLECT")
        blocks = _Blocks([look], laid, laid_by, _laid(masks, laid_by), self._tiles([look], laid))
        measure, _ = self._compiled_for((look,))
        [measured] = blocks.joined([measure(*blocks.seen(tile), [None]) for tile in blocks.tiles])
        return measured

    def evaluate(
        self, picture: tf.Tensor, targets: Targets, weights: Mapping[str, tf.Tensor], view: View
    ) -> Evaluation:
        """As `Objective.evaluate`."""
        looks = tuple(self.terms[name] for name in weights)
        wanted = [targets[name] if self.terms[name].layers else None for name in weights]
        with tf.GradientTape() as laying:
            laying.watch(picture)
            laid = tf.pad(picture, view, "REFLECT")  # [1, H', W', 3]
        blocks = _Blocks(looks, laid, view, _laid(masks_in(targets), view), self._tiles(looks, laid))
        measure, pull = self._compiled_for(looks)
        parts = [measure(*blocks.seen(tile), wanted) for tile in blocks.tiles]
        with tf.GradientTape() as tape:
            tape.watch((picture, parts))
            measured = dict(zip(weights, blocks.joined(parts), strict=True))
            terms = self.losses(picture, measured, targets)
            total = tf.add_n([weights[name] * terms[name] for name in weights])
        # Of the picture's shape, and of what each tile measured.
        direct, upstream = tape.gradient(total, (picture, parts), unconnected_gradients="zero")
        # [1, H', W', 3]; what tiles are seen with overlaps.
        gradient = np.zeros(laid.shape, laid.dtype.as_numpy_dtype)
        for tile, pushed in zip(blocks.tiles, upstream, strict=True):
            gradient[tile.seen] += pull(*blocks.seen(tile), wanted, pushed).numpy()
        through_network = laying.gradient(laid, picture, output_gradients=tf.constant(gradient))
        return Evaluation(total, direct + through_network, terms)

    def _tiles(self, looks: Sequence[Look], laid: tf.Tensor) -> list[list[Tile]]:
        """Those of a picture as it is laid, [1, H', W', 3], row by row."""
        around_px = halo_px(self.network.reach_px({layer for look in looks for layer in look.layers}))
        rows, columns = (spans(side_px, self.tile_px, around_px) for side_px in laid.shape[1:3])
        return [[Tile(row, column) for column in columns] for row in rows]

    def _compiled_for(self, looks: tuple[Look, ...]) -> tuple[Callable[..., Part], Callable[..., tf.Tensor]]:
        """What is measured of a tile [1, h, w, 3], and the gradient to it, alike, of what was measured."""
        if looks not in self._parts:

            def measure(seen: tf.Tensor, here: Here, targets: Sequence[Target]) -> Part:
                return self._looked(looks, seen, here, targets)

            def pull(seen: tf.Tensor, here: Here, targets: Sequence[Target], upstream: Part) -> tf.Tensor:
                with tf.GradientTape() as tape:
                    tape.watch(seen)
                    part = self._looked(looks, seen, here, targets)
                return tape.gradient(part, seen, output_gradients=upstream)

            self._parts[looks] = Program(measure), Program(pull)
        return self._parts[looks]


@dataclass(frozen=True)
class _Blocks:
    """A picture that is looked at in tiles."""

    looks: Sequence[Look]
    laid: tf.Tensor
    view: View
    masks: Sequence[tf.Tensor | None]
    rows: Sequence[Sequence[Tile]]

    @property
    def tiles(self) -> list[Tile]:
        """Row by row."""
        return list(chain(*self.rows))

    def seen(self, tile: Tile) -> tuple[tf.Tensor, Here]:
        """The tile [1, h, w, 3] with what it is seen with, and which part of the picture it is."""
        bounds, places = {}, {}
        for raster in rasters(self.looks):
            bounds[raster.key] = tf.constant(tile.own(raster, self.laid, self.view))
            places[raster.key] = tf.constant(tile.places(raster, self.laid, self.view))
        masks = [None if mask is None else mask[tile.seen] for mask in self.masks]
        return self.laid[tile.seen], Here(bounds, places, masks)

    def joined(self, parts: Sequence[Part]) -> list[dict[str, Measured]]:
        """What each look measures of the whole."""
        return [
            {layer: self._joined(look, layer, [part[number][layer] for part in parts]) for layer in look.layers}
            for number, look in enumerate(self.looks)
        ]

    def _joined(self, look: Look, layer: str, parts: Sequence[Measured]) -> Measured:
        if look.raster(layer):
            across = len(self.rows[0])
            rows = [tf.concat(parts[at : at + across], axis=2) for at in range(0, len(parts), across)]
            return tf.concat(rows, axis=1)
        return [
            mixture([part[number] for part in parts], self._shares(mask, layer))
            for number, mask in enumerate(self.masks)
        ]

    def _shares(self, mask: tf.Tensor | None, layer: str) -> list[float]:
        """Of each tile's own pixels in those of the region [1, H', W', 1]; where none belong to it, all count alike."""
        raster = raster_of(layer)
        places = [tile.places(raster, self.laid, self.view) for tile in self.tiles]
        if mask is None:
            weights = [float(np.prod(np.diff(sides))) for sides in places]
        else:
            whole, margin = pooled(mask, raster.stride_px).numpy(), self.view.numpy()[1:3, :1] // raster.stride_px
            weights = [
                float(whole[:, slice(*rows), slice(*columns)].sum())
                for rows, columns in (sides + margin for sides in places)
            ]
        total = sum(weights)
        return [weight / total if total else 1 / len(weights) for weight in weights]


def _laid(masks: Sequence[tf.Tensor | None], view: View) -> list[tf.Tensor | None]:
    """Each [1, H, W, 1] as the picture is laid: [1, H', W', 1]."""
    return [None if mask is None else tf.pad(mask, view, "REFLECT") for mask in masks]
