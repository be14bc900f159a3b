"""A loss's terms: each says what it looks at in a picture, what it wants there, how far a picture is from that, and how
much that counts at which stage and step.

A new term is a class in a module of its own, and a line in `presets`. Shapes: pictures are float [1, H, W, 3] in
[0, 1], features [1, h, w, channels]; losses are scalars.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias
from weakref import WeakKeyDictionary

import tensorflow as tf

from stylequeue.contract.cost import Sides
from stylequeue.contract.recipe import ResolvedOptimizeRecipe

from .cells import Here, Raster, View, covered, raster_of
from .losses import Statistics, StyleMeasure, mixture
from .regions import Masks, regions
from .safety import is_finite, not_finite

Measured: TypeAlias = Any
"""What a term must know of a picture's features at a layer: a nested structure of tensors."""
Target: TypeAlias = Any
"""What a term wants: a nested structure of tensors."""


class Area(NamedTuple):
    """Some styles, and where they apply."""

    styles: Sequence[tuple[tf.Tensor, float]]
    """Pictures with their shares, which sum to 1."""
    mask: tf.Tensor | None
    """[1, H, W, 1] in [0, 1]; None: everywhere."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What is painted at one scale."""

    content: tf.Tensor
    """Float [1, H, W, 3] in [0, 1], as all other pictures of it."""
    areas: Sequence[Area]
    kept: tf.Tensor | None = None
    """[1, H, W, 1] in [0, 1]: what of the content is to be kept above all; None: nothing."""
    start: tf.Tensor | None = None
    """[1, H, W, 3]: what the coarser scale came to; None at the first."""

    @property
    def masks(self) -> list[tf.Tensor | None]:
        """Each area's, [1, H, W, 1] in [0, 1]; None: everywhere."""
        return [area.mask for area in self.areas]


def scene(
    content: tf.Tensor,
    styles: Sequence[tuple[tf.Tensor, float]],
    masks: Masks | None = None,
    kept: tf.Tensor | None = None,
    start: tf.Tensor | None = None,
) -> Scene:
    """Of a content [1, H, W, 3] at one scale.

    styles: pictures with shares that sum to 1, each of its own size; masks: where each applies, float32 [1, H, W, 1];
    kept: [1, H, W, 1] in [0, 1]; start: [1, H, W, 3].
    """
    areas = [
        Area(region.styles, None if region.mask is None else tf.constant(region.mask, content.dtype))
        for region in regions(styles, masks)
    ]
    return Scene(content, areas, kept, start)


class Look(Protocol):
    """What is taken of a picture's features, layer by layer."""

    @property
    def layers(self) -> Collection[str]:
        """At which it looks."""

    def raster(self, layer: str) -> Raster | None:
        """Of the maps [1, h, w, n] that it makes there; None: it takes statistics, a list with one for each mask."""

    def measure(self, layer: str, features: tf.Tensor, here: Here, target: Target) -> Measured:
        """Of the features [1, h, w, channels] that are seen there, in the network's precision."""


class See(Protocol):
    """Shows a look a whole picture; `view`: as the picture's first, unless given."""

    def __call__(
        self, look: Look, picture: tf.Tensor, view: View | None = None, masks: Sequence[tf.Tensor | None] = (None,)
    ) -> dict[str, Measured]:
        """What it measures of a picture [1, H, W, 3], by layer; masks: each [1, H, W, 1]."""


class Weighing(NamedTuple):
    """How much a term counts at a stage."""

    weight: float
    every: int = 1
    """It counts in the first of so many steps, and is not looked at in the others."""
    falls: bool = False
    """Whether it falls to nothing, in a line, until the stage ends; not where the rule wants the same loss throughout.
    """

    def at(self, step: int, steps: int) -> float | None:
        """In a step, from 0, of so many; None: it is not looked at."""
        if step % self.every:
            return None
        return self.weight * (1 - step / steps if self.falls else 1)

    @property
    def constant(self) -> float:
        """In each step alike."""
        return self.weight / self.every


