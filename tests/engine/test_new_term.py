"""A term of the loss that the engine knows nothing of: its class is all there is of it, and a preset that makes it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.cost import Sides
from stylequeue.contract.recipe import OptimizeRecipe, ResolvedOptimizeRecipe, resolve
from stylequeue_worker.engine import Checkpoint, Options, Step, course, presets
from stylequeue_worker.engine.cells import Here, Raster, View, raster_of
from stylequeue_worker.engine.descent import Evaluation
from stylequeue_worker.engine.memory import plan
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.objective import TERMS, Objective
from stylequeue_worker.engine.painter import Painter
from stylequeue_worker.engine.presets import PRESETS, Preset, preset_of
from stylequeue_worker.engine.safety import Standstill
from stylequeue_worker.engine.terms import Measured, Scene, See, Target, Weighing, scene
from stylequeue_worker.engine.tiling import TiledObjective
from tests.engine.conftest import Picture

HEIGHT_PX, WIDTH_PX = 128, 240
LAYERS = {"content_layers": {"block2_conv1": 1.0}, "style_layers": {"block1_conv1": 1.0}}
"""Few: what is done is the same with more of them."""


class Glow:
    """Each region's features are to be, in the mean, those of white: at full size alone, first of all."""

    name = "glow"
    layers: Collection[str] = ("block1_conv2", "block2_conv1")
    weight = 1e6

    def __init__(self, *, falls: bool = True) -> None:
        self._falls = falls

    def weighing(
        self,
        recipe: ResolvedOptimizeRecipe,  # noqa: ARG002
        content: Sides,
        scales: Sequence[float],
    ) -> Weighing | None:
        assert content == (HEIGHT_PX, WIDTH_PX)
        return None if len(scales) > 1 else Weighing(self.weight, falls=self._falls)

    def raster(self, layer: str) -> Raster | None:  # noqa: ARG002
        """None: statistics."""
        return None

    def measure(self, layer: str, features: tf.Tensor, here: Here, target: Target) -> Measured:  # noqa: ARG002
        """The mean of each region, [channels]."""
        own = here.own(features, raster_of(layer))
        covers = [tf.ones_like(own[..., :1]) if guide is None else guide for guide in here.guides(layer)]
        return [
            {"mean": tf.math.divide_no_nan(tf.reduce_sum(own * cover, (0, 1, 2)), tf.reduce_sum(cover))}
            for cover in covers
        ]

    def target(self, scene: Scene, view: View, see: See) -> Target:
        """The same of white."""
        return see(self, tf.ones_like(scene.content), view, scene.masks)

    def loss(self, picture: tf.Tensor, measured: Mapping[str, Measured], target: Target) -> tf.Tensor:  # noqa: ARG002
        """The mean square of what lies between, of both layers."""
        return tf.add_n(
            [
                tf.reduce_mean((region["mean"] - wanted["mean"]) ** 2)
                for layer in self.layers
                for region, wanted in zip(measured[layer], target[layer], strict=True)
            ]
        )


def with_glow(preset: Preset, *, falls: bool = True) -> Preset:
    return replace(preset, besides=(*preset.besides, lambda _: Glow(falls=falls)))


Have = Callable[..., None]


@pytest.fixture
def have_glow(monkeypatch: pytest.MonkeyPatch) -> Have:
    """Lets all presets have it, as a line of `presets` would."""

    def have(**given: bool) -> None:
        for name, preset in presets._MANNERS.items():
            monkeypatch.setitem(presets._MANNERS, name, with_glow(preset, **given))

    return have


def recipe(**given: object) -> ResolvedOptimizeRecipe:
    fields = {"network": "vgg16", "preset": "painterly", "steps": 4, **LAYERS, **given}
    resolved = resolve(OptimizeRecipe.model_validate(fields))
    assert isinstance(resolved, ResolvedOptimizeRecipe)
    return resolved


