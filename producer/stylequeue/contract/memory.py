"""What memory a painting takes, by arithmetic alone, and whether it is done whole or in tiles.

As `cost`: the engine plans by it, and a producer estimates by it, without TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from .cost import (
    ARCHITECTURES,
    MARGIN_PX,
    MATCHES,
    SCALES,
    Scale,
    Sides,
    Widths,
    floats_per_px,
    is_matched,
    reach_px,
    scaled_sides,
    schedule,
    stride_px,
    style_size_px,
)
from .recipe import OptimizerName, PresetName, ResolvedOptimizeRecipe, ResolvedRecipe

LBFGS_PAIRS = 10
"""Steps and gradient changes that L-BFGS remembers, each two pictures."""
TILES_GRID_PX = 16
"""The deepest layers' stride. Tiles begin on this grid, so that pooling takes together what it does in the whole."""
MIN_TILE_PX = 64
"""Twice what the mirrored margin may take off the last tile, and a feature at the deepest layers is left."""
_FIRST_TILE_PX = 1024

_ACTIVATIONS_KEPT = 1.2
"""Bytes a step needs at its peak over those of the activations alone: gradients and work space. Measured."""
_GPUS_ACTIVATIONS_KEPT = 2.3
"""The same on a GPU, where canvases are masked after every layer. Measured of steps that XLA compiled, on an H200."""
GPUS_GRID_PX = 64
"""Of canvases on a GPU: it tries algorithms for each new shape of a convolution, and XLA compiles for it."""
_BESIDES_BYTES = 80 * 10**6
"""Whatever the size: programs, and what convolutions lay features out in. Measured."""
_BESIDES_A_SCALE_BYTES = 20 * 10**6
"""The same for each coarser scale at which a painting begins: some kernels are laid out for each size, and stay."""
_BESIDES_A_SEARCH_BYTES = 50 * 10**6
"""The same where similar places are searched for: what is looked at has sizes of its own. Measured."""
_PICTURES: Mapping[OptimizerName, int] = {"adam": 15, "swift": 15, "lbfgs": 15 + 2 * LBFGS_PAIRS}
"""Of the content's size in float32: the optimiser's memory, the content, the step's gradient."""
_VIEWS_KEPT = 6
"""Content features of full size: targets for each view of the picture, its own features, their gradient."""
_COPIES_OF_STYLES = 1.25
"""Of all style pictures in float32: scaled, and those of the scale before."""
_COPIES_OF_STYLE = 2
"""Of one of them, besides, as it is scaled."""
_COPIES_OF_MASK = 3
"""Of each mask, of the content's size: scaled, and its region's as an array and as a tensor."""
_COPIES_OF_REGION = 0.65
"""Of what a style looks at, in float32, for each region: its pixels, counted by the mask's grey. Measured."""
_PICTURE_PX_BYTES = 3 * 4


@dataclass(frozen=True)
class Plan:
    """How a painting is done, and the memory that is predicted for it, beside what the process has already."""

    peak_bytes: int
    tile_px: int | None
    """Side of a tile; None: the picture is painted whole."""


