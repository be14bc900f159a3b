"""Feature matching: what each place wants, and how far it is from that."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from stylequeue_worker.engine.matching import LAYERS, Matching
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.objective import Objective
from stylequeue_worker.engine.presets import PRESETS, Weighing
from stylequeue_worker.engine.terms import scene
from stylequeue_worker.engine.tiling import TiledObjective
from tests.engine.conftest import Picture

HEIGHT_PX, WIDTH_PX = 75, 90
ONE = {"matching": tf.constant(1.0)}


@pytest.fixture
def objectives(narrow: Vgg) -> Iterator[tuple[Objective, Objective]]:
    """Whole, and in tiles; uncompiled."""
    tf.config.run_functions_eagerly(True)
    preset = PRESETS["brushwork"]
    yield Objective(narrow, preset), TiledObjective(narrow, preset, 64)
    tf.config.run_functions_eagerly(False)


def half(*, left: bool) -> np.ndarray:
    mask = np.zeros((1, HEIGHT_PX, WIDTH_PX, 1), np.float32)
    mask[:, :, : WIDTH_PX // 2] = 1
    return mask if left else 1 - mask


def test_a_picture_finds_itself_and_is_there(objectives: tuple[Objective, Objective], photo: Picture) -> None:
    objective, _ = objectives
    content = tf.constant(photo("coffee", HEIGHT_PX, WIDTH_PX))
    view = objective.views(content)[0]
    targets = objective.targets(scene(content, [(content, 1.0)]), view)
    found = targets["matching"]["found"].numpy().ravel()
    assert np.mean(targets["matching"]["columns"][LAYERS[0]].shape[0] > found) == 1
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
        found, first = targets["found"].numpy()[0], len(candidates(objective, 0))
        across = found.shape[1]
        # Each half has only places of its own style.
        assert (found[:, : across // 2 - 1] < first).all()
        assert (found[:, across // 2 + 1 :] >= first).all()
        assert float(tf.reduce_sum(targets["weights"])) == pytest.approx(1)
        evaluations.append(objective.evaluate(elsewhere, {"matching": targets}, ONE, view))
    whole, tiled = evaluations
    np.testing.assert_allclose(tiled.total, whole.total, rtol=1e-4)
    assert np.linalg.norm(tiled.gradient - whole.gradient) < 1e-4 * np.linalg.norm(whole.gradient)


def candidates(objective: Objective, area: int) -> tf.Tensor:
    """The directions of an area's candidates."""
    matching = objective.terms["matching"]
    assert isinstance(matching, Matching)
    assert matching._latest
    return matching._latest[1][area].directions


def test_it_falls_to_nothing_where_nothing_follows() -> None:
    weighing = Weighing(weight=2.0, every=2)
    assert [weighing.at(step, 4, is_last=True) for step in range(4)] == [2.0, 0.0, 1.0, 0.0]
    assert [weighing.at(step, 4, is_last=False) for step in range(4)] == [2.0, 0.0, 2.0, 0.0]