@pytest.fixture
def masks() -> list[np.ndarray | None]:
    """Of two styles."""
    mask = np.zeros((1, HEIGHT_PX, WIDTH_PX, 1), np.float32)
    mask[:, :, : WIDTH_PX // 3] = 1
    return [mask, 1 - mask]


@pytest.fixture
def styles(photo: Picture, stripes: Picture) -> list[tuple[np.ndarray, float]]:
    return [(stripes(48), 0.5), (photo("rocket", 48), 0.5)]


@pytest.mark.parametrize(
    ("preset", "sizes_px"),
    [("tf-tutorial", [240] * 4), pytest.param("painterly", [120] * 2 + [240] * 2, marks=pytest.mark.slow)],
)
def test_it_is_painted_with(
    thin: Vgg,
    photo: Picture,
    styles: list[tuple[np.ndarray, float]],
    masks: list[np.ndarray | None],
    have_glow: Have,
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
    sizes_px: list[int],
) -> None:
    have_glow()
    content, painter = photo("coffee", HEIGHT_PX, WIDTH_PX), Painter(thin, Options(precision="float32"))

    def painted(resume: Checkpoint | None = None) -> list[Step]:
        return list(painter.paint(content, styles, recipe(preset=preset), masks=masks, resume=resume))

    steps = painted()
    assert [step.size_px for step in steps] == sizes_px
    assert ["glow" in step.losses for step in steps] == [size_px == 240 for size_px in sizes_px]
    assert steps[-1].summarise().losses.keys() == set(TERMS), "reports are of what all presets have"
    [resumed] = painted(steps[2].state)
    np.testing.assert_array_equal(resumed.picture, steps[3].picture)
    monkeypatch.setattr(Glow, "weight", 0.0)
    *_, without = painted(steps[1].state)
    assert steps[3].losses["glow"] < 0.99 * without.losses["glow"]


@pytest.mark.slow
def test_it_is_the_same_in_tiles(
    thin: Vgg, photo: Picture, styles: list[tuple[np.ndarray, float]], masks: list[np.ndarray | None]
) -> None:
    preset = with_glow(preset_of(recipe(preset="tf-tutorial")))
    content, elsewhere = (tf.constant(photo(name, HEIGHT_PX, WIDTH_PX)) for name in ("coffee", "chelsea"))
    given = scene(content, [(tf.constant(style), share) for style, share in styles], masks)
    evaluations = []
    for objective in (Objective(thin, preset), TiledObjective(thin, preset, 64)):
        view = objective.views(content)[-1]
        targets = objective.targets(given, view, ["style", "glow"])
        one = {name: tf.constant(weight) for name, weight in (("style", 0.0), ("glow", 1.0))}
        evaluations.append(objective.evaluate(elsewhere, targets, one, view))
    whole, tiled = evaluations
    np.testing.assert_allclose(tiled.terms["glow"], whole.terms["glow"], rtol=1e-4)
    assert np.linalg.norm(tiled.gradient - whole.gradient) < 1e-4 * np.linalg.norm(whole.gradient)


class Still(Objective):
    """The same losses whatever the picture, but for that of the new term, which falls."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.weights: list[Mapping[str, tf.Tensor]] = []
        """Of each evaluation."""

    def targets(self, _: object, __: object, terms: Collection[str] | None = None) -> dict[str, Target]:
        return dict.fromkeys(terms or (), ())

    def evaluate(self, picture: tf.Tensor, _: Target, weights: Mapping[str, tf.Tensor], *__: object) -> Evaluation:
        self.weights.append(weights)
        total = tf.add_n(list(weights.values()))
        terms = {name: tf.constant(1 / len(self.weights) if name == "glow" else 1.0) for name in weights}
        return Evaluation(total, tf.zeros_like(picture), terms)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch, have_glow: Have) -> Still:
    """What every painting is painted by."""
    have_glow()
    made = Still(presets._MANNERS["painterly"])
    monkeypatch.setattr(Painter, "_objective", lambda *_: made)
    return made


@pytest.mark.parametrize(("optimizer", "counts"), [("adam", [1, 0.5]), ("swift", [1, 1]), ("lbfgs", [1])])
def test_it_counts_where_and_as_much_as_it_says(
    thin: Vgg, photo: Picture, still: Still, optimizer: str, counts: list[float]
) -> None:
    """In rules that want one loss throughout it falls nowhere; one of them ends where there is no slope."""
    content, asked = photo("coffee", HEIGHT_PX, WIDTH_PX), recipe(optimizer=optimizer)
    for _ in Painter(thin, Options()).paint(content, [(content, 1.0)], asked):
        pass
    told = [float(each["glow"] / each["style"]) for each in still.weights if "glow" in each]
    assert told == pytest.approx([Glow.weight / asked.style_weight * count for count in counts])
    assert len(still.weights) == 2 * len(counts), "at the stage before it did not count"


@pytest.mark.usefixtures("still")
def test_a_scale_ends_though_its_weight_falls(thin: Vgg, photo: Picture) -> None:
    content, asked = photo("coffee", HEIGHT_PX, WIDTH_PX), recipe(steps=300, stop_when=0.001)
    steps = list(Painter(thin, Options()).paint(content, [(content, 1.0)], asked))
    assert [step.size_px for step in steps] == [120] * Standstill.WINDOW + [240] * Standstill.WINDOW
    assert "glow" in steps[-1].losses


@pytest.mark.slow
def test_one_that_does_not_fall_is_taken_in_a_gpus_calls(
    thin: Vgg, photo: Picture, monkeypatch: pytest.MonkeyPatch, have_glow: Have
) -> None:
    have_glow(falls=False)
    content = photo("coffee", HEIGHT_PX, WIDTH_PX)

    def painted() -> list[Step]:
        painter = Painter(thin, Options(precision="float32"))
        return list(painter.paint(content, [(content, 1.0)], recipe(preset="tf-tutorial")))

    one_by_one = painted()
    monkeypatch.setattr(course, "on_gpu", lambda: True)
    monkeypatch.setattr(Objective, "evaluate", None)
    in_calls = painted()
    assert in_calls[-1].losses["glow"] == pytest.approx(one_by_one[-1].losses["glow"], rel=1e-3)


def test_what_it_looks_at_is_in_the_plan(thin: Vgg, monkeypatch: pytest.MonkeyPatch) -> None:
    preset, side = PRESETS["painterly"], (512, 512)
    monkeypatch.setattr(Glow, "layers", ("block5_conv3",))
    peaks = [plan(side, [side], thin, each, "adam", None).peak_bytes for each in (preset, with_glow(preset))]
    assert peaks[0] < peaks[1]
