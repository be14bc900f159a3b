"""What is done differently on a GPU, tried on the processor: it must give the same picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.memory import GPUS_GRID_PX
from stylequeue.contract.recipe import OptimizeRecipe, PresetName, ResolvedOptimizeRecipe, resolve
from stylequeue_worker.engine import Options, Step, course, descent, matching, painter
from stylequeue_worker.engine.descent import MOST_A_CALL, AdamCalls, AdamRule, Evaluation
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.objective import Objective
from stylequeue_worker.engine.painter import Painter
from stylequeue_worker.engine.presets import PRESETS
from stylequeue_worker.engine.safety import TimeBudget
from stylequeue_worker.engine.steps import Checkpoint
from stylequeue_worker.engine.terms import scene
from tests.engine.conftest import Picture

STEPS = 14


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine takes a GPU's path."""
    for module in (course, painter):
        monkeypatch.setattr(module, "on_gpu", lambda: True)


def optimize(preset: PresetName, **given: object) -> ResolvedOptimizeRecipe:
    recipe = resolve(OptimizeRecipe.model_validate({"preset": preset, "network": "vgg16", "steps": STEPS, **given}))
    assert isinstance(recipe, ResolvedOptimizeRecipe)
    return recipe


LAYERS = {"content_layers": {"block2_conv1": 1.0}, "style_layers": {"block1_conv1": 1.0, "block2_conv1": 0.5}}
"""Few: what is compiled is the same with more of them."""


class Calls(NamedTuple):
    """A painter on a GPU's path, whose calls take as many steps as they may."""

    painter: Painter
    given: tuple[np.ndarray, list[tuple[np.ndarray, float]], ResolvedOptimizeRecipe]
    spoil: Callable[[int], None]
    """`spoil(n)`: the nth evaluation from here on, from 0, comes to no number."""

    def painted(self, resume: Checkpoint | None = None, **given: object) -> list[Step]:
        content, styles, recipe = self.given
        return list(self.painter.paint(content, styles, recipe.model_copy(update=given), resume=resume))


@pytest.fixture(scope="class", params=["tf-tutorial", "brushwork"])
def calls(request: pytest.FixtureRequest, thin: Vgg, photo: Picture, stripes: Picture) -> Iterator[Calls]:
    """One view, and four; `brushwork` at a stage at which no places are matched, for others take no calls."""
    left = tf.Variable(-1)

    def spoiled(self: Objective, *arguments: Any) -> Evaluation:
        evaluation = evaluate(self, *arguments)
        with tf.control_dependencies([left.assign_sub(1)]):
            wrong = tf.where(tf.equal(left, -1), np.float32(np.nan), np.float32(0))
        return evaluation._replace(total=evaluation.total + wrong)

    evaluate = Objective._evaluate
    with pytest.MonkeyPatch.context() as patch:
        for module in (course, painter):
            patch.setattr(module, "on_gpu", lambda: True)
        patch.setattr(matching, "is_matched", lambda *_: False)
        patch.setattr(descent, "CALL_S", 1e9)
        patch.setattr(Objective, "_evaluate", spoiled)
        yield Calls(
            Painter(thin, Options(precision="float32")),
            (photo(height=48), [(stripes(48), 1.0)], optimize(request.param, **LAYERS)),
            lambda good: left.assign(good),
        )


