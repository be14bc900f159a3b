"""What a preset means inside; how much each term counts is in the recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import tensorflow as tf

from stylequeue.job import PresetName

from .descent import AdamRule
from .losses import GRAM, WASSERSTEIN, StyleMeasure, mean_square, relative_square, roughness, total_variation

_STYLE_LAYERS = tuple(f"block{block}_conv1" for block in range(1, 6))


@dataclass(frozen=True)
class Scale:
    """A stage of coarse-to-fine painting: size relative to the output's, and its part of all steps."""

    size: float
    steps: float


@dataclass(frozen=True)
class Preset:
    """How the terms are measured, and how the picture gets from coarse to fine."""

    content_layers: Mapping[str, float]
    content_loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    style_layers: Mapping[str, float]
    style: StyleMeasure
    variation: Callable[[tf.Tensor], tf.Tensor]
    scales: tuple[Scale, ...]
    adam: AdamRule
    margin_px: int = 0
    """Pictures are mirrored outwards this far, else the network's zero padding shows as a frame of another colour."""
    shifts_px: tuple[tuple[int, int], ...] = ((0, 0),)
    """Where the picture lies on the network's pooling grid, step after step: else the grid shows as a fine weave."""
    reduced_precision: bool = False
    """Whether the network may compute in bfloat16 where the processor does that faster."""


PRESETS: dict[PresetName, Preset] = {
    # Ours. The measurements behind each choice are in docs/engine.md.
    "painterly": Preset(
        content_layers={"block4_conv2": 1.0},
        content_loss=relative_square,
        style_layers=dict(zip(_STYLE_LAYERS, (0.3, 0.25, 0.2, 0.15, 0.1), strict=True)),
        style=WASSERSTEIN,
        variation=roughness,
        scales=(Scale(0.5, 3 / 7), Scale(0.707, 2 / 7), Scale(1.0, 2 / 7)),
        adam=AdamRule(learning_rate=0.02, beta1=0.9, beta2=0.99, epsilon=1e-12, averaging=0.99, smoothing=True),
        margin_px=16,
        shifts_px=((0, 0), (2, 1), (1, 3), (3, 2)),
        reduced_precision=True,
    ),
    # TensorFlow documentation, "Neural style transfer" (2019), to the letter.
    "tf-tutorial": Preset(
        content_layers={"block5_conv2": 1.0},
        content_loss=mean_square,
        style_layers=dict.fromkeys(_STYLE_LAYERS, 1 / len(_STYLE_LAYERS)),
        style=GRAM,
        variation=total_variation,
        scales=(Scale(1.0, 1.0),),
        adam=AdamRule(learning_rate=0.02, beta1=0.99, beta2=0.999, epsilon=0.1),
    ),
}
