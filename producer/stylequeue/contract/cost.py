"""What a painting costs, by arithmetic alone: scales, evaluations, megapixels; its bytes are in `memory`.

The engine plans by it, and a producer estimates by it, without TensorFlow. Sides are (height, width) in pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .recipe import (
    FAST_NETWORK,
    MAX_SIZE_PX,
    MIN_SIDE_PX,
    PresetName,
    ResolvedOptimizeRecipe,
    ResolvedRecipe,
)

Sides = tuple[int, int]
"""Height and width, in pixels."""

# Networks

_BLOCK_WIDTHS = (64, 128, 256, 512, 512)


def _widths(*convolutions: int) -> dict[str, int]:
    return {
        f"block{block}_conv{number}": width
        for block, (count, width) in enumerate(zip(convolutions, _BLOCK_WIDTHS, strict=True), 1)
        for number in range(1, count + 1)
    }


Widths = Mapping[str, int]
"""Channels of a network's convolutions, by name, in order. Each block but the last is pooled."""

ARCHITECTURES: Mapping[str, Widths] = {
    "vgg16": _widths(2, 2, 3, 3, 3),
    "vgg19": _widths(2, 2, 4, 4, 4),
}
"""By Keras's names."""


def stride_px(layer: str) -> int:
    """How many pixels along a side lie behind one feature of `layer`."""
    return 1 << (int(layer.split("_")[0].removeprefix("block")) - 1)


def reach_px(widths: Widths, layers: Collection[str]) -> int:
    """How many pixels around its own a feature of the deepest of `layers` depends on."""
    return sum(stride_px(layer) for layer in _up_to(widths, layers))


def floats_per_px(widths: Widths, layers: Collection[str]) -> float:
    """Numbers that a pass as far as `layers` keeps for its gradient, for each pixel of the picture."""
    names = _up_to(widths, layers)
    convolved = sum(widths[layer] / stride_px(layer) ** 2 for layer in names)
    # A block's last layer is kept once more at a quarter of its size, pooled.
    last = [before for before, after in pairwise(names) if stride_px(before) != stride_px(after)]
    return convolved + sum(widths[layer] / stride_px(layer) ** 2 / 4 for layer in last)


def _up_to(widths: Widths, layers: Collection[str]) -> list[str]:
    names = list(widths)
    return names[: 1 + max(map(names.index, layers))]


# Scales and evaluations


@dataclass(frozen=True)
class Scale:
    """A stage of coarse-to-fine painting: size relative to the output's, and its part of the steps beside others'."""

    size: float
    steps: float


_FULL_SIZE = (Scale(1.0, 1.0),)
_COARSE_TO_FINE = tuple(Scale(0.5**halvings, 2 + halvings) for halvings in range(5, -1, -1))
"""Down to some 128 px whatever the size, so that a strength does the same at all of them."""

SCALES: Mapping[PresetName, Sequence[Scale]] = {
    "painterly": _COARSE_TO_FINE,
    "brushwork": _COARSE_TO_FINE,
    "tf-tutorial": _FULL_SIZE,
    "tf-keras-2018": _FULL_SIZE,
    "gatys-2016": _FULL_SIZE,
}
MARGIN_PX: Mapping[PresetName, int] = {"painterly": 16, "brushwork": 16}
"""How far pictures are mirrored outwards; where nothing is said, not at all."""
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


def schedule(scales: Sequence[Scale], sides_px: Sequence[int], steps: int) -> list[Stage]:
    """`steps` shared out among `scales`, coarse to fine; the last has the output's size.

    Scales with too small a side are left out, and the coarsest where there are fewer steps than scales.
    """
    least = max(least_px / side_px for least_px, side_px in zip(_MIN_SCALED_SIDES_PX, sorted(sides_px), strict=True))
    counted = [scale for scale in scales if scale.size == 1 or scale.size >= least][-steps:]
    whole = sum(scale.steps for scale in counted)
    stages = [Stage(scale.size, max(1, int(steps * scale.steps / whole))) for scale in counted[:-1]]
    return [*stages, Stage(counted[-1].size, steps - sum(stage.steps for stage in stages))]


def scaled_sides(sides_px: Sequence[int], scale: float) -> Sides:
    """Height and width multiplied by `scale`, yet none under 16 px."""
    height, width = (max(MIN_SIDE_PX, round(side_px * scale)) for side_px in sides_px)
    return height, width


def is_matched(content: Sides, scale: float) -> bool:
    """Whether places are matched at a stage of this scale, where they are at all.

    So they are at one that is longer than that and so narrow that there is none before it.
    """
    return max(content) * scale <= MATCHED_MOST_PX or min(content) * scale < 2 * _MIN_SCALED_SIDES_PX[0]


_BEGIN_STEPS, _END_STEPS = 2.0, 2.0
"""What each stage begins with, targets, and a painting ends with, its report, in evaluations of its size."""
MATCHES: tuple[PresetName, ...] = ("brushwork",)
"""In which places take the features of the most similar places of the styles."""
MATCHED_MOST_PX = 512
"""The longest side of the stages at which places are matched, where the shape allows for a stage so small."""
_MATCHED = 1.25
"""Evaluations that one comes to at a stage where places are matched, the search included."""
_SMALLEST_MPX = 0.01
"""Whatever the size, an evaluation takes at least so much time as one of this size does of its arithmetic."""


def output_sides(recipe: ResolvedRecipe, content: Sides | None) -> Sides:
    """The sides of what is painted of a content of these sides; square where none are known."""
    height, width = content or (1, 1)
    return scaled_sides((height, width), recipe.size / max(height, width))


def style_size_px(recipe: ResolvedRecipe) -> int:
    """Longest side of the style pictures: a network knows strokes by their size in pixels."""
    scale = recipe.style_scale if isinstance(recipe, ResolvedOptimizeRecipe) else 1
    return min(max(round(scale * recipe.size), MIN_SIDE_PX), MAX_SIZE_PX)


def kind(recipe: ResolvedRecipe, network: str) -> str:
    """What a worker's rate is of: pictures of one kind take as long for each megapixel-step."""
    if not isinstance(recipe, ResolvedOptimizeRecipe):
        return FAST_NETWORK
    return f"{recipe.preset}/{recipe.optimizer}/{network}"


def megapixel_steps(recipe: ResolvedRecipe, content: Sides) -> float:
    """The work of a painting of a content of these sides: evaluations, each by the megapixels that the network sees.

    A pass of the fast method is one.
    """
    if not isinstance(recipe, ResolvedOptimizeRecipe):
        return _megapixels(content, 0)
    if recipe.steps == 0:
        return 0.0
    margin_px = MARGIN_PX.get(recipe.preset, 0)
    stages = schedule(SCALES[recipe.preset], content, recipe.steps)
    work = _END_STEPS * _megapixels(content, margin_px)
    for stage in stages:
        sides = scaled_sides(content, stage.scale)
        matched = recipe.preset in MATCHES and is_matched(content, stage.scale)
        work += (_MATCHED if matched else 1) * (stage.steps + _BEGIN_STEPS) * _megapixels(sides, margin_px)
    return work


def _megapixels(sides: Sides, margin_px: int) -> float:
    height, width = sides
    return (height + 2 * margin_px) * (width + 2 * margin_px) / 1e6 + _SMALLEST_MPX


def job_megapixel_steps(recipe: ResolvedRecipe, styles: int) -> float:
    """What limits count of a job: its painting of a square content, once for each of its styles."""
    return styles * megapixel_steps(recipe, output_sides(recipe, None))