@dataclass(frozen=True)
class Network:
    """What a painting's memory hangs on of the network that sees it."""

    widths: Widths
    layers: Collection[str]
    """All that the loss looks at."""
    content_layers: Collection[str]
    style_layers: Collection[str]
    float_bytes: int
    """Of a number as it is kept."""
    on_gpu: bool = False

    def seen_px(self, sides: Iterable[int]) -> int:
        """Pixels of the canvas that it sees of a picture of these sides."""
        grid_px = GPUS_GRID_PX if self.on_gpu else 1
        return math.prod(-(-side // grid_px) * grid_px for side in sides)

    def bytes_a_px(self, masks: int) -> float:
        """That an evaluation keeps, for each pixel that is seen, where so many masks say where styles apply."""
        kept = _GPUS_ACTIVATIONS_KEPT if self.on_gpu else _ACTIVATIONS_KEPT
        of_region = 4 * _COPIES_OF_REGION * self.floats_of(self.style_layers)
        return kept * self.float_bytes * floats_per_px(self.widths, self.layers) + of_region * masks

    def floats_of(self, layers: Iterable[str]) -> float:
        """In the features of these layers, for each pixel."""
        return sum(self.widths[layer] / stride_px(layer) ** 2 for layer in layers)


def plan(
    content: Sides,
    styles: Sequence[Sides],
    network: Network,
    optimizer: OptimizerName,
    *,
    scales: Sequence[Scale],
    margin_px: int,
    budget_bytes: int | None,
    masks: int = 0,
    kept: bool = False,
    turned: bool | None = None,
) -> Plan:
    """Whole if that fits into the budget, else the largest tiles that do, else the smallest there are.

    No budget: whole. `masks`: how many there are, of styles; `kept`: whether there is one of what is kept. `turned`:
    whether the styles' quarter turns are looked at, too, where similar places are searched for; None: they are not. A
    search takes as much in tiles, and does not decide about them.
    """
    content_floats = network.floats_of(network.content_layers)
    stages = schedule(scales, content, len(scales))

    def beside(coarser: int, laid: Sequence[Sides]) -> float:
        """Beside an evaluation or a search, at the stage behind so many coarser ones."""
        own_px, *styles_px = map(math.prod, laid)
        beside_bytes: float = _BESIDES_BYTES + _BESIDES_A_SCALE_BYTES * coarser
        beside_bytes += _BESIDES_A_SEARCH_BYTES * (turned is not None)
        beside_bytes += own_px * (_PICTURE_PX_BYTES * _PICTURES[optimizer] + 4 * _VIEWS_KEPT * content_floats)
        beside_bytes += _PICTURE_PX_BYTES * (_COPIES_OF_STYLES * sum(styles_px) + _COPIES_OF_STYLE * max(styles_px))
        return beside_bytes + 4 * own_px * _COPIES_OF_MASK * (masks + kept)

    searched_bytes, stays_bytes = 0.0, 0
    for coarser, stage in enumerate(stages if turned is not None else ()):
        if is_matched(content, stage.scale):
            then, *styles_then = (scaled_sides(sides, stage.scale) for sides in (content, *styles))
            search_bytes, stays_bytes = search(then, styles_then, turned=bool(turned), masks=masks)
            beside_bytes = beside(coarser, _laid((then, *styles_then), margin_px))
            searched_bytes = max(searched_bytes, beside_bytes + search_bytes + stays_bytes)
    laid = _laid((content, *styles), margin_px)
    beside_bytes = beside(len(stages) - 1, laid) + stays_bytes
    largest_px = max(map(network.seen_px, laid))

    around_px = halo_px(reach_px(network.widths, network.layers))

    def painted(tile_px: int | None) -> int:
        seen_px = largest_px
        if tile_px is not None:
            seen_px = max(network.seen_px(seen_at_most(side, tile_px, around_px) for side in sides) for sides in laid)
        return int(beside_bytes + seen_px * network.bytes_a_px(masks))

    tile_px = None
    if budget_bytes is not None and painted(None) > budget_bytes:
        tile_px = _FIRST_TILE_PX
        while tile_px > MIN_TILE_PX and painted(tile_px) > budget_bytes:
            tile_px = max(MIN_TILE_PX, int(tile_px / 2**0.5) // TILES_GRID_PX * TILES_GRID_PX)
    return Plan(max(painted(tile_px), int(searched_bytes)), tile_px)


def _laid(pictures: Iterable[Sides], margin_px: int) -> list[Sides]:
    return [(height + 2 * margin_px, width + 2 * margin_px) for height, width in pictures]


def tile_starts(length_px: int, tile_px: int) -> list[int]:
    """Where tiles of `tile_px` (a multiple of 16, from 64) begin along a side; the last is up to 63 px longer."""
    return list(range(0, max(length_px - MIN_TILE_PX, 0) + 1, tile_px))


class Span(NamedTuple):
    """Where a tile lies along one side: the pixels that are its own, and those it is seen with."""

    start: int
    end: int
    seen_start: int
    seen_end: int


def spans(length_px: int, tile_px: int, around_px: int) -> list[Span]:
    """A side of `length_px` in tiles of `tile_px` (a multiple of 16, from 64), the last one up to 63 px longer.

    around_px, a multiple of 16: how much around its own each is seen with.
    """
    starts = tile_starts(length_px, tile_px)
    return [
        Span(start, end, max(0, start - around_px), min(length_px, end + around_px))
        for start, end in zip(starts, [*starts[1:], length_px], strict=True)
    ]


def halo_px(reach_px: int) -> int:
    """How much around its own a tile is seen with, for features that depend on so many pixels around theirs."""
    # Where a coarse layer's features are spread over finer places, the next feature of its counts, too.
    return -(-(reach_px + TILES_GRID_PX) // TILES_GRID_PX) * TILES_GRID_PX


def seen_at_most(length_px: int, tile_px: int, around_px: int) -> int:
    """How much of a side is seen with any one tile, and so much around it."""
    return max(span.seen_end - span.seen_start for span in spans(length_px, tile_px, around_px))


def tiles(content: Sides, tile_px: int | None, margin_px: int) -> int:
    """Into how many tiles a picture is cut."""
    if tile_px is None:
        return 1
    return math.prod(len(tile_starts(side + 2 * margin_px, tile_px)) for side in content)


def plan_of(
    recipe: ResolvedRecipe,
    content: Sides,
    styles: int,
    network: str,
    *,
    masks: int = 0,
    on_gpu: bool,
    halved: bool,
    budget_bytes: int | None,
) -> Plan:
    """The plan of a recipe on one of the networks, with so many square styles and masks, and one of faces if it has it.

    `halved`: whether the worker is fastest in 16 bits, which a GPU then keeps where a preset allows it.
    """
    style = (style_size_px(recipe),) * 2
    if not isinstance(recipe, ResolvedOptimizeRecipe):
        return Plan(int(_FAST_BYTES + _FAST_BYTES_A_PX * max(math.prod(content), math.prod(style))), None)
    reduced = recipe.optimizer == "swift" or (recipe.optimizer == "adam" and recipe.preset in _REDUCED)
    seen_by = Network(
        ARCHITECTURES[network],
        {*recipe.content_layers, *recipe.style_layers, *(MATCHED_LAYERS if recipe.preset in MATCHES else ())},
        list(recipe.content_layers),
        list(recipe.style_layers),
        2 if on_gpu and halved and reduced else 4,
        on_gpu,
    )
    return plan(
        content,
        [style] * styles,
        seen_by,
        recipe.optimizer,
        scales=SCALES[recipe.preset],
        margin_px=MARGIN_PX.get(recipe.preset, 0),
        budget_bytes=budget_bytes,
        masks=masks,
        kept=bool(recipe.keep_faces),
        turned=bool(recipe.turned_styles) if recipe.preset in MATCHES else None,
    )


_REDUCED: tuple[PresetName, ...] = ("painterly", "brushwork")
"""Whose network may compute in less than float32."""
_FAST_BYTES, _FAST_BYTES_A_PX = 115 * 10**6, 200
"""Whatever the size, and of the larger of content and style. Measured at 1024 and 2048 px."""


# Feature matching

MATCHED_LAYERS = tuple(
    f"block{block}_conv{number}"
    for block, numbers in ((1, 2), (2, 2), (3, 3), (4, 3))
    for number in range(1, 1 + numbers)
)
"""Without the first block's, skies are an even weave where they have strokes with them."""
PLACES_PX = 4
"""Side of a place."""
COMPARED_AT_ONCE = 1024
"""Places that are compared at once with all candidates, and candidates whose directions are made at once."""
_MOST_COMPARED = 1 << 26
"""Pairs of places, 34 GFLOP for each view. Where there are more, fewer candidates are taken."""
_LEAST_CANDIDATES, _MOST_CANDIDATES = 1024, 1 << 15
"""Whatever the size: each takes 16 kB while their directions are made."""
_LOOKED_AT_PX = 1024
"""Side of what is looked at of a style picture at once: a column for each of its places takes 5 kB."""
SEARCH_SAMPLED = 2048
"""Candidates that say which directions are searched."""
SEARCH_RANK = 256
"""Of all directions, those in which candidates differ most: what is found so is by 0.001 less similar than the most
similar there is, which has 0.5."""


def most_candidates(content: Sides) -> int:
    """With how many of the styles' places those of a content are compared."""
    return min(_MOST_CANDIDATES, max(_LEAST_CANDIDATES, _MOST_COMPARED // max(_places(content), 1)))


def style_blocks(style: Sides) -> list[tuple[slice, slice]]:
    """In which a style picture is looked at for its places, rows and columns of each: whole, unless it is too large."""
    if math.prod(style) <= _LOOKED_AT_PX**2:
        return [(slice(0, style[0]), slice(0, style[1]))]
    parts = []
    for side in style:
        least_px = -(-side // -(-side // _LOOKED_AT_PX))
        block_px = -(-least_px // TILES_GRID_PX) * TILES_GRID_PX
        parts.append([slice(start, min(start + block_px, side)) for start in range(0, side, block_px)])
    return list(product(*parts))


def search(then: Sides, styles_then: Sequence[Sides], *, turned: bool, masks: int = 0) -> tuple[int, int]:
    """The bytes that a search takes at its peak, and those that stay besides, for the pictures of one stage.

    turned: whether the styles' quarter turns are candidates, too; masks: under each of which there may be a region, one
    beside them, and each region has candidates of its own.
    """
    channels = sum(ARCHITECTURES["vgg16"][layer] for layer in MATCHED_LAYERS)
    every = sum(map(_places, styles_then)) * (4 if turned else 1)
    candidates = min(most_candidates(then), every)
    kept = min(most_candidates(then) * min(len(styles_then), masks + 1), every)
    # The first block of a style is its largest.
    first_blocks = [style_blocks(style)[0] for style in styles_then]
    most_places = max(_places((rows.stop, columns.stop)) for rows, columns in first_blocks)
    # In bfloat16: of a picture that is looked at each layer's features, and all together; candidates as columns. In
    # float32: a chunk on the way, directions of some candidates or a layer's columns; how alike a chunk's places are.
    looked_at = 4 * channels * max(_places(then), most_places)
    chunk = 12 * channels * COMPARED_AT_ONCE
    directions = 4 * channels * min(SEARCH_SAMPLED, candidates) + chunk
    layer = 8 * max(ARCHITECTURES["vgg16"][layer] for layer in MATCHED_LAYERS) * candidates
    made = 2 * channels * candidates + max(directions, layer)
    compared = 8 * COMPARED_AT_ONCE * candidates + chunk
    # So is what an evaluation keeps: each place's own column, and the one wanted there.
    stays = (2 * channels + 4 * SEARCH_RANK) * kept + 8 * channels * _places(then)
    return looked_at + max(made, compared), stays


def _places(sides: Sides) -> int:
    height, width = sides
    return (height // PLACES_PX) * (width // PLACES_PX)
