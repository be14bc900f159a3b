"""An objective taken block by block: the same loss and gradient, in memory that hardly grows with the picture.

All that the loss knows of the style layers are statistics of the whole picture. A first pass over the tiles gathers
each tile's part of them; the loss's derivative with respect to that part is then a constant, by which a second pass
gets the tile's exact gradient alone. A tile is seen with as much around it as its features depend on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from .descent import Evaluation
from .losses import Statistics, mixture
from .networks import Vgg, stride_px
from .objective import TERMS, Objective, View, Wanted, pooled
from .presets import Preset

GRID_PX = 16
"""The deepest layers' stride. Tiles begin on this grid, so that pooling takes together what it does in the whole."""
MIN_TILE_PX = 64
"""Twice what the mirrored margin may take off the last tile, and a feature at the deepest layers is left."""


class Span(NamedTuple):
    """Where a tile lies along one side: the pixels that are its own, and those it is seen with."""

    start: int
    end: int
    seen_start: int
    seen_end: int


def spans(length_px: int, tile_px: int, reach_px: int) -> list[Span]:
    """A side of `length_px` in tiles of `tile_px` (a multiple of 16, from 64), the last one up to 63 px longer."""
    halo_px = -(-reach_px // GRID_PX) * GRID_PX
    starts = list(range(0, max(length_px - MIN_TILE_PX, 0) + 1, tile_px))
    return [
        Span(start, end, max(0, start - halo_px), min(length_px, end + halo_px))
        for start, end in zip(starts, [*starts[1:], length_px], strict=True)
    ]


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

    def own(self, layer: str, laid: tf.Tensor, view: View) -> np.ndarray:
        """Which of the seen features at `layer` are the tile's: int32 [rows or columns, from or to].

        Neither its surroundings' nor the margin's. All tiles' own features are those of the whole, each once.
        """
        stride = stride_px(layer)
        bounds = []
        for span, side_px, margins in zip((self.rows, self.columns), laid.shape[1:3], view.numpy()[1:3], strict=True):
            low, high = margins[0] // stride, side_px // stride - margins[1] // stride
            seen = span.seen_start // stride
            bounds.append((max(span.start // stride, low) - seen, min(span.end // stride, high) - seen))
        return np.array(bounds, np.int32)


class Part(NamedTuple):
    """What the loss must know of one tile: features at the content layers, statistics at the style layers."""

    features: dict[str, tf.Tensor]
    statistics: dict[str, list[Statistics]]
    """Of each region."""


Guides = Sequence[tf.Tensor | None]
"""The regions' masks, as a picture is laid before the network."""


class TiledObjective(Objective):
    """As `Objective`, tile by tile: slower by half, and by what tiles are seen with beyond their own."""

    def __init__(self, network: Vgg, preset: Preset, tile_px: int) -> None:
        """`tile_px` is a multiple of 16, from 64."""
        super().__init__(network, preset)
        self.tile_px: int = tile_px
        # Only what is done to a tile is compiled: as one graph, all tiles would be in memory at once.
        self._part = tf.function(self._part_of, reduce_retracing=True, autograph=False)
        self._pull = tf.function(self._gradient_of, reduce_retracing=True, autograph=False)
        self._layers = {*preset.content_layers, *preset.style_layers}
        self._reach_px = network.reach_px(self._layers)

    def content_target(self, content: tf.Tensor, view: View) -> dict[str, tf.Tensor]:
        """As `Objective.content_target`."""
        return self._whole(content, view, (None,)).features

    def statistics(
        self, picture: tf.Tensor, view: View, masks: Sequence[tf.Tensor | None] = (None,)
    ) -> dict[str, list[Statistics]]:
        """As `Objective.statistics`."""
        return self._whole(picture, view, masks).statistics

    def evaluate(
        self,
        picture: tf.Tensor,
        content: Mapping[str, tf.Tensor],
        style: Sequence[Wanted],
        weights: Mapping[str, tf.Tensor],
        view: View,
    ) -> Evaluation:
        """As `Objective.evaluate`."""
        with tf.GradientTape() as laying:
            laying.watch(picture)
            laid = tf.pad(picture, view, "REFLECT")
        tiles = self._tiles(laid)
        guides = _laid([wanted.mask for wanted in style], view)
        parts = [[self._part(*self._seen(tile, laid, view, guides)) for tile in row] for row in tiles]
        with tf.GradientTape() as tape:
            tape.watch((picture, parts))
            whole = self._joined(parts, tiles, laid, view, guides)
            terms = self.losses(picture, whole.features, whole.statistics, content, style)
            total = tf.add_n([weights[term] * terms[term] for term in TERMS])
        direct, upstream = tape.gradient(total, (picture, parts), unconnected_gradients="zero")
        gradient = np.zeros(laid.shape, laid.dtype.as_numpy_dtype)
        for tile, pushed in zip(chain(*tiles), chain(*upstream), strict=True):
            gradient[tile.seen] += self._pull(*self._seen(tile, laid, view, guides), pushed).numpy()
        through_network = laying.gradient(laid, picture, output_gradients=tf.constant(gradient))
        return Evaluation(total, direct + through_network, terms)

    def _whole(self, picture: tf.Tensor, view: View, masks: Sequence[tf.Tensor | None]) -> Part:
        laid, guides = tf.pad(picture, view, "REFLECT"), _laid(masks, view)
        tiles = self._tiles(laid)
        parts = [[self._part(*self._seen(tile, laid, view, guides)) for tile in row] for row in tiles]
        return self._joined(parts, tiles, laid, view, guides)

    def _tiles(self, laid: tf.Tensor) -> list[list[Tile]]:
        rows, columns = (spans(side_px, self.tile_px, self._reach_px) for side_px in laid.shape[1:3])
        return [[Tile(row, column) for column in columns] for row in rows]

    def _seen(
        self, tile: Tile, laid: tf.Tensor, view: View, guides: Guides
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor | None]]:
        """What `_part_of` wants of a tile."""
        own = {layer: tf.constant(tile.own(layer, laid, view)) for layer in self._layers}
        return laid[tile.seen], own, [None if guide is None else guide[tile.seen] for guide in guides]

    def _part_of(self, seen: tf.Tensor, own: Mapping[str, tf.Tensor], guides: Guides) -> Part:
        measure = self.preset.style.statistics
        features = {
            layer: tf.cast(_cut(whole, own[layer]), seen.dtype)
            for layer, whole in self.network.features(seen, self._layers).items()
        }
        statistics: dict[str, list[Statistics]] = {}
        for layer in self.preset.style_layers:
            stride = stride_px(layer)
            owned = [None if guide is None else _cut(pooled(guide, stride), own[layer]) for guide in guides]
            statistics[layer] = [dict(measure(features[layer], guide)) for guide in owned]
        return Part({layer: features[layer] for layer in self.preset.content_layers}, statistics)

    def _gradient_of(self, seen: tf.Tensor, own: Mapping[str, tf.Tensor], guides: Guides, upstream: Part) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(seen)
            part = self._part_of(seen, own, guides)
        return tape.gradient(part, seen, output_gradients=upstream)

    def _joined(
        self,
        parts: Sequence[Sequence[Part]],
        tiles: list[list[Tile]],
        laid: tf.Tensor,
        view: View,
        guides: Guides,
    ) -> Part:
        """What the loss must know of the whole."""
        features = {
            layer: tf.concat([tf.concat([part.features[layer] for part in row], axis=2) for row in parts], axis=1)
            for layer in self.preset.content_layers
        }
        statistics = {}
        for layer in self.preset.style_layers:
            bounds = [tile.own(layer, laid, view) for tile in chain(*tiles)]
            offsets = [_offsets(tile, layer) for tile in chain(*tiles)]
            statistics[layer] = [
                mixture(
                    [part.statistics[layer][number] for part in chain(*parts)],
                    _shares(guide, layer, bounds, offsets),
                )
                for number, guide in enumerate(guides)
            ]
        return Part(features, statistics)


def _laid(masks: Sequence[tf.Tensor | None], view: View) -> list[tf.Tensor | None]:
    return [None if mask is None else tf.pad(mask, view, "REFLECT") for mask in masks]


def _cut(whole: tf.Tensor, bounds: tf.Tensor) -> tf.Tensor:
    (top, bottom), (left, right) = (tf.unstack(side) for side in tf.unstack(bounds))
    return whole[:, top:bottom, left:right]


def _offsets(tile: Tile, layer: str) -> np.ndarray:
    """Where the seen features at `layer` begin in the whole."""
    return np.array([[tile.rows.seen_start], [tile.columns.seen_start]]) // stride_px(layer)


def _shares(
    guide: tf.Tensor | None, layer: str, bounds: Sequence[np.ndarray], offsets: Sequence[np.ndarray]
) -> list[float]:
    """Of each tile's own pixels in those of the region; where none belong to it, all count alike."""
    if guide is None:
        weights = [float(np.prod(np.diff(sides))) for sides in bounds]
    else:
        whole = pooled(guide, stride_px(layer)).numpy()
        weights = [
            float(whole[:, slice(*rows), slice(*columns)].sum())
            for rows, columns in (sides + offset for sides, offset in zip(bounds, offsets, strict=True))
        ]
    total = sum(weights)
    return [weight / total if total else 1 / len(weights) for weight in weights]
