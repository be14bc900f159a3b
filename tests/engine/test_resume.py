"""A painting that was broken off goes on as if it had not been."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.cost import Stage, schedule
from stylequeue.contract.recipe import OptimizeRecipe, ResolvedOptimizeRecipe, resolve
from stylequeue_worker.engine import BadCheckpoint, Checkpoint, Engine, Options, Step
from stylequeue_worker.engine.descent import Evaluation
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.objective import TERMS, Objective
from stylequeue_worker.engine.painter import Painter
from stylequeue_worker.engine.position import check
from stylequeue_worker.engine.presets import PRESETS, Preset
from stylequeue_worker.engine.safety import Standstill
from stylequeue_worker.engine.terms import Target
from stylequeue_worker.work import checkpoints
from tests.engine.conftest import Picture


@pytest.mark.parametrize(
    ("optimizer", "after"),
    [
        pytest.param(
            optimizer, after, marks=() if (optimizer, after) in (("adam", 7), ("lbfgs", 6)) else pytest.mark.slow
        )
        for optimizer in ("adam", "lbfgs")
        for after in (1, 6, 7, 11)
    ],
)
def test_going_on_from_a_checkpoint(
    engine: Engine, photo: Picture, stripes: Picture, optimizer: str, after: int
) -> None:
    content, style = photo("chelsea", 240, 128), stripes(height=96)
    given = {"preset": "painterly", "steps": 12, "network": "vgg16", "optimizer": optimizer}
    recipe = resolve(OptimizeRecipe.model_validate(given))
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


class Made(Objective):
    """A loss that stands still, and a gradient that does not; where there are no numbers for once, as is said."""

    def __init__(self, preset: Preset, broken_at: int | None = None) -> None:
        self.preset = preset
        self._calls = itertools.count()
        self._broken_at = broken_at

    def targets(self, _: object, __: object, terms: Collection[str] | None = None) -> dict[str, Target]:
        return dict.fromkeys(terms or (), ())

    def evaluate(self, picture: tf.Tensor, *_: object) -> Evaluation:
        total = tf.constant(np.nan if next(self._calls) == self._broken_at else 1.0)
        return Evaluation(total, tf.ones_like(picture), dict.fromkeys(TERMS, total))


@pytest.mark.parametrize(("broken_at", "optimizer"), [(None, "adam"), (3, "adam"), (3, "swift")])
def test_what_the_stage_remembers_is_in_the_checkpoint(
    narrow: Vgg, monkeypatch: pytest.MonkeyPatch, broken_at: int | None, optimizer: str
) -> None:
    """The losses that tell whether it stands still, and the rate that was halved."""
    preset, content = PRESETS["painterly"], np.full((1, 64, 64, 3), 0.5, np.float32)
    recipe = resolve(
        OptimizeRecipe.model_validate({"preset": "painterly", "steps": 99, "optimizer": optimizer, "stop_when": 0.01})
    )
    assert isinstance(recipe, ResolvedOptimizeRecipe)

    def painted(broken_at: int | None, resume: Checkpoint | None = None) -> list[Step]:
        made = Made(preset, broken_at)
        monkeypatch.setattr(Painter, "_objective", lambda *_: made)
        return list(Painter(narrow, Options()).paint(content, [(content, 1.0)], recipe, resume=resume))

    whole = painted(broken_at)
    assert len(whole) == Standstill.WINDOW
    assert whole[-1].cut == "stop_when"
    state = whole[9].state
    assert state is not None
    check(state, schedule(preset.scales, (64, 64), recipe.steps), (64, 64))
    _, stored = checkpoints.unpack(checkpoints.pack("this", state))
    resumed = painted(None, stored)
    assert len(resumed) == len(whole) - 10
    np.testing.assert_array_equal(resumed[-1].picture, whole[-1].picture)
    older = {name: array for name, array in stored.items() if name not in ("rate", "totals")}
    assert len(painted(None, older)) == Standstill.WINDOW, "as far as a checkpoint of before says"


STAGES = [Stage(0.5, 4), Stage(1, 8)]
SIDES_PX = (96, 128)
PICTURE = np.full((1, 48, 64, 3), 0.5, np.float32)
GOOD: Checkpoint = {
    "number": np.array(0),
    "taken": np.array(3),
    "done": np.array(3),
    "spent_s": np.array(1.5),
    "best": np.array(np.inf),
    "cut": np.array(""),
    "picture": PICTURE,
    "adam_step": np.array(3),
    "adam_newest": PICTURE,
    "adam_first": -PICTURE,
    "adam_second": PICTURE,
    "adam_average": PICTURE,
}


def test_a_good_checkpoint_is_good() -> None:
    check(GOOD, STAGES, SIDES_PX)
    check({name: value for name, value in GOOD.items() if not name.startswith("adam_")}, STAGES, SIDES_PX)
    check({**GOOD, "rate": np.array(0.5), "totals": np.array([2.0, 1.0])}, STAGES, SIDES_PX)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", np.array(2)),
        ("number", np.array(-1)),
        ("number", np.array([0, 1])),
        ("number", np.array("0")),
        ("taken", np.array(5)),
        ("done", np.array(13)),
        ("spent_s", np.array(np.nan)),
        ("spent_s", np.array(np.inf)),
        ("spent_s", np.array(-1.0)),
        ("best", np.array(np.nan)),
        ("cut", np.array("whenever")),
        ("rate", np.array(0.0)),
        ("rate", np.array(1.5)),
        ("totals", np.zeros(0)),
        ("totals", np.zeros(25)),
        ("totals", np.zeros((1, 1))),
        ("totals", np.full(2, np.inf)),
        ("totals", np.array(["1"])),
        ("picture", np.full((1, 96, 128, 3), 0.5, np.float32)),
        ("picture", PICTURE.astype(np.float64)),
        ("picture", np.full_like(PICTURE, np.nan)),
        ("picture", np.full_like(PICTURE, 1.5)),
        ("adam_step", np.array(10**9)),
        ("adam_first", np.full_like(PICTURE, np.inf)),
        ("adam_second", -PICTURE),
        ("adam_newest", PICTURE[:, 1:]),
        ("adam_average", None),
        ("picture", None),
        ("best", None),
    ],
)
def test_a_checkpoint_of_no_such_painting_is_refused(name: str, value: np.ndarray | None) -> None:
    state = {key: array for key, array in {**GOOD, name: value}.items() if array is not None}
    with pytest.raises(BadCheckpoint):
        check(state, STAGES, SIDES_PX)


def test_the_engine_looks_before_it_paints(engine: Engine, photo: Picture, stripes: Picture) -> None:
    recipe = resolve(OptimizeRecipe(preset="painterly", steps=2, network="vgg16"))
    painting = engine.paint(photo("chelsea", 64, 64), [(stripes(height=64), 1.0)], recipe, resume=GOOD)
    with pytest.raises(BadCheckpoint):
        next(painting)
