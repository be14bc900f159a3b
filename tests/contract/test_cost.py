"""What a painting costs, by arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stylequeue.contract import cost, memory
from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, resolve

GB = 10**9


def work(sides: tuple[int, int] = (256, 256), **recipe: Any) -> float:
    return cost.megapixel_steps(resolve(OptimizeRecipe(**recipe)), sides)


def plan(size: int = 512, budget_bytes: int | None = None, *, on_gpu: bool = False, **recipe: Any) -> memory.Plan:
    resolved = resolve(OptimizeRecipe(**{"preset": "painterly", "size": size, **recipe}))
    return memory.plan_of(resolved, (size, size), 1, "vgg16", on_gpu=on_gpu, halved=on_gpu, budget_bytes=budget_bytes)


def test_work_grows_with_steps_and_pixels() -> None:
    tutorial: dict[str, Any] = {"preset": "tf-tutorial"}
    assert work(**tutorial, steps=200) == pytest.approx(2 * work(**tutorial, steps=100), rel=0.05)
    assert work((512, 512), **tutorial) == pytest.approx(4 * work(**tutorial), rel=0.15)
    assert work(**tutorial, steps=100) == pytest.approx(100 * 0.256**2, rel=0.25)
    assert work(preset="painterly", strength=0) == 0
    fast = resolve(FastRecipe())
    assert cost.megapixel_steps(fast, (1000, 1000)) == pytest.approx(1, rel=0.02)


def test_coarse_stages_cost_little() -> None:
    """140 steps of `painterly` at 1024 px are 20 there and 120 on less than half of its sides."""
    full_size = 140 * 1.024**2
    assert 0.15 * full_size < work((1024, 1024), preset="painterly") < 0.5 * full_size


def test_what_limits_count_of_a_job() -> None:
    """Megapixels x steps x styles, whatever the content's shape."""
    plain = resolve(OptimizeRecipe(preset="tf-tutorial", size=1000, steps=100))
    assert cost.job_megapixel_steps(plain, 1) == pytest.approx(100, rel=0.06)
    assert cost.job_megapixel_steps(plain, 3) == 3 * cost.job_megapixel_steps(plain, 1)
    for recipe in (OptimizeRecipe(size=1024), OptimizeRecipe(preset="brushwork"), FastRecipe()):
        resolved = resolve(recipe)
        for content in ((1024, 16), (16, 1024), (768, 1024), (64, 4096)):
            sides = cost.output_sides(resolved, content)
            assert cost.megapixel_steps(resolved, sides) < cost.job_megapixel_steps(resolved, 1)


@pytest.mark.parametrize(("content", "sides"), [(None, (640, 640)), ((3000, 4000), (480, 640)), ((9, 4096), (16, 640))])
def test_an_output_has_the_contents_shape(content: tuple[int, int] | None, sides: tuple[int, int]) -> None:
    assert cost.output_sides(resolve(OptimizeRecipe(size=640)), content) == sides


def test_kinds_are_what_takes_alike() -> None:
    one, other, fast = (resolve(r) for r in (OptimizeRecipe(), OptimizeRecipe(optimizer="lbfgs"), FastRecipe()))
    assert cost.kind(one, "vgg16") == cost.kind(resolve(OptimizeRecipe(size=64, steps=9)), "vgg16")
    assert len({cost.kind(one, "vgg16"), cost.kind(one, "vgg19"), cost.kind(other, "vgg16"), cost.kind(fast, "")}) == 4


def test_what_does_not_fit_is_cut_into_tiles() -> None:
    whole = plan(2048)
    assert whole.tile_px is None
    assert memory.tiles((2048, 2048), None, 16) == 1
    tiled = plan(2048, budget_bytes=3 * GB)
    assert tiled.tile_px is not None
    assert tiled.peak_bytes <= 3 * GB < whole.peak_bytes
    assert memory.tiles((2048, 2048), tiled.tile_px, 16) == len(memory.tile_starts(2080, tiled.tile_px)) ** 2 > 1


MEASURED_MB = {(256, "bfloat16"): 304, (512, "bfloat16"): 679, (1024, "bfloat16"): 2064, (2048, "bfloat16"): 7746}
"""Of a step of `painterly` as XLA compiled it, on an H200, and of one in float32 (docs/engine.md)."""


@pytest.mark.parametrize(("size", "measured_mb"), [(size, mb) for (size, _), mb in MEASURED_MB.items()])
def test_a_gpus_plan_is_what_was_measured_there(size: int, measured_mb: int) -> None:
    assert plan(size, on_gpu=True).peak_bytes == pytest.approx(measured_mb * 1e6, rel=0.15)


def test_in_float32_too() -> None:
    wide = memory.plan_of(
        resolve(OptimizeRecipe(preset="painterly", size=1024)),
        (1024, 1024),
        1,
        "vgg16",
        on_gpu=True,
        halved=False,
        budget_bytes=None,
    )
    assert wide.peak_bytes == pytest.approx(3535e6, rel=0.15)


