"""The contact sheet: what is on it, and that any shape of picture fits."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from stylequeue_worker.pictures.contact_sheet import Sample, contact_sheet

PINK, TEAL, GOLD = (250, 20, 150), (10, 160, 150), (230, 180, 20)


def sheet(
    *,
    styles: int = 1,
    size: tuple[int, int] = (96, 64),
    scales: tuple[int, ...] = (),
    history: tuple[Sample, ...] = (),
    caption: str = "fast",
) -> Image.Image:
    data = contact_sheet(
        content=Image.new("RGB", size, PINK),
        styles=[Image.new("RGB", (64, 64), TEAL)] * styles,
        result=Image.new("RGB", size, GOLD),
        scales=[(size_px, Image.new("RGB", size, GOLD)) for size_px in scales],
        history=history,
        caption=caption,
    )
    page = Image.open(io.BytesIO(data))
    assert page.format == "PNG"
    return page.convert("RGB")


def area(page: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(page) == colour).all(axis=2).sum())


def falling(*sizes_px: int) -> tuple[Sample, ...]:
    return tuple(
        Sample(step, size_px, {"style": 1 / (step + 1), "content": 0.1, "variation": 0.0})
        for step, size_px in enumerate((s for s in sizes_px for _ in range(5)), start=1)
    )


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (2048, 16), (16, 2048)])
@pytest.mark.parametrize("styles", [1, 2, 3, 8])
def test_content_styles_and_result_are_on_it(styles: int, size: tuple[int, int]) -> None:
    page = sheet(styles=styles, size=size)
    assert area(page, PINK) == area(page, GOLD) > 1000
    assert area(page, TEAL) > 1000


def test_content_and_result_have_their_own_shape() -> None:
    marked = (np.asarray(sheet(size=(90, 60))) == PINK).all(axis=2)
    rows, columns = (np.flatnonzero(marked.any(axis=axis)) for axis in (1, 0))
    assert len(columns) / len(rows) == pytest.approx(1.5, rel=0.02)


def test_several_scales_are_shown_and_one_is_not() -> None:
    alone = area(sheet(), GOLD)
    assert area(sheet(scales=(64,)), GOLD) == alone
    assert area(sheet(scales=(32, 64)), GOLD) > 1.3 * alone


def test_curves_make_room_for_themselves() -> None:
    without = sheet(history=(Sample(1, 64, {}),))
    assert without.size == sheet().size
    assert sheet(history=falling(64)).height > without.height + 200


def test_a_zero_loss_and_a_single_step_can_be_drawn() -> None:
    assert sheet(history=(Sample(1, 64, {"style": 0.0}),)).height > 0
    assert sheet(history=(Sample(1, 64, {"style": 0.5}),)).height > 0


@pytest.mark.parametrize(("first", "shown"), [(1e-12, False), (4.1, False), (0.021, True)])
def test_a_first_loss_far_from_all_others_is_left_out(first: float, shown: bool) -> None:
    others = tuple(Sample(step, 64, {"style": 1.0, "content": loss}) for step, loss in ((2, 0.2), (3, 0.3), (4, 0.4)))
    pages = [sheet(history=(Sample(1, 64, {"style": 1.0, **more}), *others)) for more in ({}, {"content": first})]
    assert (pages[0] != pages[1]) == shown


def test_a_later_loss_is_never_left_out() -> None:
    def page(second: float) -> Image.Image:
        losses = enumerate((0.2, second, 0.4, 0.3), start=1)
        return sheet(history=tuple(Sample(step, 64, {"style": loss}) for step, loss in losses))

    assert page(1e-12) != page(0.3)


def test_the_same_page_each_time() -> None:
    pages = [sheet(scales=(32, 64), history=falling(32, 64)) for _ in range(2)]
    assert pages[0] == pages[1]


def test_the_caption_is_written() -> None:
    assert sheet(caption="optimize") != sheet(caption="")
