"""Nothing but pictures leaves the engine; what ends a painting early."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.recipe import OptimizeRecipe, ResolvedOptimizeRecipe, resolve
from stylequeue_worker.engine import Engine
from stylequeue_worker.engine.descent import AdamRule, Evaluation, Iterate, Moments, adam, lbfgs
from stylequeue_worker.engine.safety import Standstill, TimeBudget, lenient, rolled_back, strict
from tests.engine.conftest import Picture

RULE = AdamRule(learning_rate=0.1, beta1=0.9, beta2=0.999, epsilon=1e-8)
START = tf.constant(np.full(4, 0.1))


class Cliff:
    """A slope down towards 1, and behind `edge` no numbers."""

    def __init__(self, edge: float, *, gradient_only: bool = False) -> None:
        self.edge = edge
        self.gradient_only = gradient_only
        self.seen: list[float] = []

    def __call__(self, x: tf.Tensor) -> Evaluation:
        self.seen.append(float(x[0]))
        broken = float(x[0]) > self.edge
        total = tf.constant(float("nan"), x.dtype) if broken and not self.gradient_only else tf.reduce_sum(1 - x)
        gradient = tf.fill(x.shape, tf.constant(float("nan") if broken else -1.0, x.dtype))
        return Evaluation(total, gradient, {})


def careful_adam(cliff: Callable[[tf.Tensor], Evaluation]) -> Iterator[Iterate]:
    def descend(moments: Moments | None, rate: float) -> Iterator[Iterate]:
        return adam(strict(cliff), START, AdamRule(rate * RULE.learning_rate, 0.9, 0.999, 1e-8), moments)

    return rolled_back(descend, None)


class TestRollback:
    @pytest.mark.parametrize("gradient_only", [False, True])
    def test_a_step_into_the_void_is_taken_back_and_halved(self, gradient_only: bool) -> None:
        cliff = Cliff(0.27, gradient_only=gradient_only)
        # Steps of 0.1: 0.1, 0.2, 0.3 (void); back to 0.2 and on by halves: 0.25, 0.3 (void); 0.25, 0.275 (void) ...
        iterates = list(itertools.islice(careful_adam(cliff), 4))
        np.testing.assert_allclose(cliff.seen[:5], [0.1, 0.2, 0.3, 0.2, 0.25], atol=1e-6)
        assert all(np.isfinite(float(iterate.evaluation.total)) for iterate in iterates)
        assert all(np.isfinite(iterate.picture).all() for iterate in iterates)

    def test_three_in_a_row_are_an_error(self) -> None:
        cliff = Cliff(0.105)
        with pytest.raises(Permanent) as caught:
            list(itertools.islice(careful_adam(cliff), 50))
        assert caught.value.code == Code.NOT_FINITE
        np.testing.assert_allclose(cliff.seen, [0.1, 0.2, 0.1, 0.15, 0.1, 0.125], atol=1e-6)

    def test_nowhere_a_number_is_an_error(self) -> None:
        cliff = Cliff(0)
        for descent in (careful_adam(cliff), lbfgs(lenient(cliff), START)):
            with pytest.raises(Permanent) as caught:
                next(descent)
            assert caught.value.code == Code.NOT_FINITE

    def test_a_fault_that_passes_leaves_no_trace_but_a_smaller_step(self) -> None:
        cliff, calls = Cliff(2), itertools.count()

        def once(x: tf.Tensor) -> Evaluation:
            good = cliff(x)
            return good._replace(total=tf.constant(float("inf"), x.dtype)) if next(calls) == 2 else good

        list(itertools.islice(careful_adam(once), 5))
        np.testing.assert_allclose(cliff.seen, [0.1, 0.2, 0.3, 0.2, 0.25, 0.3], atol=1e-6)

    def test_the_line_search_shortens_its_step(self) -> None:
        cliff = Cliff(0.11)
        iterates = list(itertools.islice(lbfgs(lenient(cliff), START), 4))
        assert cliff.seen[1] > 0.11
        assert cliff.seen[2] < cliff.seen[1]
        assert all(0.1 <= float(iterate.picture[0]) <= 0.11 for iterate in iterates)

    def test_a_line_search_that_finds_no_number_ends(self) -> None:
        with pytest.raises(Permanent) as caught:
            list(itertools.islice(lbfgs(lenient(Cliff(0.1)), START), 50))
        assert caught.value.code == Code.NOT_FINITE


class TestStandstill:
    def test_is_reached_where_the_loss_stays(self) -> None:
        standstill = Standstill(0.01)
        falling = [standstill.reached(0.99**n) for n in range(100)]
        level = [standstill.reached(0.99**100) for _ in range(Standstill.WINDOW)]
        assert not any(falling)
        assert level[-1]

    def test_what_a_line_search_calls_infinitely_bad_says_nothing(self) -> None:
        standstill = Standstill(0.01)
        assert not any(standstill.reached(float("inf") if n % 10 == 9 else 0.99**n) for n in range(100))

    def test_is_never_reached_without_a_threshold(self) -> None:
        standstill = Standstill(None)
        assert not any(standstill.reached(1.0) for _ in range(100))


def test_without_a_budget_the_clock_never_runs_out() -> None:
    assert not TimeBudget(None, 1e9).is_past(0)
    assert TimeBudget(5, spent_s=4).is_past(0.5)
    assert not TimeBudget(500, spent_s=4).is_past(0.5)


def optimize(**given: object) -> ResolvedOptimizeRecipe:
    resolved = resolve(OptimizeRecipe.model_validate({"network": "vgg16", "preset": "painterly", **given}))
    assert isinstance(resolved, ResolvedOptimizeRecipe)
    return resolved


class TestEndingEarly:
    def test_a_short_time_still_gives_a_picture_of_full_size(
        self, engine: Engine, photo: Picture, stripes: Picture
    ) -> None:
        content = photo("chelsea", 240, 128)
        steps = list(engine.paint(content, [(stripes(), 1.0)], optimize(steps=5000, time_budget_s=1e-3)))
        assert [step.size_px for step in steps] == [120, 240]
        assert [step.step for step in steps] == [1, 2]
        assert steps[-1].cut == "time_budget"
        assert not np.array_equal(steps[-1].picture, content)

    def test_time_spent_before_a_checkpoint_counts(self, engine: Engine, photo: Picture, stripes: Picture) -> None:
        recipe = optimize(steps=5000, time_budget_s=1000)
        first = next(engine.paint(photo(), [(stripes(), 1.0)], recipe))
        assert first.cut is None
        state = {**(first.state or {}), "spent_s": np.array(1000.0)}
        [second] = engine.paint(photo(), [(stripes(), 1.0)], recipe, resume=state)
        assert (second.step, second.cut) == (2, "time_budget")

    def test_a_scale_ends_where_little_is_gained(self, engine: Engine, photo: Picture, stripes: Picture) -> None:
        recipe = optimize(steps=400, stop_when=0.9)
        steps = list(engine.paint(photo("chelsea", 240, 128), [(stripes(), 1.0)], recipe))
        assert [step.size_px for step in steps] == [120] * Standstill.WINDOW + [240] * Standstill.WINDOW
        assert steps[-1].cut == "stop_when"

    def test_going_on_behind_the_last_step_gives_it_again(
        self, engine: Engine, photo: Picture, stripes: Picture
    ) -> None:
        recipe = optimize(steps=2)
        *_, last = engine.paint(photo(), [(stripes(), 1.0)], recipe)
        [again] = engine.paint(photo(), [(stripes(), 1.0)], recipe, resume=last.state)
        np.testing.assert_array_equal(again.picture, last.picture)
        assert again.step == 2