def test_masks_are_counted_and_that_of_faces() -> None:
    def peak(*, keep_faces: bool, masks: int) -> int:
        recipe = resolve(OptimizeRecipe(preset="painterly", size=1024, keep_faces=keep_faces))
        how: Any = {"on_gpu": False, "halved": False, "budget_bytes": None}
        return memory.plan_of(recipe, (1024, 1024), 2, "vgg16", masks=masks, **how).peak_bytes

    none = peak(keep_faces=False, masks=0)
    faces, one = peak(keep_faces=True, masks=0) - none, peak(keep_faces=False, masks=1) - none
    assert faces == pytest.approx(3 * 4 * 1056**2, abs=1)
    # A region also has what a style looks at of its pixels: 122 numbers for each, two thirds of which are kept.
    assert one - faces == pytest.approx(0.65 * 4 * 122 * 1056**2, rel=0.01)
    assert peak(keep_faces=True, masks=2) - none == pytest.approx(2 * one + faces, abs=3)


NARROW = (64, 4096)
"""It has no stage but the last."""


def test_places_are_matched_where_pictures_are_small_or_can_be_no_smaller() -> None:
    square = [stage.scale for stage in cost.schedule(cost.SCALES["brushwork"], (1024, 1024), 140)]
    assert [cost.is_matched((1024, 1024), scale) for scale in square] == [True, True, True, False]
    assert [stage.scale for stage in cost.schedule(cost.SCALES["brushwork"], NARROW, 140)] == [1]
    assert cost.is_matched(NARROW, 1)
    for narrow_px in range(16, 1200, 7):
        stages = cost.schedule(cost.SCALES["brushwork"], (narrow_px, 4096), 140)
        matched = [cost.is_matched((narrow_px, 4096), stage.scale) for stage in stages]
        assert matched == sorted(matched, reverse=True)
        assert matched[0]
        assert not any(matched[1:]) or stages[1].scale * 4096 <= 512


@pytest.mark.parametrize(
    ("content", "styles"),
    [((512, 512), [(512, 512)]), ((512, 512), [(512, 512)] * 8), (NARROW, [(4096, 4096)]), ((768, 1024), [(512, 96)])],
)
def test_the_search_of_every_stage_is_counted(content: cost.Sides, styles: list[cost.Sides]) -> None:
    """Coarse stages have fewer places, which are compared with more candidates."""
    scales = cost.SCALES["brushwork"]
    network = memory.Network(cost.ARCHITECTURES["vgg16"], memory.MATCHED_LAYERS, ["block4_conv2"], [], 4)

    def peak(scale: float, scales: Sequence[cost.Scale], budget_bytes: int | None = None) -> int:
        then, *styles_then = (cost.scaled_sides(sides, scale) for sides in (content, *styles))
        given: Any = {"scales": scales, "margin_px": 16, "budget_bytes": budget_bytes, "turned": True}
        return memory.plan(then, styles_then, network, "adam", **given).peak_bytes

    for stage in cost.schedule(scales, content, 140):
        if cost.is_matched(content, stage.scale):
            assert peak(1, scales) >= peak(stage.scale, [cost.Scale(1, 1)])
    assert peak(1, scales, 1) < 3 * GB


def test_photographs_have_all_the_candidates_that_can_be_compared() -> None:
    for longest_px in range(120, 513, 8):
        for height, width in ((1, 1), (3, 4), (2, 3), (9, 16), (1, 2), (1, 3)):
            content = (round(longest_px * height / width), longest_px)
            places = (content[0] // 4) * (longest_px // 4)
            most = min(2**26 // places, 4 * (longest_px // 4) ** 2)
            assert memory.most_candidates(content) >= most


def test_a_search_does_not_decide_about_tiles() -> None:
    """It takes as much in them."""
    whole = plan(128, preset="brushwork")
    painted = plan(128, preset="brushwork", turned_styles=False).peak_bytes
    assert painted < whole.peak_bytes
    assert plan(128, preset="brushwork", budget_bytes=painted) == whole
    assert plan(128, preset="brushwork", budget_bytes=1).tile_px == memory.MIN_TILE_PX


@pytest.mark.parametrize("style", [(1024, 1024), (256, 4096), (1025, 1024), (257, 4096), (4096, 4096), (16, 16)])
def test_large_styles_are_looked_at_in_blocks(style: cost.Sides) -> None:
    blocks = memory.style_blocks(style)
    assert (len(blocks) == 1) == (style[0] * style[1] <= 1024**2)
    sides = [(row.stop - row.start, column.stop - column.start) for row, column in blocks]
    assert sum(height * width for height, width in sides) == style[0] * style[1]
    assert max(map(max, sides)) <= 1024 or len(blocks) == 1
    assert min(map(min, sides)) >= min(*style, 256)
