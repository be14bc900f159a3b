"""Painting through the engine's door: small pictures, few steps."""

from __future__ import annotations

import itertools
import weakref
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.cost import schedule
from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.recipe import OptimizeRecipe, ResolvedOptimizeRecipe, content_weight_of, resolve
from stylequeue_worker import models
from stylequeue_worker.engine import Engine, Step
from stylequeue_worker.engine.cells import View
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.objective import TERMS, Objective
from stylequeue_worker.engine.presets import PRESETS
from stylequeue_worker.engine.programs import Program
from stylequeue_worker.engine.terms import Look, scene
from stylequeue_worker.engine.weights import load
from tests.engine.conftest import Picture
from tests.support.judge import ssim

SUN, FOREST = ((0.9, 0.6, 0.1), (0.8, 0.1, 0)), ((0.1, 0.6, 0.2), (0, 0.2, 0.1))


def recipe(steps: int = 6, **given: object) -> ResolvedOptimizeRecipe:
    resolved = resolve(
        OptimizeRecipe.model_validate({"network": "vgg16", "preset": "painterly", "steps": steps, **given})
    )
    assert isinstance(resolved, ResolvedOptimizeRecipe)
    return resolved


def painted(engine: Engine, content: np.ndarray, *styles: np.ndarray, **given: object) -> Step:
    [*_, last] = engine.paint(content, [(style, 1.0) for style in styles], recipe(**given))  # type: ignore[arg-type]
    return last


def colour(picture: np.ndarray) -> np.ndarray:
    return np.asarray(picture.mean(axis=(0, 1, 2)))


class TestSchedule:
    def test_steps_are_shared_out_coarse_to_fine(self) -> None:
        stages = schedule(PRESETS["painterly"].scales, (256, 171), 140)
        assert [(stage.scale, stage.steps) for stage in stages] == [(0.5, 84), (1.0, 56)]

    @pytest.mark.parametrize("sides_px", [(256, 256), (341, 512), (1024, 683), (2048, 512), (4096, 2731)])
    def test_it_begins_at_the_same_size_whatever_the_output(self, sides_px: tuple[int, int]) -> None:
        first = schedule(PRESETS["painterly"].scales, sides_px, 140)[0]
        assert max(sides_px) * first.scale in (128, 256)
        assert min(sides_px) * first.scale >= 64

    @pytest.mark.parametrize("short_side_px", [16, 64, 91, 128, 2048])
    @pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 140, 10_000])
    def test_every_step_is_planned_and_the_last_stage_is_the_output(self, short_side_px: int, steps: int) -> None:
        stages = schedule(PRESETS["painterly"].scales, (short_side_px, 2 * short_side_px), steps)
        assert sum(stage.steps for stage in stages) == steps
        assert all(stage.steps >= 1 for stage in stages)
        assert stages[-1].scale == 1

    def test_scales_too_small_to_see_anything_are_left_out(self) -> None:
        assert [stage.scale for stage in schedule(PRESETS["painterly"].scales, (128, 240), 9)] == [0.5, 1.0]
        assert [stage.scale for stage in schedule(PRESETS["painterly"].scales, (127, 240), 9)] == [1.0]
        assert [stage.scale for stage in schedule(PRESETS["painterly"].scales, (239, 239), 9)] == [1.0]

    def test_details_are_laid_in_finer_steps_than_the_layout(self) -> None:
        rates = [PRESETS["painterly"].adam_at(side_px).learning_rate for side_px in (64, 256, 1024)]
        assert rates == [0.03, 0.03, 0.015]
        matched = [PRESETS["brushwork"].adam_at(side_px).learning_rate for side_px in (256, 512, 1024)]
        assert matched == [0.03, PRESETS["painterly"].adam_at(512).learning_rate, 0.00375]
        assert PRESETS["tf-tutorial"].adam_at(1024) == PRESETS["tf-tutorial"].adam

    def test_where_little_is_to_be_changed_steps_are_short(self) -> None:
        preset = PRESETS["painterly"]
        rules = [preset.adam_at(128, content_weight_of(strength, "painterly")) for strength in (0.5, 0.2, 0.01, 0.001)]
        rates = [rule.learning_rate for rule in rules]
        assert rates[0] == rates[1] == preset.adam.learning_rate
        assert rates[1] > rates[2] > rates[3]
        # Not even all steps of a painting together go far from the content.
        assert 140 * rates[3] < 0.1
        assert rules[3].sharpening < 0.01 * 0.5

    def test_the_tutorial_has_one_scale(self) -> None:
        assert [(s.scale, s.steps) for s in schedule(PRESETS["tf-tutorial"].scales, (512, 512), 1000)] == [(1.0, 1000)]


