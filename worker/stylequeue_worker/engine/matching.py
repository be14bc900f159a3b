"""Feature matching: every place of the picture takes the features of the most similar place of a style.

After Kolkin and others, "Style transfer by relaxed optimal transport and self-similarity" (2019) and "Neural neighbor
style transfer" (2022). A place is a block of 4 x 4 px; its column is what all layers of four blocks say of it. Columns
are never in memory together: how similar two are is a sum over layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf

from stylequeue.contract.cost import Sides, is_matched, scaled_sides, stride_px
from stylequeue.contract.memory import (
    COMPARED_AT_ONCE,
    MATCHED_LAYERS,
    PLACES_PX,
    SEARCH_RANK,
    SEARCH_SAMPLED,
    most_candidates,
    style_blocks,
)
from stylequeue.contract.recipe import ResolvedOptimizeRecipe

from .cells import Here, Raster, View, covered, pooled
from .terms import Area, Measured, Scene, See, Target, Weighing

PLACES = Raster(PLACES_PX, block_px=8)
"""Of blocks of the deepest layers' stride, so that their features have places, too."""
_WEIGHT = 1.0
_EVERY = 2
"""It counts in the first of so many steps: each takes a quarter as long again, and what it leaves out does not show."""
_OFTEN_PX = 256
"""The longest side up to which that holds; beyond, it counts in half as many, of one view: masses are laid, and as much
of it as before would hold them closer to the content than they are at smaller sizes."""
_SHARE_BIAS = 0.05
"""Of similarity, for a style that has e times the share of another."""
_START_SHARE = 0.25
"""Of what a coarser scale painted in what is looked up; the rest is the content."""
_TINY = 1e-12


class Columns:
    """Features of all layers at each place, scaled so that layers count alike whatever their width."""

    layers: Collection[str] = MATCHED_LAYERS

    def raster(self, layer: str) -> Raster | None:  # noqa: ARG002
        """One for all layers."""
        return PLACES

    def measure(self, layer: str, features: tf.Tensor, here: Here, target: Target) -> Measured:  # noqa: ARG002
        """Of features [1, h', w', channels], at each place: bfloat16 [1, h, w, channels]."""
        return tf.cast(here.own(at_places(features, layer), PLACES) / features.shape[-1], tf.bfloat16)


_COLUMNS = Columns()
"""One for all: what is compiled for a look is kept by its identity."""


