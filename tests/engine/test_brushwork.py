"""The default preset with all that a painting may ask for: as `painterly` has it in the tests of each.

The network is VGG-16 with a quarter of its channels, uncompiled, and steps are few: what is tried is that what was
asked for is done, not how well it looks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stylequeue.contract.recipe import OptimizeRecipe, ResolvedOptimizeRecipe, resolve
from stylequeue_worker.engine import Engine, Options, Step
from stylequeue_worker.engine.safety import Standstill
from tests.engine.conftest import Picture

pytestmark = pytest.mark.usefixtures("uncompiled")

RED, BLUE = ((0.9, 0, 0), (0.1, 0.1, 0.1)), ((0, 0, 0.9), (0.1, 0.1, 0.1))


def recipe(steps: int = 4, **given: object) -> ResolvedOptimizeRecipe:
    resolved = resolve(OptimizeRecipe.model_validate({"network": "vgg16", "steps": steps, **given}))
    assert isinstance(resolved, ResolvedOptimizeRecipe)
    assert resolved.preset == "brushwork"
    return resolved


def paint(engine: Engine, content: np.ndarray, styles: Sequence[np.ndarray], *, steps: int = 4, **given: Any) -> Step:
    """The last step; `given`: fields of the recipe, `weights`, or what `Engine.paint` takes beside it."""
    besides = {name: given.pop(name) for name in ("masks", "kept", "resume") if name in given}
    weights = given.pop("weights", [1.0] * len(styles))
    *_, last = engine.paint(content, list(zip(styles, weights, strict=True)), recipe(steps, **given), **besides)
    return last


def redness(picture: np.ndarray) -> np.ndarray:
    """By column."""
    return np.asarray((picture[..., 0] - picture[..., 2])[0].mean(axis=0))


def left(side_px: int = 64) -> np.ndarray:
    """White on the left half."""
    mask = np.zeros((1, side_px, side_px, 1), np.float32)
    mask[:, :, : side_px // 2] = 1
    return mask


@pytest.mark.slow
def test_each_style_applies_in_its_region(engine: Engine, photo: Picture, stripes: Picture) -> None:
    content, red, blue = photo(), stripes(colours=RED), stripes(colours=BLUE)
    painted = paint(engine, content, [red, blue], masks=[left(), 1 - left()], steps=12).picture
    redder = redness(painted) - redness(content)
    assert redder[:24].mean() > 0.02 > -0.02 > redder[40:].mean()
    alone = paint(engine, content, [red], masks=[left()]).picture
    np.testing.assert_array_equal(alone[:, :, 32:], content[:, :, 32:])
    assert np.abs(alone[:, :, :32] - content[:, :, :32]).mean() > 0.01


@pytest.mark.slow
def test_each_of_several_styles_counts_by_its_weight(engine: Engine, photo: Picture, stripes: Picture) -> None:
    styles = [stripes(colours=RED), stripes(48, 80, colours=BLUE)]
    reds = [
        redness(paint(engine, photo(), styles, weights=[weight, 1.0], steps=8, strength=1.0).picture).mean()
        for weight in (0.01, 1.0, 100.0)
    ]
    assert reds[0] < reds[1] - 0.02 < reds[2] - 0.04
    more = paint(engine, photo(), styles, weights=[50.0, 50.0], steps=8, strength=1.0).picture
    assert redness(more).mean() == pytest.approx(reds[1], abs=1e-5), "only the ratio counts"


@pytest.mark.slow
def test_in_tiles_it_is_the_same_picture(
    model_dir: Path, engine: Engine, photo: Picture, stripes: Picture, narrowed: None
) -> None:
    in_tiles = Engine(model_dir, options=Options(memory_bytes=1))
    content, style = photo(height=112), stripes()
    whole, tiled = (paint(either, content, [style], masks=[left(112)]) for either in (engine, in_tiles))
    assert whole.plan is not None
    assert tiled.plan is not None
    assert (whole.plan.tile_px, tiled.plan.tile_px) == (None, 64)
    np.testing.assert_allclose(tiled.picture, whole.picture, atol=0.02)
    np.testing.assert_allclose(tiled.summarise().ssim, whole.summarise().ssim, atol=1e-3)


@pytest.mark.parametrize("after", [2, *(pytest.param(after, marks=pytest.mark.slow) for after in (1, 3))])
def test_resumed_with_a_face_that_is_kept(engine: Engine, portrait: np.ndarray, stripes: Picture, after: int) -> None:
    beside = 1 - left()
    given: dict[str, Any] = {"content": portrait, "styles": [(stripes(), 1.0)], "kept": beside}
    whole = list(engine.paint(**given, recipe=recipe()))
    resumed = list(engine.paint(**given, recipe=recipe(), resume=whole[after - 1].state))
    assert [step.step for step in resumed] == list(range(after + 1, 5))
    np.testing.assert_array_equal(resumed[-1].picture, whole[-1].picture)
    assert resumed[-1].faces == whole[-1].faces
    assert len(whole[-1].faces or ()) == 1
    others: list[dict[str, Any]] = [{"recipe": recipe(keep_faces=False)}, {"recipe": recipe(), "kept": None}]
    for one in others:
        *_, other = engine.paint(**{**given, **one}, resume=whole[after - 1].state)
        assert not np.array_equal(other.picture, whole[-1].picture), "what is kept counts behind the checkpoint, too"


@pytest.mark.slow
@pytest.mark.parametrize("after", [2, 3, 5])
def test_resumed_at_any_scale(
    model_dir: Path, engine: Engine, photo: Picture, stripes: Picture, narrowed: None, after: int
) -> None:
    """Whole or in tiles, of one that has two scales and a face."""
    content = np.ascontiguousarray(photo("astronaut", 320)[:, :240, 80:208])
    for either in (engine, Engine(model_dir, options=Options(memory_bytes=1))):
        given: dict[str, Any] = {"content": content, "styles": [(stripes(), 1.0)], "recipe": recipe(6)}
        whole = list(either.paint(**given))
        assert [step.size_px for step in whole] == [120] * 3 + [240] * 3
        assert whole[-1].faces
        *_, resumed = either.paint(**given, resume=whole[after - 1].state)
        np.testing.assert_array_equal(resumed.picture, whole[-1].picture)


@pytest.mark.slow
def test_a_short_time_still_gives_a_picture_of_full_size(engine: Engine, photo: Picture, stripes: Picture) -> None:
    content = photo("chelsea", 240, 128)
    steps = list(engine.paint(content, [(stripes(), 1.0)], recipe(5000, time_budget_s=1e-3)))
    assert [step.size_px for step in steps] == [120, 240]
    assert [step.cut for step in steps] == ["time_budget"] * 2
    assert not np.array_equal(steps[-1].picture, content)


def test_time_spent_before_a_checkpoint_counts(engine: Engine, photo: Picture, stripes: Picture) -> None:
    given = recipe(5000, time_budget_s=1000)
    first = next(engine.paint(photo(), [(stripes(), 1.0)], given))
    state = {**(first.state or {}), "spent_s": np.array(1000.0)}
    [second] = engine.paint(photo(), [(stripes(), 1.0)], given, resume=state)
    assert (first.cut, second.step, second.cut) == (None, 2, "time_budget")


@pytest.mark.slow
def test_a_scale_ends_where_little_is_gained(engine: Engine, photo: Picture, stripes: Picture) -> None:
    steps = list(engine.paint(photo(), [(stripes(), 1.0)], recipe(400, stop_when=0.9)))
    assert [step.step for step in steps] == list(range(1, Standstill.WINDOW + 1))
    assert steps[-1].cut == "stop_when"


@pytest.mark.slow
@pytest.mark.parametrize("colours", ["luminance", "match"])
def test_the_contents_colours_are_kept(engine: Engine, photo: Picture, stripes: Picture, colours: str) -> None:
    grey = np.repeat(photo("coffee").mean(axis=-1, keepdims=True), 3, axis=-1)
    saturation = [
        float(np.ptp(paint(engine, grey, [stripes()], steps=8, colours=choice).picture, axis=-1).mean())
        for choice in ("style", colours)
    ]
    assert saturation[1] < 0.5 * saturation[0]


def test_stopped_at_any_time(engine: Engine, photo: Picture, stripes: Picture) -> None:
    painting = engine.paint(photo(), [(stripes(), 1.0)], recipe(10_000))
    steps = list(itertools.islice(painting, 2))
    painting.close()  # type: ignore[attr-defined]
    assert [step.step for step in steps] == [1, 2]
    assert ["matching" in step.losses for step in steps] == [True, False], "told where it was looked at"
    assert 0 < steps[0].losses["matching"] < 1
    assert list(painting) == []