class TestSteps:
    def test_one_a_evaluation_counted_over_all_scales(self, engine: Engine, photo: Picture, stripes: Picture) -> None:
        steps = list(engine.paint(photo("chelsea", 240, 128), [(stripes(96), 1.0)], recipe(steps=7)))
        assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6, 7]
        assert {step.steps for step in steps} == {7}
        assert [step.size_px for step in steps] == [120, 120, 120, 120, 240, 240, 240]
        assert all(step.picture.shape == (1, step.size_px, step.size_px * 128 // 240, 3) for step in steps)
        assert all(set(step.losses) == {"content", "style", "variation"} for step in steps)

    def test_the_style_comes_nearer(self, engine: Engine, photo: Picture, stripes: Picture) -> None:
        steps = list(engine.paint(photo(), [(stripes(), 1.0)], recipe(steps=20)))
        assert steps[-1].losses["style"] < 0.7 * steps[0].losses["style"]

    @pytest.mark.parametrize("preset", ["painterly", "tf-tutorial"])
    def test_lbfgs_comes_nearer_too(self, engine: Engine, photo: Picture, stripes: Picture, preset: str) -> None:
        given = recipe(steps=12, preset=preset, optimizer="lbfgs")
        weights = {term: getattr(given, f"{term}_weight") for term in ("content", "style", "variation")}
        totals = [
            sum(weights[term] * loss for term, loss in step.losses.items())
            for step in engine.paint(photo(), [(stripes(), 1.0)], given)
        ]
        assert min(totals) < 0.8 * totals[0]

    def test_the_caller_may_stop_at_any_time(self, engine: Engine, photo: Picture, stripes: Picture) -> None:
        painting = engine.paint(photo(), [(stripes(), 1.0)], recipe(steps=10_000))
        steps = list(itertools.islice(painting, 2))
        painting.close()  # type: ignore[attr-defined]
        assert [step.step for step in steps] == [1, 2]
        assert list(painting) == []

    def test_strength_nought_is_the_content(self, engine: Engine, photo: Picture, stripes: Picture) -> None:
        content = photo()
        nothing = resolve(OptimizeRecipe(network="vgg16", strength=0))
        [step] = engine.paint(content, [(stripes(), 1.0)], nothing)
        assert (step.step, step.steps) == (0, 0)
        np.testing.assert_array_equal(step.picture, content)

    def test_the_same_again_gives_the_same(self, engine: Engine, photo: Picture, stripes: Picture) -> None:
        first, second = (painted(engine, photo(), stripes()).picture for _ in range(2))
        np.testing.assert_allclose(first, second, atol=1e-6)

    def test_nothing_is_compiled_anew_for_another_size(self, narrow: Vgg, photo: Picture, stripes: Picture) -> None:
        objective = Objective(narrow, PRESETS["painterly"])
        weights = {term: tf.constant(1.0) for term in TERMS}
        compiled = []
        for height, width in ((64, 64), (64, 64), (80, 70), (64, 96), (72, 66)):
            picture, style = (tf.constant(p) for p in (photo("coffee", height, width), stripes(height)))
            painted = scene(picture, [(style, 1.0)])
            for view in objective.views(picture):
                objective.evaluate(picture, objective.targets(painted, view), weights, view)
            compiled.append(objective._compiled.function.experimental_get_tracing_count())
        assert compiled == [1] * 5

    @pytest.mark.usefixtures("uncompiled_once")
    def test_where_functions_run_uncompiled_nothing_is_compiled_besides(self) -> None:
        program = Program(lambda picture: picture + 1)
        np.testing.assert_array_equal(program(tf.zeros([1, 2, 2, 3])), np.ones((1, 2, 2, 3)))
        assert program.function.experimental_get_tracing_count() == 0


class TestStrength:
    def test_more_of_it_leaves_less_of_the_content(
        self, whole_engine: Engine, photo: Picture, stripes: Picture
    ) -> None:
        content = photo("chelsea")
        steps = [painted(whole_engine, content, stripes(), steps=6, strength=s) for s in (0.02, 0.4, 1.0)]
        left = [ssim(step.picture, content) for step in steps]
        assert left == sorted(left, reverse=True)
        style = [step.losses["style"] for step in steps]
        assert style == sorted(style, reverse=True)


class TestSeveralStyles:
    def test_each_leaves_its_colour_by_its_weight(self, engine: Engine, photo: Picture, stripes: Picture) -> None:
        sun, forest = stripes(colours=SUN), stripes(colours=FOREST)
        redness = []
        for weight in (0.01, 1.0, 100.0):
            [*_, last] = engine.paint(photo(), [(sun, weight), (forest, 1.0)], recipe(steps=12, strength=1.0))
            red, green, _ = colour(last.picture)
            redness.append(red - green)
        assert redness == sorted(redness)
        assert redness[0] < redness[1] - 0.05 < redness[2] - 0.1

    def test_only_the_ratio_of_weights_counts(self, engine: Engine, photo: Picture, stripes: Picture) -> None:
        sun, forest = stripes(colours=SUN), stripes(48, 80, colours=FOREST)
        pictures = [
            list(engine.paint(photo(), [(sun, 3 * k), (forest, k)], recipe(steps=3)))[-1].picture for k in (1.0, 50.0)
        ]
        np.testing.assert_allclose(pictures[0], pictures[1], atol=1e-6)


class TestShapes:
    @pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
    @pytest.mark.parametrize(("height", "width"), [(61, 47), (16, 16), (17, 200), (150, 19)])
    def test_odd_small_and_narrow(
        self, engine: Engine, photo: Picture, stripes: Picture, height: int, width: int, optimizer: str
    ) -> None:
        content = photo("coffee", height, width)
        last = painted(engine, content, stripes(16, 130), stripes(33), steps=2, optimizer=optimizer)
        assert last.picture.shape == content.shape

    @pytest.mark.parametrize("preset", ["painterly", "tf-tutorial"])
    @pytest.mark.parametrize(("content", "style"), [(0, 1), (1, 0), (0, 0), (0.5, None), (None, 0.5)])
    def test_flat_pictures_stay_finite(
        self, engine: Engine, photo: Picture, stripes: Picture, content: float | None, style: float | None, preset: str
    ) -> None:
        contents, styles = (
            picture if value is None else np.full_like(picture, value)
            for picture, value in ((photo(), content), (stripes(), style))
        )
        last = painted(engine, contents, styles, steps=4, preset=preset)
        assert np.isfinite(last.picture).all()
        assert 0 <= last.picture.min() <= last.picture.max() <= 1

    @pytest.mark.parametrize(
        "wrong",
        [
            np.zeros((1, 64, 64, 3)),
            np.zeros((1, 64, 64, 3), np.int16),
            np.zeros((64, 64, 3), np.float32),
            np.zeros((64, 64, 3), np.uint8),
            np.zeros((1, 64, 64, 4), np.float32),
            np.zeros((1, 64, 15, 3), np.float32),
            np.full((1, 64, 64, 3), 1.5, np.float32),
            np.full((1, 64, 64, 3), np.nan, np.float32),
        ],
        ids=["float64", "16 bits", "no batch", "8 bits, no batch", "alpha", "too narrow", "beyond one", "nan"],
    )
    def test_arrays_of_another_kind_are_refused(self, engine: Engine, photo: Picture, wrong: np.ndarray) -> None:
        for content, style in ((wrong, photo()), (photo(), wrong)):
            with pytest.raises(ValueError, match="picture"):
                next(engine.paint(content, [(style, 1.0)], recipe()))


class TestNotFinite:
    @pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
    def test_a_damaged_network_ends_in_a_clear_error(
        self, model_dir: Path, tmp_path: Path, photo: Picture, stripes: Picture, optimizer: str
    ) -> None:
        good = models.find("vgg16", model_dir)
        assert good
        (tmp_path / good.name).write_bytes(good.read_bytes())
        with h5py.File(tmp_path / good.name, "r+") as file:
            file["block2_conv1/block2_conv1/bias:0"][5] = np.nan
        damaged = Engine(tmp_path, network_sha256={"vgg16": models.digest(tmp_path / good.name)})
        with pytest.raises(Permanent) as caught:
            painted(damaged, photo(), stripes(), optimizer=optimizer)
        assert caught.value.code == Code.NOT_FINITE
        assert caught.value.hint


def test_a_styles_statistics_are_taken_once(
    model_dir: Path, photo: Picture, stripes: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models.find("vgg16", model_dir)
    assert path
    objective = Objective(load("vgg16", path), PRESETS["painterly"])
    see, looked_at = objective.see, []

    def counted(look: Look, picture: tf.Tensor, view: View | None = None, **masks: object) -> object:
        looked_at.append(picture)
        return see(look, picture, view, **masks)  # type: ignore[arg-type]

    monkeypatch.setattr(objective, "see", counted)
    one, two = (tf.constant(p) for p in (stripes(48), photo(height=48)))
    content = tf.constant(photo("coffee", 48))
    view = objective.views(content)[0]
    targets = [
        objective.targets(scene(content, styles), view)["style"]
        for styles in ([(one, 1.0)], [(one, 1.0)], [(one, 0.5), (two, 0.5)])
    ]
    assert sum(picture is one for picture in looked_at) == 1
    assert sum(picture is two for picture in looked_at) == 1
    first, again = (tf.nest.flatten(target) for target in targets[:2])
    for here, there in zip(first, again, strict=True):
        np.testing.assert_array_equal(here, there)


def test_what_is_kept_of_a_painting_ends_with_it(thin: Vgg, uncompiled_once: None) -> None:
    objective = Objective(thin, PRESETS["brushwork"])
    terms: list[Any] = [objective.terms[name] for name in ("style", "matching")]
    content, style = (tf.fill([1, 32, 32, 3], value) for value in (0.3, 0.6))
    painted = scene(content, [(style, 1.0)])
    objective.targets(painted, objective.views(content)[0])
    assert [len(term._latest) for term in terms] == [1, 1]
    held = weakref.ref(painted)
    del painted
    assert held() is None, "whether or not the collector comes by"
    assert [len(term._latest) for term in terms] == [0, 0]
