"""Feature matching: what each place wants, and how far it is from that."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.cost import ARCHITECTURES, stride_px
from stylequeue.contract.memory import MATCHED_LAYERS, PLACES_PX, SEARCH_RANK, most_candidates
from stylequeue.contract.recipe import OptimizeRecipe, ResolvedOptimizeRecipe, resolve
from stylequeue_worker.engine.cells import View, pooled
from stylequeue_worker.engine.course import Course
from stylequeue_worker.engine.descent import Evaluation
from stylequeue_worker.engine.matching import Candidates, Matching
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.objective import TERMS, Objective, Targets
from stylequeue_worker.engine.options import Options
from stylequeue_worker.engine.painter import Painter
from stylequeue_worker.engine.presets import PRESETS, Preset, preset_of
from stylequeue_worker.engine.safety import Standstill
from stylequeue_worker.engine.terms import Look, Scene, Target, Weighing, scene
from stylequeue_worker.engine.tiling import TiledObjective
from tests.engine.conftest import Picture

HEIGHT_PX, WIDTH_PX = 75, 90
ONE = {"matching": tf.constant(1.0)}


@pytest.fixture
def objectives(narrow: Vgg, uncompiled_once: None) -> tuple[Objective, Objective]:
    """Whole, and in tiles."""
    preset = PRESETS["brushwork"]
    return Objective(narrow, preset), TiledObjective(narrow, preset, 64)


def half(*, left: bool) -> np.ndarray:
    mask = np.zeros((1, HEIGHT_PX, WIDTH_PX, 1), np.float32)
    mask[:, :, : WIDTH_PX // 2] = 1
    return mask if left else 1 - mask


def test_means_over_blocks_are_those_of_pooling_and_few_sizes_are_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each size that it pools, a processor keeps memory."""
    pool, sizes, random = tf.nn.avg_pool2d, set(), np.random.default_rng(0)

    def noted(cells: tf.Tensor, *how: Any) -> tf.Tensor:
        sizes.add(tuple(cells.shape))
        return pool(cells, *how)

    monkeypatch.setattr(tf.nn, "avg_pool2d", noted)
    for height, width in itertools.product((33, 34, 47, 63, 64), (1, 3, 4, 21, 32)):
        cells = tf.constant(random.random((1, height, width, 2), np.float32))
        counted = tf.constant(random.random((1, height // 4, width // 4, 2), np.float32))
        found, slopes = [], []
        for mean in (partial(pooled, block=4), partial(pool, ksize=4, strides=4, padding="VALID")):
            with tf.GradientTape() as tape:
                tape.watch(cells)
                found.append(mean(cells))
                total = tf.reduce_sum(found[-1] * counted)
            slopes.append(tape.gradient(total, cells))
        np.testing.assert_array_equal(*found)
        np.testing.assert_array_equal(*slopes)
    assert sizes == {(1, 64, 32, 2)}


def test_a_picture_finds_itself_and_is_there(objectives: tuple[Objective, Objective], photo: Picture) -> None:
    objective, _ = objectives
    content = tf.constant(photo("coffee", HEIGHT_PX, WIDTH_PX))
    view = objective.views(content)[0]
    targets = objective.targets(scene(content, [(content, 1.0)]), view)
    found = targets["matching"]["found"].numpy().ravel()
    assert np.mean(targets["matching"]["columns"][MATCHED_LAYERS[0]].shape[2] > found) == 1
    evaluation = objective.evaluate(content, targets, ONE, view)
    # In bfloat16 to three digits; most places are their own nearest, and those that are not are as good as.
    assert 0 <= float(evaluation.terms["matching"]) < 2e-3
    elsewhere = tf.constant(photo("astronaut", HEIGHT_PX, WIDTH_PX))
    assert float(objective.evaluate(elsewhere, targets, ONE, view).terms["matching"]) > 0.1


def test_masks_shares_and_tiles(objectives: tuple[Objective, Objective], photo: Picture, stripes: Picture) -> None:
    content, elsewhere = (tf.constant(photo(name, HEIGHT_PX, WIDTH_PX)) for name in ("coffee", "chelsea"))
    styles = [(tf.constant(photo("rocket", 64, 56)), 0.3), (tf.constant(stripes(64, 72)), 0.7)]
    given = scene(content, styles, [half(left=True), half(left=False)])
    evaluations = []
    for objective in objectives:
        view = objective.views(content)[-1]
        targets = objective.targets(given, view)["matching"]
        found, first = targets["found"].numpy()[0, ..., 0], len(candidates(objective, 0))
        across = found.shape[1]
        # Each half has only places of its own style.
        assert (found[:, : across // 2 - 1] < first).all()
        assert (found[:, across // 2 + 1 :] >= first).all()
        assert float(tf.reduce_sum(targets["weights"])) == pytest.approx(1)
        evaluations.append(objective.evaluate(elsewhere, {"matching": targets}, ONE, view))
    whole, tiled = evaluations
    np.testing.assert_allclose(tiled.total, whole.total, rtol=1e-4)
    assert np.linalg.norm(tiled.gradient - whole.gradient) < 1e-4 * np.linalg.norm(whole.gradient)


def test_what_lies_under_a_small_mask_counts_as_it_does_without_one(
    objectives: tuple[Objective, Objective], photo: Picture, stripes: Picture
) -> None:
    """A region counts by its area: painted no harder than the whole would be."""
    content, styles = tf.constant(photo("coffee", HEIGHT_PX, WIDTH_PX)), [(tf.constant(stripes(64, 72)), 1.0)]
    small = np.zeros((1, HEIGHT_PX, WIDTH_PX, 1), np.float32)
    small[:, : HEIGHT_PX // 4, : WIDTH_PX // 4] = 1
    for objective in objectives:
        view = objective.views(content)[0]
        whole = objective.targets(scene(content, styles), view)["matching"]["weights"].numpy()
        inside = objective.targets(scene(content, styles, [small]), view)["matching"]["weights"].numpy()
        assert inside.sum() == pytest.approx(1 / 16, rel=0.1)
        np.testing.assert_allclose(inside[0, 0, 0], whole[0, 0, 0])
        assert inside[0, -1, -1] == 0


def test_one_program_for_all_sizes(narrow: Vgg, photo: Picture) -> None:
    """Of the terms with matching, and one of those without."""
    preset = replace(PRESETS["brushwork"], content_layers={}, style_layers={})
    objective = Objective(narrow, preset)
    for height in (72, 80):
        content = tf.constant(photo("coffee", height, 64))
        view = objective.views(content)[0]
        given = scene(content, [(tf.constant(photo("chelsea", 64, height)), 1.0)])
        targets = objective.targets(given, view, ["variation", "matching"])
        for terms in (["variation"], ["variation", "matching"]):
            objective.evaluate(content, targets, {name: tf.constant(1.0) for name in terms}, view)
    assert objective._compiled.function.experimental_get_tracing_count() == 2


def candidates(objective: Objective, area: int) -> tf.Tensor:
    """The directions of an area's candidates."""
    matching = objective.terms["matching"]
    assert isinstance(matching, Matching)
    [(areas, _)] = matching._latest.values()
    return areas[area].directions


def test_it_falls_to_nothing_where_nothing_follows() -> None:
    def weighing(longest_px: int, *scales: float) -> Weighing | None:
        return Matching(turned=True).weighing(recipe(), (longest_px, longest_px // 2), scales)

    last, before_another, before_a_larger = weighing(256, 1.0), weighing(512, 0.5, 1.0), weighing(1024, 0.25, 0.5, 1.0)
    assert last == Weighing(1.0, every=2, falls=True)
    assert before_another == before_a_larger == Weighing(1.0, every=2)
    assert [last.at(step, 4) for step in range(4)] == [1.0, None, 0.5, None]
    assert [before_another.at(step, 4) for step in range(4)] == [1.0, None, 1.0, None]
    assert weighing(1024, 0.5, 1.0) == Weighing(1.0, every=4, falls=True), "what follows is too large for it"
    assert weighing(1024, 1.0) is None
    assert {last.constant, before_another.constant} == {0.5}


def recipe(**given: object) -> ResolvedOptimizeRecipe:
    resolved = resolve(OptimizeRecipe.model_validate({"network": "vgg16", "preset": "brushwork", **given}))
    assert isinstance(resolved, ResolvedOptimizeRecipe)
    return resolved


def test_what_is_found_is_nearly_the_most_similar_there_is() -> None:
    random = np.random.default_rng(3)
    # Features lie near few directions, as a network's do, and a little everywhere.
    directions = random.normal(size=(40, len(MATCHED_LAYERS) * 60)) * np.linspace(3, 0.3, 40)[:, None]

    def columns(count: int) -> np.ndarray:
        near = random.normal(size=(count, 40)) @ directions
        return (near + 0.3 * random.normal(size=near.shape) + 2).astype(np.float32)

    candidates, places = columns(900), columns(300)
    by_layer = dict(zip(MATCHED_LAYERS, np.split(candidates, len(MATCHED_LAYERS), axis=1), strict=True))
    found = Candidates.of(
        {layer: tf.cast(part, tf.bfloat16) for layer, part in by_layer.items()}, np.zeros(900, np.float32)
    )
    assert found.basis.shape == (60 * len(MATCHED_LAYERS), 256)
    assert found.number == 900
    nearest = found.nearest(tf.cast(places, tf.bfloat16))

    def unit(rows: np.ndarray) -> np.ndarray:
        centred = rows - rows.mean(axis=0)
        return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))

    alike = unit(places) @ unit(candidates).T
    assert np.mean(alike.max(axis=1) - alike[np.arange(300), nearest]) < 0.003
    assert alike.max(axis=1).mean() - np.median(alike) > 0.3, "which are found matters"


@pytest.mark.parametrize(
    ("content_px", "styles", "number"),
    [
        pytest.param((128, 128), [(128, 128)], 4 * 32**2, id="all of a style's"),
        pytest.param((128, 128), [(160, 160)] * 8, 2**15, id="as many as there may be of all"),
        pytest.param((64, 4096), [(4096, 1200)], 2**12, id="in blocks"),
    ],
)
def test_candidates_are_no_more_than_the_plan_counts(
    content_px: tuple[int, int], styles: list[tuple[int, int]], number: int
) -> None:
    looked_at: list[tuple[int, ...]] = []

    def see(
        look: Look,
        picture: tf.Tensor,
        view: View | None = None,
        masks: Sequence[tf.Tensor | None] = (),
    ) -> dict[str, tf.Tensor]:
        looked_at.append(tuple(picture.shape[1:3]))
        height, width = (side // 4 for side in looked_at[-1])
        return {layer: tf.ones((1, height, width, 1), tf.bfloat16) for layer in look.layers}

    pictures = [(tf.zeros((1, *sides, 3)), 1 / len(styles)) for sides in styles]
    given = scene(tf.zeros((1, *content_px, 3)), pictures)
    assert Matching(turned=True)._candidates(given.areas[0], given, see).number == pytest.approx(number, rel=0.02)
    assert max(map(max, looked_at)) <= 1024


def test_a_style_that_likes_to_be_turned_is_found_turned(narrow: Vgg, photo: Picture) -> None:
    upright = photo("chelsea", HEIGHT_PX, WIDTH_PX)
    content, style = tf.constant(upright), tf.constant(np.rot90(upright, axes=(1, 2)).copy())
    losses = {}
    for turned in (True, False):
        preset = preset_of(recipe(turned_styles=turned))
        # Nothing else is to be computed.
        objective = Objective(narrow, replace(preset, content_layers={}, style_layers={}))
        view = objective.views(content)[0]
        targets = {"matching": objective.terms["matching"].target(scene(content, [(style, 1.0)]), view, objective.see)}
        losses[turned] = float(objective.losses_at(content, targets, view)["matching"])
    assert losses[True] < 0.02
    assert losses[False] > 3 * losses[True]


class Recorder(Objective):
    """Takes steps that change nothing, and remembers which view had its turn, and whether at matching."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.turns: list[tuple[bytes, float]] = []
        self.evaluated: list[tuple[int, bool]] = []
        """Pixels, and whether places were matched."""
        self.searched: list[tuple[Scene, int]] = []
        """For each view's search its scene, and pixels that it looks at for this view alone."""

    def targets(self, scene: Scene, view: View, terms: Collection[str] | None = None) -> dict[str, Target]:  # noqa: ARG002
        if "matching" in (terms or ()):
            self.searched.append((scene, int(tf.size(scene.content)) // 3))
        return dict.fromkeys(terms or (), ())

    def evaluate(
        self,
        picture: tf.Tensor,
        targets: Targets,  # noqa: ARG002
        weights: Mapping[str, tf.Tensor],
        view: View,
    ) -> Evaluation:
        self.turns.append((view.numpy().tobytes(), float(weights.get("matching", 0))))
        self.evaluated.append((int(tf.size(picture)) // 3, "matching" in weights))
        return Evaluation(tf.constant(1.0), tf.zeros_like(picture), dict.fromkeys(TERMS, tf.constant(1.0)))


@pytest.mark.parametrize(("width_px", "every", "views"), [(64, 2, 4), (320, 4, 1)])
def test_every_view_has_its_turn_and_at_small_sizes_at_matching(
    photo: Picture, width_px: int, every: int, views: int
) -> None:
    content = tf.constant(photo("coffee", 64, width_px))
    objective = Recorder(PRESETS["brushwork"])
    steps = 8 * every
    weighings = objective.preset.weighings(recipe(), (64, width_px), [1.0])
    course = Course(objective, recipe(), scene(content, [(content, 1.0)]), content, steps, weighings)
    descent = course.descend(None, 0)
    searched = [len(objective.searched) for _ in itertools.islice(descent, steps)]
    assert searched[0] == 1, "whoever waits for the first step waits for one search"
    assert searched[-1] == views, "none for what no step looks at"
    counted = [view for view, weight in objective.turns if weight]
    assert len(objective.turns) == steps
    assert [weight > 0 for _, weight in objective.turns] == [True, *[False] * (every - 1)] * 8
    assert [counted.count(view) for view in set(counted)] == [8 // views] * views
    each = [view for view, _ in objective.turns]
    assert [each.count(view) for view in set(each)] == [steps // 4] * 4
    weights = [weight for _, weight in objective.turns if weight]
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] == pytest.approx(weights[0] / 8)


class Still(Recorder):
    """The same loss whatever the picture."""

    def evaluate(
        self, picture: tf.Tensor, targets: Targets, weights: Mapping[str, tf.Tensor], view: View
    ) -> Evaluation:
        evaluation = super().evaluate(picture, targets, weights, view)
        return evaluation._replace(total=tf.add_n(list(weights.values())))


def test_every_scale_ends_where_nothing_is_gained(narrow: Vgg, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last at which places are matched, too, though the weight of that falls."""
    monkeypatch.setattr(Painter, "_objective", lambda *_: Still(PRESETS["brushwork"]))
    content = np.full((1, 128, 320, 3), 0.5, np.float32)
    fields = recipe(steps=400, stop_when=0.001)
    steps = list(Painter(narrow, Options()).paint(content, [(content, 1.0)], fields))
    assert [step.size_px for step in steps] == [160] * Standstill.WINDOW + [320] * Standstill.WINDOW


MATCHED, SEARCHED = 0.25, 0.6
"""Measured: what an evaluation takes more where places are matched, and what looking at a picture for a search takes,
in evaluations of its size."""
PRODUCTS_A_PX = 2 * sum(
    9 * before * channels / stride_px(layer) ** 2
    for (_, before), (layer, channels) in pairwise([("", 3), *ARCHITECTURES["vgg16"].items()])
    if layer <= "block5_conv1"
)
"""Of an evaluation, forth and back, for each pixel."""


def compared_px(scene: Scene) -> float:
    """What comparing all places of a view with all candidates takes, in pixels evaluated with as many products."""
    [(style, _)] = scene.areas[0].styles
    height, width = map(int, scene.content.shape[1:3])
    places, styles_places = (
        math.prod(int(side) // PLACES_PX for side in picture.shape[1:3]) for picture in (scene.content, style)
    )
    candidates = min(most_candidates((height, width)), 4 * styles_places)
    return places * candidates * SEARCH_RANK / PRODUCTS_A_PX


@pytest.mark.parametrize(
    ("longest_px", "most"), [(256, 0.25), pytest.param(512, 0.2, marks=pytest.mark.slow), (1024, 0.08)]
)
def test_matching_adds_little_work(narrow: Vgg, monkeypatch: pytest.MonkeyPatch, longest_px: int, most: float) -> None:
    """Counted as evaluations, by their pixels, over those of all steps."""
    recorder = Recorder(PRESETS["brushwork"])
    monkeypatch.setattr(Painter, "_objective", lambda *_: recorder)
    content = np.full((1, longest_px // 2, longest_px, 3), 0.5, np.float32)
    for _ in Painter(narrow, Options()).paint(content, [(content, 1.0)], recipe()):
        pass
    assert len(recorder.evaluated) == 140
    plain = sum(px for px, _ in recorder.evaluated)
    matched = sum(px for px, is_matched in recorder.evaluated if is_matched)
    # Each view, or one, looks at the content; each stage's first at the style's four turns, besides.
    scenes = dict(recorder.searched)
    searches = [1 if max(each.content.shape) > 256 else 4 for each in scenes]
    assert len(recorder.searched) == sum(searches)
    looked_at = sum(px for _, px in recorder.searched) + 4 * sum(scenes.values())
    compared = sum(compared_px(scene) for scene, _ in recorder.searched)
    assert 0.05 < (MATCHED * matched + SEARCHED * looked_at + compared) / plain < most


@pytest.mark.slow
def test_a_painting_that_was_broken_off_looks_for_the_same_places(
    narrow: Vgg, photo: Picture, stripes: Picture, uncompiled_once: None
) -> None:
    """At the last scale what is looked up has a part of what the coarser one painted."""
    painter, content, style = Painter(narrow, Options()), photo("chelsea", 240, 128), stripes(48)
    steps = list(painter.paint(content, [(style, 1.0)], recipe(steps=6)))
    assert [step.size_px for step in steps] == [120] * 3 + [240] * 3
    state = steps[4].state
    assert state is not None
    [resumed] = painter.paint(content, [(style, 1.0)], recipe(steps=6), resume=state)
    assert np.array_equal(resumed.picture, steps[-1].picture)
    elsewhere = {**state, "begun": 1 - state["begun"]}
    [other] = painter.paint(content, [(style, 1.0)], recipe(steps=6), resume=elsewhere)
    assert not np.array_equal(other.picture, steps[-1].picture)