class TestCalls:
    def test_several_steps_in_one_call(
        self, calls: Calls, thin: Vgg, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All views have their turns within it."""
        in_calls = calls.painted()
        assert [step.step for step in in_calls] == [1, 2, 12, 14]
        request.getfixturevalue("uncompiled_once")
        for module in (course, painter):
            monkeypatch.setattr(module, "on_gpu", lambda: False)
        one_by_one = list(Painter(thin, Options(precision="float32")).paint(*calls.given))
        for step in in_calls:
            alike = one_by_one[step.step - 1]
            assert step.done == pytest.approx(step.step / STEPS)
            # Rounded otherwise: pooling takes another of two alike, and a few pixels go their own way.
            difference = np.abs(step.picture - alike.picture)
            assert np.median(difference) < 1e-5
            assert difference.mean() < 5e-4
            for term, loss in alike.losses.items():
                assert step.losses[term] == pytest.approx(loss, rel=1e-2)

    def test_what_comes_to_no_number_within_a_call_is_taken_back(self, calls: Calls) -> None:
        """To before the latest iterate, and from there on at half the rate."""
        first = calls.painted()[0]
        calls.spoil(2 + 4)
        steps = calls.painted()
        assert [step.step for step in steps] == [1, 2, 3, 4, 14], "those that were taken back count"
        assert [float((step.state or {}).get("rate", 1)) for step in steps] == [1, 1, 0.5, 0.5, 0.5]
        *_, at_13, _ = calls.painted(resume={**(first.state or {}), "rate": np.array(0.5)})
        assert at_13.step == 13
        np.testing.assert_array_equal(steps[-1].picture, at_13.picture)

    def test_a_time_budget_ends_it_behind_a_call(self, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = calls.painted()
        told = iter([False, False, True])
        monkeypatch.setattr(TimeBudget, "is_past", lambda *_: next(told))
        cut = calls.painted(time_budget_s=1.0)
        assert [(step.step, step.cut) for step in cut] == [(1, None), (2, None), (12, "time_budget")]
        np.testing.assert_array_equal(cut[-1].picture, whole[2].picture)


@pytest.mark.parametrize(("step_s", "most"), [(1e-6, MOST_A_CALL), (0.05, 8), (0.3, 1), (5.0, 1)])
def test_as_many_as_a_caller_can_wait_for(monkeypatch: pytest.MonkeyPatch, step_s: float, most: int) -> None:
    clock = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)

    def evaluate(picture: tf.Tensor, shared: Any, turn: Any) -> Evaluation:
        return Evaluation(tf.reduce_sum(picture), tf.ones_like(picture), {})

    rule = AdamRule(0.1, 0.9, 0.99, 1e-8)
    calls = AdamCalls(evaluate, rule)
    compiled = calls.compiled

    def timed(*arguments: Any) -> Any:
        nonlocal clock
        clock += step_s * int(arguments[-1])
        return compiled(*arguments)

    monkeypatch.setattr(calls, "compiled", timed)
    counts = [iterate.steps for iterate in calls.descend(tf.zeros([4]), {}, [()], rule, 40)]
    assert sum(counts) == 40
    assert counts[0] == counts[1] == 1, "nothing is known yet"
    assert max(counts) == most
    assert max(counts) * step_s < 1 or most == 1


class TestGrid:
    @pytest.mark.usefixtures("uncompiled_once")
    @pytest.mark.parametrize(
        ("preset_name", "height", "width"), [("brushwork", 33, 49), ("gatys-2016", 33, 49), ("gatys-2016", 64, 80)]
    )
    def test_loss_and_gradient_are_exactly_those_without(
        self, thin: Vgg, photo: Picture, stripes: Picture, preset_name: PresetName, height: int, width: int
    ) -> None:
        preset, network = PRESETS[preset_name], thin.cast(tf.float64)
        content, elsewhere = (tf.constant(photo(name, height, width), tf.float64) for name in ("coffee", "rocket"))
        style = tf.constant(stripes(50, 70), tf.float64)
        mask = np.zeros((1, height, width, 1), np.float32)
        mask[:, :20] = 1
        weights = {term.name: tf.constant(1.0, tf.float64) for term in preset.terms()}
        found = []
        for seen_by in (network, network.on_grid(64)):
            objective = Objective(seen_by.pooled(preset.pooling), preset)
            view = objective.views(content)[-1]
            targets = objective.targets(scene(content, [(style, 1.0)], [mask]), view)
            found.append(objective.evaluate(elsewhere, targets, weights, view))
        plain, laid = found
        for term in weights:
            np.testing.assert_allclose(laid.terms[term], plain.terms[term], rtol=1e-9)
        np.testing.assert_allclose(laid.gradient, plain.gradient, rtol=0, atol=1e-9 * np.abs(plain.gradient).max())

    def test_compiled_by_xla_once_for_a_canvas(self, narrow: Vgg, photo: Picture) -> None:
        narrow = narrow.cast(tf.float64)
        compiled = narrow.on_grid(64, xla=True)
        for height, width in ((50, 40), (33, 64)):
            picture = tf.constant(photo("coffee", height, width), tf.float64)
            features, slopes = [], []
            for network in (narrow, compiled):
                with tf.GradientTape() as tape:
                    tape.watch(picture)
                    seen = network.features(picture, ["block1_conv1", "block2_conv1"])
                    total = tf.add_n([tf.reduce_sum(tf.square(found)) for found in seen.values()])
                features.append(seen)
                slopes.append(tape.gradient(total, picture))
            for layer, expected in features[0].items():
                np.testing.assert_allclose(features[1][layer], expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
            np.testing.assert_allclose(slopes[1], slopes[0], rtol=0, atol=1e-9 * np.abs(slopes[0]).max())
        assert compiled._compiled.experimental_get_tracing_count() == 1

    def test_what_xla_compiles_is_the_same_for_all_sizes_on_a_canvas(self, thin: Vgg) -> None:
        """What the sizes on a canvas are is no constant to it: the program holds all that it would compile anew for."""
        network = thin.on_grid(64, xla=True)
        canvas, layers = tf.zeros([1, 64, 64, 3]), ("block1_conv1", "block2_conv1")
        programs = {
            network._compiled.experimental_get_compiler_ir(canvas, tf.constant(size_px), layers)(stage="hlo")
            for size_px in ((50, 40), (33, 64))
        }
        assert len(programs) == 1


PRESETS_IN_TURN: dict[int, PresetName] = {0: "painterly", 5: "brushwork"}


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("photographs", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_few_programs_are_compiled_for_many_shapes(
    thin: Vgg, monkeypatch: pytest.MonkeyPatch, photographs: int
) -> None:
    """What is compiled has next to nothing in it: how often it is compiled hangs on what it is called with."""
    compiled: list[str] = []
    canvases: set[tuple[int, ...]] = set()
    function, on_canvas = tf.function, Vgg._on_canvas

    def counted(python: Callable[..., Any], **options: Any) -> Any:
        def noted(*arguments: Any, **named: Any) -> Any:
            compiled.append(python.__name__)
            return python(*arguments, **named)

        return function(noted, **options)

    def looked_at(self: Vgg, x: tf.Tensor, *arguments: Any) -> None:
        if tf.executing_eagerly():
            canvases.add(tuple(x.shape[1:3]))
        on_canvas(self, x, *arguments)

    def hardly(self: Objective, picture: tf.Tensor, targets: Any, weights: Any, view: Any) -> Evaluation:
        given = [part for part in tf.nest.flatten((targets, weights, view)) if part is not None]
        used = tf.add_n([tf.reduce_sum(tf.cast(part, picture.dtype)) for part in given])
        total = tf.reduce_sum(picture) + 0 * used
        return Evaluation(total, tf.ones_like(picture), dict.fromkeys(targets, total))

    monkeypatch.setattr(tf, "function", counted)
    monkeypatch.setattr(Vgg, "_on_canvas", looked_at)
    monkeypatch.setattr(Objective, "_evaluate", hardly)
    ours = Painter(thin, Options(precision="float32"))
    random = np.random.default_rng(0)
    layers = {"content_layers": {"block1_conv2": 1.0}, "style_layers": {"block1_conv1": 1.0}}
    style = random.random((1, 64, 64, 3), np.float32)
    for number in range(photographs):
        preset = PRESETS_IN_TURN.get(number % 10, "tf-tutorial")
        recipe = optimize(preset, steps=2, **layers)
        shorter = int(random.integers(100, 257))
        height, width = (256, shorter) if random.random() < 0.5 else (shorter, 256)
        picture = np.broadcast_to(np.float32(number / photographs), (1, height, width, 3))
        *_, last = ours.paint(picture, [(style, 1.0)], recipe)
        assert last.step == 2
    assert 2 <= len(compiled) <= 40
    assert 2 <= len(canvases) <= 40
    assert all(side % GPUS_GRID_PX == 0 for canvas in canvases for side in canvas)