def at_places(features: tf.Tensor, layer: str) -> tf.Tensor:
    """Features [1, h, w, channels] of a layer at places, and where less than a block is left: float32 at least."""
    stride = stride_px(layer)
    dtype = tf.float64 if features.dtype == tf.float64 else tf.float32
    if stride < PLACES.stride_px:
        block = PLACES.stride_px // stride
        features = pooled(features, block)
    features = tf.cast(features, dtype)
    if stride > PLACES.stride_px:
        whole = [side * stride // PLACES.stride_px for side in tf.unstack(tf.shape(features)[1:3])]
        features = tf.cast(tf.image.resize(features, whole), dtype)
    return features


class Matching:
    """One less the mean cosine of each place's column and the style's that was found for it."""

    name = "matching"
    layers: Collection[str] = MATCHED_LAYERS

    def __init__(self, *, turned: bool) -> None:
        """turned: whether the styles' quarter turns are candidates, too."""
        self._turns = 4 if turned else 1
        # Of the latest scene, for as long as there is one: an idle worker would hold the pictures of its last job.
        self._latest: WeakKeyDictionary[Scene, tuple[list[Candidates], dict[str, tf.Tensor]]] = WeakKeyDictionary()

    def weighing(
        self,
        recipe: ResolvedOptimizeRecipe,  # noqa: ARG002
        content: Sides,
        scales: Sequence[float],
    ) -> Weighing | None:
        """At coarse stages; at the last of these it falls to nothing."""
        is_now, *later = (is_matched(content, scale) for scale in scales)
        if not is_now:
            return None
        is_often = max(scaled_sides(content, scales[0])) <= _OFTEN_PX
        return Weighing(_WEIGHT, _EVERY if is_often else 2 * _EVERY, falls=not any(later))

    def raster(self, layer: str) -> Raster | None:  # noqa: ARG002
        """One for all layers."""
        return PLACES

    def measure(self, layer: str, features: tf.Tensor, here: Here, target: Target) -> Measured:
        """At each place the layer's part of the product with the wanted column, and of the square: [1, h, w, 2].

        features: [1, h', w', channels]; in float32 at least.
        """
        own = here.own(at_places(features, layer), PLACES)
        # bfloat16 [n, channels] by int32 [1, h, w]: [1, h, w, channels].
        wanted = tf.gather(_rows(target["columns"][layer]), here.of_whole(target["found"], PLACES)[..., 0])
        # A column has its layers' features over their number.
        size = tf.constant([features.shape[-1], features.shape[-1] ** 2], own.dtype)
        return _product_and_square(own, wanted) / size

    def loss(self, picture: tf.Tensor, measured: Mapping[str, Measured], target: Target) -> tf.Tensor:  # noqa: ARG002
        """Over all places that a style applies to. measured: [1, h, w, 2] of each layer."""
        # Each [1, h, w, 1].
        product, square = tf.split(tf.add_n([measured[layer] for layer in MATCHED_LAYERS]), 2, axis=-1)
        far = 1 - product / tf.sqrt(square + _TINY)
        return tf.reduce_sum(target["weights"] * far)

    def target(self, scene: Scene, view: View, see: See) -> Target:
        """What each place wants, in this view.

        columns: of all candidates, unit columns [1, 1, n, channels] in bfloat16, by layer; found: int32 [1, h, w, 1],
        which of them; weights: [1, h, w, 1], how much each place counts, in sum what share of
        the picture styles apply to. Maps all, for those of one size and of another go through one program.
        """
        if scene not in self._latest:
            self._latest.clear()
            areas = [self._candidates(area, scene, see) for area in scene.areas]
            # [1, 1, all areas' candidates, channels].
            whole = {
                layer: tf.concat([area.columns[layer] for area in areas], axis=0)[None, None]
                for layer in MATCHED_LAYERS
            }
            # Else all columns would be there twice.
            self._latest[scene] = [area._replace(columns={}) for area in areas], whole
        candidates, columns = self._latest[scene]
        looked_up = scene.content
        if scene.start is not None:
            looked_up = _START_SHARE * scene.start + (1 - _START_SHARE) * scene.content
        seen = see(_COLUMNS, looked_up, view)
        # bfloat16 [h w, all channels].
        rows = tf.concat([_rows(seen[layer]) for layer in MATCHED_LAYERS], axis=-1)
        height, width = seen[MATCHED_LAYERS[0]].shape[1:3]
        covers = [_cover(mask, view, height, width) for mask in scene.masks]
        # The area of each place: [h w].
        belongs = np.argmax(covers, axis=0).ravel()
        found = np.zeros(height * width, np.int32)
        offset = 0
        for number, candidate in enumerate(candidates):
            inside = np.flatnonzero(belongs == number)
            if len(inside):
                found[inside] = offset + candidate.nearest(tf.gather(rows, inside))
            offset += candidate.number
        covered = np.sum(covers, axis=0)
        return {
            "columns": columns,
            "found": tf.constant(found.reshape(1, height, width, 1)),
            "weights": tf.constant(covered[None, ..., None] / covered.size, scene.content.dtype),
        }

    def _candidates(self, area: Area, scene: Scene, see: See) -> Candidates:
        """What an area's places may want, of styles [1, H, W, 3]."""
        most = most_candidates(tuple(scene.content.shape[1:3]))
        columns: dict[str, list[tf.Tensor]] = {layer: [] for layer in MATCHED_LAYERS}
        bias = []
        for picture, share in area.styles:
            blocks = style_blocks(tuple(picture.shape[1:3]))
            kept = max(1, int(share * most / self._turns / len(blocks)))
            for turn, (rows, across) in itertools.product(range(self._turns), blocks):
                # By NumPy: TensorFlow keeps memory for every size that it turned.
                seen = see(_COLUMNS, tf.constant(np.rot90(picture[0, rows, across], turn)[None]))
                count = int(np.prod(seen[MATCHED_LAYERS[0]].shape[1:3]))
                # The same for the same picture: a resumed painting wants the same. int [at most `kept`].
                chosen = np.random.default_rng(turn).permutation(count)[:kept]
                for layer in MATCHED_LAYERS:
                    columns[layer].append(tf.gather(_rows(seen[layer]), chosen))
                bias.append(np.full(len(chosen), _SHARE_BIAS * np.log(share), np.float32))
        whole = {layer: tf.concat(columns.pop(layer), axis=0) for layer in MATCHED_LAYERS}
        return Candidates.of(whole, np.concatenate(bias))


class Candidates(NamedTuple):
    """The columns of an area's styles."""

    columns: dict[str, tf.Tensor]
    """By layer, [n, channels] in bfloat16; all layers' together have length 1."""
    directions: tf.Tensor
    """Float32 [n, rank]: where they lie from their mean, in length 1, in terms of `basis`."""
    basis: tf.Tensor
    """Float32 [all channels, rank]: orthonormal."""
    bias: tf.Tensor
    """Float32 [n]: of similarity."""

    @classmethod
    def of(cls, columns: Mapping[str, tf.Tensor], bias: np.ndarray) -> Candidates:
        """Of columns as they are seen, bfloat16 [n, channels] by layer."""

        def rows(numbers: np.ndarray) -> tf.Tensor:
            return tf.concat([tf.gather(columns[layer], numbers) for layer in MATCHED_LAYERS], axis=-1)

        every = np.arange(len(bias))
        mean = _mean(rows, every)
        sampled = np.random.default_rng(0).permutation(every)[:SEARCH_SAMPLED]
        basis = _basis(_by_chunks(lambda chunk: _directions(chunk, mean), rows, sampled))
        directions = _by_chunks(lambda chunk: _directions(chunk, mean) @ basis, rows, every)
        # Of a layer at a time, float32 [n, 1] and [n, channels].
        squares = [tf.reduce_sum(tf.cast(part, tf.float32) ** 2, axis=-1, keepdims=True) for part in columns.values()]
        size = tf.sqrt(tf.add_n(squares)) + _TINY
        unit = {layer: tf.cast(tf.cast(part, tf.float32) / size, tf.bfloat16) for layer, part in columns.items()}
        return cls(unit, directions, basis, tf.constant(bias))

    @property
    def number(self) -> int:
        """How many there are."""
        return int(self.directions.shape[0])

    def nearest(self, places: tf.Tensor) -> np.ndarray:
        """Which of them is most like each of `places`, bfloat16 [n, all channels]: int32 [n]."""
        rows, every = partial(tf.gather, places), np.arange(places.shape[0])
        mean = _mean(rows, every)
        return np.asarray(_by_chunks(lambda chunk: self._nearest(_directions(chunk, mean) @ self.basis), rows, every))

    def _nearest(self, directions: tf.Tensor) -> tf.Tensor:
        """As `nearest`, of directions float32 [n, rank]."""
        # [n, candidates].
        alike = tf.matmul(directions, self.directions, transpose_b=True) + self.bias
        return tf.argmax(alike, axis=-1, output_type=tf.int32)


def _product_and_square(own: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Of [1, h, w, channels] at each place the product with `wanted`, bfloat16 alike, and with itself: [1, h, w, 2]."""

    # TensorFlow's own gradient lays what comes from behind out over all channels first.
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def both(own: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return upstream[..., :1] * tf.cast(wanted, own.dtype) + 2 * upstream[..., 1:] * own

        product = tf.reduce_sum(own * tf.cast(wanted, own.dtype), axis=-1)
        return tf.stack([product, tf.reduce_sum(own * own, axis=-1)], axis=-1), gradient

    found: tf.Tensor = both(own)
    return found


def _by_chunks(
    made: Callable[[tf.Tensor], tf.Tensor], rows: Callable[[np.ndarray], tf.Tensor], numbers: np.ndarray
) -> tf.Tensor:
    """What is made of rows float32 [n, all channels], all together; `rows` of some numbers, int [n], are in bfloat16.

    In float32, and all at once, they would take many times what is made of them.
    """
    chunks = [numbers[at : at + COMPARED_AT_ONCE] for at in range(0, len(numbers), COMPARED_AT_ONCE)]
    return tf.concat([made(tf.cast(rows(chunk), tf.float32)) for chunk in chunks], axis=0)


def _mean(rows: Callable[[np.ndarray], tf.Tensor], numbers: np.ndarray) -> tf.Tensor:
    """Of all these rows: float32 [all channels]."""
    sums = _by_chunks(lambda chunk: tf.reduce_sum(chunk, axis=0, keepdims=True), rows, numbers)
    return tf.reduce_sum(sums, axis=0) / len(numbers)


def _directions(columns: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
    """Of columns float32 [n, channels], from their mean [channels], each in length 1: alike."""
    centred = columns - mean
    return centred / (tf.norm(centred, axis=-1, keepdims=True) + _TINY)


def _basis(sampled: tf.Tensor) -> tf.Tensor:
    """Float32 [channels, rank], orthonormal: in which `sampled` directions [n, channels] lie most.

    By a randomised range finder with one power step (Halko, Martinsson and Tropp, 2011); the same for the same
    directions.
    """
    channels = sampled.shape[-1]
    sketch = tf.constant(np.random.default_rng(0).normal(size=(channels, min(SEARCH_RANK, channels))), tf.float32)
    # [sampled, channels] by [channels, rank], and back: [channels, rank].
    basis, _ = tf.linalg.qr(tf.matmul(sampled, sampled @ sketch, transpose_a=True))
    return basis


def _rows(cells: tf.Tensor) -> tf.Tensor:
    """A map [1, h, w, channels] as [h w, channels]."""
    return tf.reshape(cells, (-1, cells.shape[-1]))


def _cover(mask: tf.Tensor | None, view: View, height: int, width: int) -> np.ndarray:
    """How much of each place a mask [1, H, W, 1] covers: float32 [height, width]."""
    if mask is None:
        return np.ones((height, width), np.float32)
    return np.asarray(covered(tf.cast(mask, tf.float32), view, PLACES)[0, ..., 0])