class Term(Look, Protocol):
    """A summand of the loss."""

    name: str

    def weighing(self, recipe: ResolvedOptimizeRecipe, content: Sides, scales: Sequence[float]) -> Weighing | None:
        """At the stage of the first of `scales`, which the others follow; None: it does not count there.

        content: the sides of what is painted, at its full size.
        """

    def target(self, scene: Scene, view: View, see: See) -> Target:
        """What it wants of a picture that is laid like that. Raises Permanent(NOT_FINITE)."""

    def loss(self, picture: tf.Tensor, measured: Mapping[str, Measured], target: Target) -> tf.Tensor:
        """How far a picture [1, H, W, 3] is from that, of which it measured this at its layers: a scalar."""


class OfRecipe:
    """A term whose weight is the recipe's, at every stage and in every step."""

    name: str

    def weighing(
        self,
        recipe: ResolvedOptimizeRecipe,
        content: Sides,  # noqa: ARG002
        scales: Sequence[float],  # noqa: ARG002
    ) -> Weighing | None:
        """By the term's name."""
        return Weighing(getattr(recipe, f"{self.name}_weight"))


class Content(OfRecipe):
    """Deep features, place by place: what is where."""

    name = "content"

    def __init__(
        self, layers: Mapping[str, float], loss: Callable[[tf.Tensor, tf.Tensor, tf.Tensor | None], tf.Tensor]
    ) -> None:
        """layers: with what each counts; loss: a scalar, of features [1, h, w, channels], those wanted, alike, and how
        much each place counts, [1, h, w, 1].
        """
        self.layers: Collection[str] = layers.keys()
        self._shares = layers
        self._loss = loss

    def raster(self, layer: str) -> Raster | None:
        """The features' own."""
        return raster_of(layer)

    def measure(self, layer: str, features: tf.Tensor, here: Here, target: Target) -> Measured:  # noqa: ARG002
        """The features [1, h, w, channels], in float32 at least."""
        return tf.cast(here.own(features, raster_of(layer)), tf.float64 if features.dtype == tf.float64 else tf.float32)

    def target(self, scene: Scene, view: View, see: See) -> Target:
        """By layer the content's own features [1, h, w, channels], and how often each place counts, [1, h, w, 1]."""
        features = see(self, scene.content, view)
        if scene.kept is None:
            return {layer: {"features": features[layer]} for layer in self.layers}
        return {
            layer: {
                "features": features[layer],
                "weights": 1 + _KEPT_MORE * covered(scene.kept, view, raster_of(layer)),
            }
            for layer in self.layers
        }

    def loss(self, picture: tf.Tensor, measured: Mapping[str, Measured], target: Target) -> tf.Tensor:  # noqa: ARG002
        """Of all layers: a scalar. picture: [1, H, W, 3]; measured: by layer the features [1, h, w, channels]."""
        return tf.add_n(
            [
                share * self._loss(measured[layer], target[layer]["features"], target[layer].get("weights"))
                for layer, share in self._shares.items()
            ]
        )


_KEPT_MORE = 4.0
"""How much more than the rest what is to be kept counts."""


