"""A painting that was broken off goes on as if it had not been."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from stylequeue.contract.recipe import OptimizeRecipe, resolve
from stylequeue_worker.engine import Engine
from tests.engine.conftest import Picture


@pytest.mark.parametrize("after", [1, 6, 7, 11])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_going_on_from_a_checkpoint(
    engine: Engine, photo: Picture, stripes: Picture, after: int, optimizer: str
) -> None:
    content, style = photo("chelsea", 240, 128), stripes(height=96)
    recipe = resolve(OptimizeRecipe.model_validate({"steps": 12, "network": "vgg16", "optimizer": optimizer}))
    whole = list(engine.paint(content, [(style, 1.0)], recipe))
    *_, broken_off = itertools.islice(engine.paint(content, [(style, 1.0)], recipe), after)
    state = broken_off.state
    assert state is not None
    resumed = list(engine.paint(content, [(style, 1.0)], recipe, resume=state))
    assert [step.step for step in resumed] == list(range(after + 1, 13))
    assert [step.size_px for step in resumed] == [step.size_px for step in whole[after:]]
    if optimizer == "adam":
        assert np.array_equal(resumed[-1].picture, whole[-1].picture)
        assert resumed[-1].done == pytest.approx(whole[-1].done)
