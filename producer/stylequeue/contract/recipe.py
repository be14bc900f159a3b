"""How to paint: recipes, presets, and what a field left out comes to.

A recipe field left out is `None`; `resolve()` fills it from the preset, and the resolved recipe is what is hashed, run
and reported.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .base import Contract, QueueName
from .objects import ImageRef

MIN_SIDE_PX = 16
"""Of any picture, in or out: the deepest style layer sees a sixteenth of a side."""
MAX_SIZE_PX = 4096
"""Of the longest output side: even in tiles, a painting of this size needs some 7 GB."""
MAX_STEPS = 10_000
"""Gradient evaluations of one job."""
MAX_WEIGHT = 1e9
"""Of a loss term; far beyond what any published recipe uses."""
MAX_LAYER_WEIGHT = 1000.0
"""Of one layer among several."""
MAX_TIME_BUDGET_S = 7 * 24 * 3600.0

NetworkName = Literal["auto", "vgg19", "vgg16"]
FAST_NETWORK = "fast"
VGG_NETWORKS = ("vgg19", "vgg16")
"""Those that can be optimised with; `auto` takes the first that a worker has."""
OptimizerName = Literal["adam", "lbfgs", "swift"]
"""`swift`: Adam by the frequency, its rate falling to the end: the fewest steps to the same loss."""
PresetName = Literal["painterly", "brushwork", "tf-tutorial", "tf-keras-2018", "gatys-2016"]
DEFAULT_PRESET: PresetName = "brushwork"
"""Of a recipe that names none."""
InitName = Literal["content", "noise", "style", "image"]
PoolingName = Literal["max", "average"]
ColoursName = Literal["style", "luminance", "match"]

SizePx = Annotated[
    int,
    Field(ge=MIN_SIDE_PX, le=MAX_SIZE_PX, description="Longest side of the output in pixels; the content is scaled."),
]
Strength = Annotated[
    float, Field(ge=0, le=1, description="0: the content; 1: almost only style; the same at any size.")
]
Colours = Annotated[
    ColoursName,
    Field(
        description="style: whatever the styles bring; luminance: the content's own, only lightness is painted; "
        "match: the styles' colours are moved to the content's before painting."
    ),
]
Weight = Annotated[float, Field(ge=0, le=MAX_WEIGHT)]
Layer = Annotated[str, Field(pattern=r"^block([12]_conv[12]|[345]_conv[1-4])$")]
Layers = Annotated[
    dict[Layer, Annotated[float, Field(gt=0, le=MAX_LAYER_WEIGHT)]],
    Field(min_length=1, max_length=16, description="Convolutions by their Keras names, each with its weight."),
]
StyleScale = Annotated[
    float,
    Field(
        ge=0.25,
        le=4,
        description=f"Longest side of the style picture over the output's, up to {MAX_SIZE_PX} px: stroke size.",
    ),
]
KeepFaces = Annotated[
    bool,
    Field(
        description="Whether faces are looked for in the content, and kept closer to it than the rest; `optimize` "
        "keeps whatever else stands out to its network, too."
    ),
]
TimeBudget = Annotated[float, Field(gt=0, le=MAX_TIME_BUDGET_S)]
StopWhen = Annotated[float, Field(gt=0, lt=1)]


class FastRecipe(Contract):
    """One pass of a feed-forward network: seconds, any style, less depth than `optimize`."""

    method: Literal["fast"] = "fast"
    size: SizePx | None = None
    strength: Strength | None = None
    colours: Colours | None = None
    keep_faces: KeepFaces | None = None


class OptimizeRecipe(Contract):
    """Gradient descent on the picture itself: minutes, the best pictures."""

    method: Literal["optimize"] = "optimize"
    preset: PresetName = Field(default=DEFAULT_PRESET, description="Where every field left out comes from.")
    size: SizePx | None = None
    strength: Strength | None = None
    colours: Colours | None = None
    keep_faces: KeepFaces | None = None
    init: InitName | None = Field(default=None, description="What is painted over; style: the first one.")
    init_image: ImageRef | None = Field(default=None, description="With init 'image': squeezed to the content's shape.")
    seed: int | None = Field(
        default=None, ge=0, lt=2**32, description="Of the noise. Same seed, same machine: same bytes."
    )
    network: NetworkName | None = Field(default=None, description="auto: vgg19 if the worker has it, else vgg16.")
    pooling: PoolingName | None = Field(default=None, description="Of the network.")
    content_layers: Layers | None = None
    style_layers: Layers | None = None
    style_scale: StyleScale | None = None
    turned_styles: bool | None = Field(
        default=None,
        description="Of presets that match features: whether strokes may be the style's turned by quarters, too; "
        "false where up has to stay up.",
    )
    optimizer: OptimizerName | None = Field(default=None, description="swift: the fewest steps to the same loss.")
    steps: int | None = Field(
        default=None, ge=1, le=MAX_STEPS, description="Gradient evaluations, over all scales together."
    )
    content_weight: Weight | None = Field(
        default=None, description="Of the content loss; set by strength unless given."
    )
    style_weight: Weight | None = Field(default=None, description="Of the style loss.")
    variation_weight: Weight | None = Field(default=None, description="Of the variation loss.")
    time_budget_s: TimeBudget | None = Field(
        default=None,
        description="Seconds of painting after which the picture is taken as it is; not a failure, not partial.",
    )
    stop_when: StopWhen | None = Field(
        default=None,
        description="A scale ends once the loss fell by less than this share over its last 24 evaluations.",
    )

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.init == "image") != (self.init_image is not None):
            raise ValueError("init 'image' and init_image belong together: give both or neither")
        return self

    @model_validator(mode="after")
    def _layers_of_the_network(self) -> Self:
        if self.network == "vgg16":
            layers = {**(self.content_layers or {}), **(self.style_layers or {})}
            if missing := sorted(layer for layer in layers if layer.endswith("conv4")):
                raise ValueError(f"vgg16 has no {', '.join(missing)}: vgg19 does")
        return self

    @model_validator(mode="after")
    def _of_the_preset(self) -> Self:
        if self.turned_styles is not None and PRESETS[self.preset].turned_styles is None:
            raise ValueError(f"preset {self.preset!r} matches no features and takes no turned_styles")
        return self

    @model_validator(mode="after")
    def _one_balance(self) -> Self:
        if self.strength is None:
            return self
        if PRESETS[self.preset].strength is None:
            raise ValueError(f"preset {self.preset!r} reproduces a published recipe and takes no strength")
        if self.content_weight is not None:
            raise ValueError("strength and content_weight set the same thing: give one of them")
        return self


Recipe = Annotated[OptimizeRecipe | FastRecipe, Field(discriminator="method")]


class ResolvedFastRecipe(FastRecipe):
    """A `FastRecipe` with every field filled."""

    size: SizePx
    strength: Strength
    colours: Colours
    keep_faces: KeepFaces = False


class ResolvedOptimizeRecipe(OptimizeRecipe):
    """An `OptimizeRecipe` with every field filled.

    `strength` is None where the weights were given instead, `time_budget_s` and `stop_when` where there is none,
    `turned_styles` where the preset matches no features.
    """

    size: SizePx
    colours: Colours
    keep_faces: KeepFaces = False
    init: InitName
    seed: int = Field(ge=0, lt=2**32)
    network: NetworkName
    pooling: PoolingName
    content_layers: Layers
    style_layers: Layers
    style_scale: StyleScale
    optimizer: OptimizerName
    steps: int = Field(ge=0, le=MAX_STEPS)
    content_weight: Weight
    style_weight: Weight
    variation_weight: Weight

    @model_validator(mode="after")
    def _of_the_preset(self) -> Self:
        return self

    @model_validator(mode="after")
    def _one_balance(self) -> Self:
        return self


ResolvedRecipe = Annotated[ResolvedOptimizeRecipe | ResolvedFastRecipe, Field(discriminator="method")]

FAST_DEFAULTS = ResolvedFastRecipe(size=512, strength=1.0, colours="style")


def content_weight_of(strength: float, preset: PresetName) -> float:
    """Content weight of our presets for a strength in (0, 1]: falls monotonically, at 0.5 0.16 or, `brushwork`, 0.06.

    From 15 on, `painterly` hardly changes a picture; at 0.01 only its large shapes are left. Below a strength of 0.4 it
    is more than the ratio says, so that a picture leaves its content by steps as small as further on. From 0.5 on,
    `brushwork` needs less: each place takes what is like it.
    """
    share = _BRUSHWORK_SHARE ** min(1, strength / 0.5) if preset == "brushwork" else 1
    more = 1 + _FAINT_MORE * max(0, 1 - strength / _FAINT) ** 2
    return min(share * more * (0.15 * (1 - strength) / strength + 0.01), MAX_WEIGHT)


_BRUSHWORK_SHARE = 3 / 8
_FAINT, _FAINT_MORE = 0.4, 6.0


_STYLE_LAYERS = [f"block{block}_conv1" for block in range(1, 6)]
_ALIKE = dict.fromkeys(_STYLE_LAYERS, 1 / len(_STYLE_LAYERS))

_PAINTERLY = ResolvedOptimizeRecipe(
    preset="painterly",
    size=512,
    strength=0.5,
    colours="style",
    init="content",
    seed=0,
    network="auto",
    content_layers={"block4_conv2": 1.0},
    style_layers=dict(zip(_STYLE_LAYERS, (0.3, 0.25, 0.2, 0.15, 0.1), strict=True)),
    pooling="max",
    style_scale=1.0,
    optimizer="adam",
    steps=140,
    content_weight=content_weight_of(0.5, "painterly"),
    style_weight=1.0,
    variation_weight=0.5,
)

PRESETS: dict[PresetName, ResolvedOptimizeRecipe] = {
    "painterly": _PAINTERLY,
    # `painterly`'s descent with feature matching as one more term.
    "brushwork": _PAINTERLY.model_copy(
        update={
            "preset": "brushwork",
            "content_weight": content_weight_of(0.5, "brushwork"),
            "turned_styles": True,
            "keep_faces": True,
        }
    ),
    # TensorFlow documentation, "Neural style transfer" (2019).
    "tf-tutorial": ResolvedOptimizeRecipe(
        preset="tf-tutorial",
        size=512,
        strength=None,
        colours="style",
        init="content",
        seed=0,
        network="auto",
        content_layers={"block5_conv2": 1.0},
        style_layers=_ALIKE,
        pooling="max",
        style_scale=1.0,
        optimizer="adam",
        steps=1000,
        content_weight=1e4,
        style_weight=1e-2,
        variation_weight=30.0,
    ),
    # Raymond Yuan, "Neural style transfer: creating art with deep learning using tf.keras and eager execution" (2018).
    "tf-keras-2018": ResolvedOptimizeRecipe(
        preset="tf-keras-2018",
        size=512,
        strength=None,
        colours="style",
        init="content",
        seed=0,
        network="auto",
        content_layers={"block5_conv2": 1.0},
        style_layers=_ALIKE,
        pooling="max",
        style_scale=1.0,
        optimizer="adam",
        steps=1000,
        content_weight=1e3,
        style_weight=1e-2,
        variation_weight=0.0,
    ),
    # Gatys, Ecker and Bethge, "Image style transfer using convolutional neural networks" (CVPR 2016).
    "gatys-2016": ResolvedOptimizeRecipe(
        preset="gatys-2016",
        size=512,
        strength=None,
        colours="style",
        init="noise",
        seed=0,
        network="auto",
        content_layers={"block4_conv2": 1.0},
        style_layers=_ALIKE,
        pooling="average",
        style_scale=1.0,
        optimizer="lbfgs",
        steps=500,
        content_weight=1e-3,
        style_weight=1.0,
        variation_weight=0.0,
    ),
}


def resolve(recipe: OptimizeRecipe | FastRecipe) -> ResolvedOptimizeRecipe | ResolvedFastRecipe:
    """`recipe` with every field that was left out filled from its preset.

    Strength becomes a content weight here; strength 0 is the content itself and takes no steps.
    """
    given = {name: value for name in recipe.model_fields_set if (value := getattr(recipe, name)) is not None}
    if isinstance(recipe, FastRecipe):
        return FAST_DEFAULTS.model_copy(update=given)
    preset = PRESETS[recipe.preset]
    strength = None if recipe.content_weight is not None else given.get("strength", preset.strength)
    filled = {**given, "strength": strength}
    if strength == 0:
        filled["steps"] = 0
    elif strength is not None:
        filled["content_weight"] = content_weight_of(strength, recipe.preset)
    return preset.model_copy(update=filled)


Needs = tuple[str, ...]
"""Networks any of which can paint a job, the preferred one first."""
ALL_NEEDS: tuple[Needs, ...] = ((FAST_NETWORK,), VGG_NETWORKS, *((network,) for network in VGG_NETWORKS))
"""What `networks_of` can say."""


def networks_of(recipe: OptimizeRecipe | FastRecipe) -> Needs:
    """What a worker needs to paint `recipe`."""
    resolved = resolve(recipe)
    if isinstance(resolved, FastRecipe):
        return (FAST_NETWORK,)
    if resolved.network != "auto":
        return (resolved.network,)
    of_vgg19_alone = any(layer.endswith("conv4") for layer in {**resolved.content_layers, **resolved.style_layers})
    return ("vgg19",) if of_vgg19_alone else VGG_NETWORKS


def networks_of_queue(queue: QueueName) -> Needs:
    """What a worker needs to take from `queue`: what the jobs need that go there by themselves.

    A sender may put any job on any queue; one that needs another network waits for a worker that has both.
    """
    return networks_of(FastRecipe() if queue == "fast" else OptimizeRecipe())