class Style(OfRecipe):
    """Statistics over all pixels: which features there are and which occur together, wherever they are."""

    name = "style"

    def __init__(self, layers: Mapping[str, float], measure: StyleMeasure) -> None:
        """layers: with what each counts."""
        self.layers: Collection[str] = layers.keys()
        self._shares = layers
        self._measure = measure
        self._styles: dict[bytes, dict[str, Statistics]] = {}
        # Of the latest scene, for as long as there is one: an idle worker would hold the pictures of its last job.
        self._latest: WeakKeyDictionary[Scene, Target] = WeakKeyDictionary()

    def raster(self, layer: str) -> Raster | None:  # noqa: ARG002
        """None: statistics."""
        return None

    def measure(self, layer: str, features: tf.Tensor, here: Here, target: Target) -> Measured:  # noqa: ARG002
        """The statistics of each region, of features [1, h, w, channels]; in float32 at least."""
        dtype = tf.float64 if features.dtype == tf.float64 else tf.float32
        own = tf.cast(here.own(features, raster_of(layer)), dtype)
        return [dict(self._measure.statistics(own, guide)) for guide in here.guides(layer)]

    def target(self, scene: Scene, view: View, see: See) -> Target:  # noqa: ARG002 - the same for all
        """For each region, by layer, the mixture of its styles; the region's share of the picture; its mask, if any.

        Statistics as the measure makes them; the share a scalar, the mask [1, H, W, 1], both in the content's dtype.
        """
        if scene not in self._latest:
            self._latest.clear()
            own = see(self, scene.content, masks=scene.masks)
            self._latest[scene] = [self._region(area, number, own, see) for number, area in enumerate(scene.areas)]
        return self._latest[scene]

    def _region(self, area: Area, number: int, own: Mapping[str, Measured], see: See) -> Target:
        """Of the area of that number, of which the content's own statistics are among `own`, by layer."""
        parts = [self._statistics(picture, see) for picture, _ in area.styles]
        shares = [share for _, share in area.styles]
        wanted = {}
        for layer in self.layers:
            blended = mixture([part[layer] for part in parts], shares)
            if not is_finite(*blended.values()):
                raise not_finite()
            wanted[layer] = self._measure.target(blended, own[layer][number])
        dtype = area.styles[0][0].dtype
        share = tf.constant(1, dtype) if area.mask is None else tf.reduce_mean(area.mask)
        return {"wanted": wanted, "share": share} | ({} if area.mask is None else {"mask": area.mask})

    def _statistics(self, picture: tf.Tensor, see: See) -> dict[str, Statistics]:
        """Of a whole style picture [1, H, W, 3], by layer; those of the last few are kept."""
        key = hashlib.sha256(repr((picture.shape, picture.dtype)).encode() + picture.numpy().tobytes()).digest()
        if key not in self._styles:
            self._styles[key] = {layer: statistics for layer, [statistics] in see(self, picture).items()}
            if len(self._styles) > _KEPT_STYLES:
                del self._styles[next(iter(self._styles))]
        return self._styles[key]

    def distances(self, measured: Mapping[str, Measured], target: Target) -> dict[str, tf.Tensor]:
        """By layer, of all regions by their shares: scalars."""
        pairs = [
            (statistics, region["wanted"][layer])
            for layer in self.layers
            for statistics, region in zip(measured[layer], target, strict=True)
        ]
        losses = iter(self._measure.losses(pairs))
        return {layer: tf.add_n([region["share"] * next(losses) for region in target]) for layer in self.layers}

    @staticmethod
    def plainness(target: Target) -> float:
        """In how many fewer directions than paintings the styles vary, 0 to 1: a mean over what is painted.

        Of the layer where it is most; 0 where the measure does not say.
        """
        shares = [float(region["share"]) for region in target]
        layers = zip(*(region["wanted"].values() for region in target), strict=True)
        sums = [
            sum(share * float(wanted.get("plainness", 0)) for share, wanted in zip(shares, regions, strict=True))
            for regions in layers
        ]
        return max(sums, default=0) / (sum(shares) or 1)

    def loss(self, picture: tf.Tensor, measured: Mapping[str, Measured], target: Target) -> tf.Tensor:  # noqa: ARG002
        """Of all layers: a scalar. picture: [1, H, W, 3]; measured: by layer the statistics of each region."""
        distances = self.distances(measured, target)
        return tf.add_n([share * distances[layer] for layer, share in self._shares.items()])


_KEPT_STYLES = 24
"""Statistics of one take 3 MB; a painting needs one for each style and scale."""


class Variation(OfRecipe):
    """How much neighbours differ."""

    name = "variation"
    layers: Collection[str] = ()

    def __init__(self, loss: Callable[[tf.Tensor], tf.Tensor]) -> None:
        """loss: of a picture [1, H, W, 3], a scalar."""
        self._loss = loss

    def raster(self, layer: str) -> Raster | None:  # noqa: ARG002
        """It looks at no layer."""
        return None

    def measure(self, layer: str, features: tf.Tensor, here: Here, target: Target) -> Measured:  # noqa: ARG002
        """It looks at no layer."""
        raise LookupError(layer)

    def target(self, scene: Scene, view: View, see: See) -> Target:  # noqa: ARG002
        """Nothing."""
        return {}

    def loss(self, picture: tf.Tensor, measured: Mapping[str, Measured], target: Target) -> tf.Tensor:  # noqa: ARG002
        """Of the picture [1, H, W, 3] itself."""
        return self._loss(picture)
