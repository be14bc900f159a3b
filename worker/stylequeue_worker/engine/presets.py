"""What a preset means inside; how much each term counts is in the recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import tensorflow as tf

from stylequeue.contract.cost import MARGIN_PX, MATCHED_MOST_PX, SCALES, Scale, Sides
from stylequeue.contract.recipe import PRESETS as RECIPES
from stylequeue.contract.recipe import PoolingName, PresetName, ResolvedOptimizeRecipe

from .descent import AdamRule
from .losses import (
    GATYS,
    GRAM,
    WASSERSTEIN,
    StyleMeasure,
    half_square,
    mean_square,
    relative_square,
    roughness,
    total_variation,
)
from .matching import Matching
from .terms import Content, Style, Term, Variation, Weighing


@dataclass(frozen=True)
class Preset:
    """How the terms are measured, and how the picture gets from coarse to fine."""

    content_loss: Callable[[tf.Tensor, tf.Tensor, tf.Tensor | None], tf.Tensor]
    style: StyleMeasure
    variation: Callable[[tf.Tensor], tf.Tensor]
    scales: Sequence[Scale]
    adam: AdamRule
    full_rate_px: int | None = None
    """The longest side up to which Adam's rate is whole; beyond, details alone are still to be laid, in finer steps."""
    quarter_rate_beyond_px: int | None = None
    """The longest side beyond which a quarter is left of that: nothing leads strokes there, and long steps undo what
    coarser stages laid."""
    full_rate_balance: float | None = None
    """The content's weight over the style's up to which Adam's rate is whole; beyond, little is to be changed, and as
    long steps would only shake it."""
    scaled: bool = False
    """Whether the loss is scaled so that Adam's epsilon means the same at any size and strength: a picture that has
    what is wanted stays then, instead of following whatever rounding leaves of a gradient."""
    margin_px: int = 0
    """Pictures are mirrored outwards this far, else the network's zero padding shows as a frame of another colour."""
    shifts_px: tuple[tuple[int, int], ...] = ((0, 0),)
    """Where the picture lies on the network's pooling grid, step after step: else the grid shows as a fine weave."""
    reduced_precision: bool = False
    """Whether the network may compute in bfloat16 where the processor does that faster."""
    rescaled: bool = False
    """Whether each filter of the network is scaled so that its mean activation on sample pictures is 1."""
    best_kept: bool = False
    """Whether the picture of the step with the least loss is shown instead of the newest."""
    content_layers: Mapping[str, float] = field(default_factory=dict)
    style_layers: Mapping[str, float] = field(default_factory=dict)
    pooling: PoolingName = "max"
    turned_styles: bool | None = None
    """Whether places may take features of the styles' quarter turns, too; None: they are not matched."""
    besides: tuple[Callable[[Preset], Term], ...] = ()
    """What makes the terms that it has besides content, style and variation."""

    def terms(self) -> Iterator[Term]:
        """What the loss is made of."""
        yield Content(self.content_layers, self.content_loss)
        yield Style(self.style_layers, self.style)
        yield Variation(self.variation)
        for make in self.besides:
            yield make(self)

    @property
    def layers(self) -> set[str]:
        """All that the terms look at."""
        return {layer for term in self.terms() for layer in term.layers}

    def weighings(self, recipe: ResolvedOptimizeRecipe, content: Sides, scales: Sequence[float]) -> dict[str, Weighing]:
        """By name, of the terms that count at the stage of the first of `scales`, as `Term.weighing` has it."""
        asked = {term.name: term.weighing(recipe, content, scales) for term in self.terms()}
        return {name: weighing for name, weighing in asked.items() if weighing is not None}

    def adam_at(self, longest_side_px: int, balance: float = 0, plainness: float = 0) -> AdamRule:
        """Adam at a stage of this size, for a content weight that is so many times the style's.

        Its rate falls with the root of what the size is above `full_rate_px`, and a quarter of that is left beyond
        `quarter_rate_beyond_px`; rate and sharpening fall with what the balance is above `full_rate_balance`;
        sharpening with the style's plainness, in [0, 1]: where there are no strokes, none were dimmed, and it would
        make grain of what is there.
        """
        sharpening = self.adam.sharpening * max(0.0, 1 - _UNSHARPENED * plainness)
        rate = self.adam.learning_rate
        if self.full_rate_px is not None:
            rate *= min(1, self.full_rate_px / longest_side_px) ** 0.5
        if self.quarter_rate_beyond_px is not None and longest_side_px > self.quarter_rate_beyond_px:
            rate /= 4
        if self.full_rate_balance is None or balance <= self.full_rate_balance:
            return replace(self.adam, learning_rate=rate, sharpening=sharpening)
        less = self.full_rate_balance / balance
        return replace(self.adam, learning_rate=rate * less, sharpening=sharpening * less)


_UNSHARPENED = 3.0
"""Times the plainness: from a third on, nothing is sharpened."""


def preset_of(recipe: ResolvedOptimizeRecipe) -> Preset:
    """The recipe's preset with the recipe's layers, pooling and candidates."""
    preset = _MANNERS[recipe.preset]
    return replace(
        preset,
        content_layers=recipe.content_layers,
        style_layers=recipe.style_layers,
        pooling=recipe.pooling,
        turned_styles=recipe.turned_styles,
    )


# Ours. The measurements behind each choice are in docs/engine.md.
_PAINTERLY = Preset(
    content_loss=relative_square,
    style=WASSERSTEIN,
    variation=roughness,
    scales=SCALES["painterly"],
    adam=AdamRule(
        learning_rate=0.03,
        beta1=0.9,
        beta2=0.99,
        epsilon=0.03,
        averaging=0.97,
        sharpening=0.3,
        smoothing=True,
    ),
    full_rate_px=256,
    full_rate_balance=2.0,
    scaled=True,
    margin_px=MARGIN_PX["painterly"],
    shifts_px=((0, 0), (2, 1), (1, 3), (3, 2)),
    reduced_precision=True,
)

_MANNERS: dict[PresetName, Preset] = {
    "painterly": _PAINTERLY,
    "brushwork": replace(
        _PAINTERLY,
        besides=(lambda preset: Matching(turned=bool(preset.turned_styles)),),
        quarter_rate_beyond_px=MATCHED_MOST_PX,
    ),
    # TensorFlow documentation, "Neural style transfer" (2019), to the letter.
    "tf-tutorial": Preset(
        content_loss=mean_square,
        style=GRAM,
        variation=total_variation,
        scales=SCALES["tf-tutorial"],
        adam=AdamRule(learning_rate=0.02, beta1=0.99, beta2=0.999, epsilon=0.1),
    ),
    # It works on values in [0, 255] at rate 5 and epsilon 0.1: the same steps in [0, 1].
    "tf-keras-2018": Preset(
        content_loss=mean_square,
        style=GRAM,
        variation=total_variation,
        scales=SCALES["tf-keras-2018"],
        adam=AdamRule(learning_rate=5 / 255, beta1=0.99, beta2=0.999, epsilon=0.1 * 255),
        best_kept=True,
    ),
    "gatys-2016": Preset(
        content_loss=half_square,
        style=GATYS,
        variation=total_variation,
        scales=SCALES["gatys-2016"],
        # The paper knows L-BFGS only; these are the tutorial's.
        adam=AdamRule(learning_rate=0.02, beta1=0.99, beta2=0.999, epsilon=0.1),
        rescaled=True,
    ),
}

PRESETS: dict[PresetName, Preset] = {name: preset_of(recipe) for name, recipe in RECIPES.items()}
"""Each as it is where the recipe says nothing else."""
