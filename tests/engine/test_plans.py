"""Every number of a recipe at its edges, as far as the engine plans with it: weights, steps at each scale, memory."""

from __future__ import annotations

import itertools
import math
from typing import Any, NoReturn, get_args

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from stylequeue.contract.cost import schedule, style_size_px
from stylequeue.contract.memory import MIN_TILE_PX, Plan, plan_of
from stylequeue.contract.recipe import (
    MAX_SIZE_PX,
    MAX_TIME_BUDGET_S,
    MIN_SIDE_PX,
    OptimizeRecipe,
    OptimizerName,
    PresetName,
    ResolvedOptimizeRecipe,
    resolve,
)
from stylequeue_worker.engine import Options, memory, painter
from stylequeue_worker.engine.memory import plan, smallest_bytes
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.painter import Painter
from stylequeue_worker.engine.presets import preset_of
from tests.contract.test_numbers import edges
from tests.support.limits import LAYERS

WIDTHS = dict(zip(range(1, 6), (64, 128, 256, 512, 512), strict=True))
NETWORK = Vgg(
    {
        layer: (np.zeros((1, 1, 1, 1), np.float32), np.zeros(WIDTHS[int(layer[5])], np.float32))
        for layer in LAYERS
        if not layer.startswith(("block1", "block2")) or layer[-1] in "12"
    }
)
"""VGG-19's layers, of which only the sizes count here."""
SIDES_PX = st.sampled_from([MIN_SIDE_PX, MIN_SIDE_PX + 1, 511, 512, MAX_SIZE_PX - 1, MAX_SIZE_PX])


def recipe_of(fields: dict[str, Any]) -> ResolvedOptimizeRecipe:
    if fields.keys() >= {"strength", "content_weight"}:
        del fields["content_weight"]
    recipe = resolve(OptimizeRecipe.model_validate(fields))
    assert isinstance(recipe, ResolvedOptimizeRecipe)
    return recipe


class Planned(Exception):
    """There is a plan: nothing is painted."""


@pytest.mark.parametrize("on_gpu", [False, True], ids=["processor", "gpu"])
@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
@pytest.mark.parametrize("preset", get_args(PresetName))
def test_a_worker_plans_what_a_producer_estimates(
    monkeypatch: pytest.MonkeyPatch, preset: PresetName, optimizer: OptimizerName, on_gpu: bool
) -> None:
    """Whole and in tiles, on a machine that is fastest in 16 bits and on one that is not."""
    planned: list[Plan] = []

    def noted(*arguments: Any, **named: Any) -> NoReturn:
        planned.append(plan(*arguments, **named))
        raise Planned

    monkeypatch.setattr(painter, "plan", noted)
    monkeypatch.setattr(Vgg, "rescaled", lambda network, _: network)
    for module in (painter, memory):
        monkeypatch.setattr(module, "on_gpu", lambda: on_gpu)
    recipe = recipe_of({"preset": preset, "optimizer": optimizer})
    content, side = (300, 400), style_size_px(recipe)
    mask = np.zeros((1, *content, 1), np.float32)
    styles = [(np.zeros((1, side, side, 3), np.uint8), 0.5)] * 2
    estimated = []
    for precision, budget_bytes in itertools.product(("float32", "bfloat16"), (10**12, 4 * 10**8)):
        options = Options(budget_bytes, budget_bytes, precision=precision)  # type: ignore[arg-type]
        ours, kept = Painter(NETWORK, options), mask if recipe.keep_faces else None
        with pytest.raises(Planned):
            next(ours.paint(np.zeros((1, *content, 3)), styles, recipe, masks=[mask, None], kept=kept))
        machine: Any = {"on_gpu": on_gpu, "halved": precision == "bfloat16", "budget_bytes": budget_bytes}
        estimated.append(plan_of(recipe, content, 2, "vgg19", masks=1, **machine))
    assert planned == estimated
    assert [each.tile_px is None for each in planned] == [True, False] * 2


@settings(deadline=None)
@given(edges(OptimizeRecipe), SIDES_PX, SIDES_PX, st.sampled_from([None, 0, 1, 10**9, 2**63]))
def test_whatever_is_accepted_has_a_plan(fields: dict[str, Any], height: int, width: int, budget: int | None) -> None:
    recipe = recipe_of(fields)
    preset = preset_of(recipe)
    weighings = preset.weighings(recipe, (height, width), [1.0])
    for weight in (*(weighing.weight for weighing in weighings.values()), *preset.content_layers.values()):
        assert 0 <= float(tf.constant(weight, tf.float32)) < math.inf, "in the engine's own arithmetic too"

    assert MIN_SIDE_PX <= style_size_px(recipe) <= MAX_SIZE_PX
    if recipe.steps:
        stages = schedule(preset.scales, (height, width), recipe.steps)
        assert sum(stage.steps for stage in stages) == recipe.steps
        assert all(stage.steps >= 1 and 0 < stage.scale <= 1 for stage in stages)
        assert 0 < sum(stage.work for stage in stages) <= recipe.steps

    side = style_size_px(recipe)
    planned = plan((height, width), [(side, side)] * 8, NETWORK, preset, recipe.optimizer, budget)
    assert 0 < smallest_bytes(NETWORK, preset) <= planned.peak_bytes < 2**50
    assert planned.tile_px is None or planned.tile_px >= MIN_TILE_PX
    # A search is the same in tiles.
    assert budget is None or planned.tile_px in (None, MIN_TILE_PX) or planned.peak_bytes <= budget or preset.besides
    assert recipe.time_budget_s is None or 0 < recipe.time_budget_s <= MAX_TIME_BUDGET_S
