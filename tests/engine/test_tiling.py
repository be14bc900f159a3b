"""Tiled and untiled: one loss, one gradient."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.memory import halo_px, seen_at_most, spans
from stylequeue.contract.recipe import PresetName
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.objective import Objective
from stylequeue_worker.engine.presets import PRESETS
from stylequeue_worker.engine.terms import scene
from stylequeue_worker.engine.tiling import TiledObjective
from tests.engine.conftest import Picture

pytestmark = pytest.mark.usefixtures("uncompiled")

TOLERANCE = 1e-4
TILE_PX = 64


def disc(height: int, width: int) -> np.ndarray:
    """A mask with soft edges, black over whole tiles."""
    y, x = np.mgrid[:height, :width]
    away = np.hypot(y - 0.4 * height, x - 0.4 * width) / (0.3 * width)
    return np.asarray(np.clip(4 * (1 - away), 0, 1)[None, ..., None], np.float32)


CASES = [
    *((name, 64, 205, False) for name in PRESETS),
    *((name, 139, 177, name == "painterly") for name in PRESETS if name != "brushwork"),
    pytest.param("brushwork", 139, 177, False, marks=pytest.mark.slow),
    pytest.param("painterly", 139, 177, False, marks=pytest.mark.slow),
    pytest.param("tf-tutorial", 139, 177, True, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("preset_name", "height", "width", "masked"), CASES)
def test_loss_and_gradient_are_those_of_the_whole(
    narrow: Vgg, photo: Picture, stripes: Picture, preset_name: PresetName, height: int, width: int, masked: bool
) -> None:
    preset = PRESETS[preset_name]
    content, elsewhere = (tf.constant(photo(name, height, width)) for name in ("astronaut", "coffee"))
    styles = [(tf.constant(stripes(150, 90)), 0.3), (tf.constant(photo("chelsea", 70, 130)), 0.7)]
    weights = {term.name: tf.constant(0.1 if term.name == "variation" else 1.0) for term in preset.terms()}
    masks = [disc(height, width), None] if masked else None
    kept = tf.constant(disc(height, width)[:, :, ::-1]) if masked or preset_name == "brushwork" else None
    evaluations = []
    for objective in (Objective(narrow, preset), TiledObjective(narrow, preset, TILE_PX)):
        view = objective.views(content)[-1]
        targets = objective.targets(scene(content, styles, masks, kept), view)
        evaluations.append(objective.evaluate(elsewhere, targets, weights, view))
    whole, tiled = evaluations
    for term in weights:
        np.testing.assert_allclose(tiled.terms[term], whole.terms[term], rtol=TOLERANCE)
    np.testing.assert_allclose(tiled.total, whole.total, rtol=TOLERANCE)
    difference = np.linalg.norm(tiled.gradient - whole.gradient) / np.linalg.norm(whole.gradient)
    assert difference < TOLERANCE
    np.testing.assert_allclose(
        tiled.gradient, whole.gradient, rtol=0, atol=10 * TOLERANCE * np.abs(whole.gradient).max()
    )


def test_what_was_compiled_for_a_view_does_for_all_paintings(thin: Vgg) -> None:
    objective = TiledObjective(thin, PRESETS["brushwork"], TILE_PX)
    random, compiled = np.random.default_rng(0), []
    for _ in range(2):
        content, style = (tf.constant(random.random((1, 48, 48, 3), np.float32)) for _ in range(2))
        painted = scene(content, [(style, 1.0)], kept=tf.constant(disc(48, 48)))
        for view in objective.views(content)[:2]:
            objective.targets(painted, view, ["content", "matching"])
            compiled.append(len(objective._parts))
    assert compiled == [2, 2, 2, 2], "content, columns"


@pytest.mark.parametrize("length_px", [16, 63, 64, 127, 128, 129, 191, 192, 500])
def test_tiles_cover_a_side_without_gap_on_the_pooling_grid(length_px: int) -> None:
    found = spans(length_px, TILE_PX, 80)
    assert found[0].start == 0
    assert found[-1].end == length_px
    for before, after in itertools.pairwise(found):
        assert before.end == after.start
        assert after.start % 16 == after.seen_start % 16 == 0
    for span in found:
        assert span.end - span.start >= min(TILE_PX, length_px)
        assert span.seen_start == 0 or span.start - span.seen_start >= 80
        assert span.seen_end == length_px or span.seen_end - span.end >= 80


@pytest.mark.parametrize("length_px", [40, 200, 500, 1024])
@pytest.mark.parametrize("tile_px", [64, 224])
def test_a_plan_counts_as_much_as_a_tile_is_seen_with(length_px: int, tile_px: int) -> None:
    around_px = halo_px(74)
    assert around_px >= 74 + 16
    found = spans(length_px, tile_px, around_px)
    assert seen_at_most(length_px, tile_px, around_px) == max(span.seen_end - span.seen_start for span in found)
