"""The contact sheet: what went in, what came out and how it got there, on one page."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PAGE_PX = 1600
_MARGIN_PX = 56
_GAP_PX = 20
_INNER_PX = _PAGE_PX - 2 * _MARGIN_PX
_HEADER_PX = 40
_LABEL_PX = 30
"""Above each picture, for its name."""
_MAIN_ROW_PX = 600
"""Content, styles and result are at most so high."""
_SCALES_ROW_PX = 340
_CURVES_PX = 320
_CURVES_MIN_WIDTH_PX = 560
_AXIS_LABELS_PX = 70
"""Left of the curves and right of them, for numbers and names."""

_MAX_SHAPE = 3.0
"""A picture longer than so many times its other side is shown in a frame of that shape, or it would starve the rest."""

_FAR = 10
"""A first loss so many times under the least of the others, or over the greatest, is left out."""

_DPI = 100
_PAPER, _INK, _FAINT = "#faf8f4", "#2b2a28", "#8a857c"
_COLOURS = {"style": "#b5482a", "content": "#2f5d8a", "variation": "#5b8c5a", "matching": "#8c6bb1"}
_OTHER_COLOURS = ("#c79a3a", "#4f9d9d", "#2b2a28")


@dataclass(frozen=True)
class Sample:
    """The losses of one step."""

    step: int
    size_px: int
    losses: Mapping[str, float]


@dataclass(frozen=True)
class _Placed:
    picture: Image.Image
    label: str
    left_px: int


def contact_sheet(
    *,
    content: Image.Image,
    styles: Sequence[Image.Image],
    result: Image.Image,
    scales: Sequence[tuple[int, Image.Image]],
    history: Sequence[Sample],
    caption: str,
) -> bytes:
    """A PNG page with content, styles and result, the scales painted (size in px and picture) and the loss curves.

    Scales appear where there are several, curves where the history has losses: the fast method has neither.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    main, main_px = _row(
        [(content, "content"), (_mosaic(styles), "style" if len(styles) == 1 else "styles"), (result, "result")],
        _MAIN_ROW_PX,
    )
    named = [(picture, f"painted at {size_px} px") for size_px, picture in scales] if len(scales) > 1 else []
    small, small_px = _row(named, _SCALES_ROW_PX)
    curves = any(sample.losses for sample in history)

    scales_end_px = small[-1].left_px + small[-1].picture.width + _GAP_PX if small else _MARGIN_PX
    beside = bool(small) and _PAGE_PX - _MARGIN_PX - scales_end_px >= _CURVES_MIN_WIDTH_PX
    row_gap_px = _LABEL_PX + _GAP_PX
    scales_top_px = _MARGIN_PX + _HEADER_PX + _LABEL_PX + main_px + row_gap_px
    curves_top_px = scales_top_px + (small_px + row_gap_px if small and not beside else 0)
    curves_px = (small_px if beside else _CURVES_PX) if curves else 0
    bottom_px = (
        curves_top_px + curves_px if curves else scales_top_px + small_px if small else scales_top_px - row_gap_px
    )
    # Under the curves there are numbers.
    page_px = bottom_px + _MARGIN_PX + (_LABEL_PX if curves else 0)

    with mpl.rc_context({"font.size": 10, "text.color": _INK, "axes.labelcolor": _FAINT}):
        page = Figure(figsize=(_PAGE_PX / _DPI, page_px / _DPI), dpi=_DPI, facecolor=_PAPER)
        _write(page, caption, _MARGIN_PX, _MARGIN_PX + 14, points=15)
        _draw(page, main, _MARGIN_PX + _HEADER_PX + _LABEL_PX)
        _draw(page, small, scales_top_px)
        if curves:
            left_px = scales_end_px if beside else _MARGIN_PX
            _write(page, "losses", left_px, curves_top_px - 12, points=11, colour=_FAINT)
            left_px += _AXIS_LABELS_PX
            box_px = (left_px, curves_top_px, _PAGE_PX - _MARGIN_PX - _AXIS_LABELS_PX - left_px, curves_px)
            _plot(_axes(page, box_px), history)
        file = io.BytesIO()
        page.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _row(pictures: Sequence[tuple[Image.Image, str]], max_height_px: int) -> tuple[list[_Placed], int]:
    """Pictures side by side, equally high, filling the width if that makes none too high; and that height."""
    if not pictures:
        return [], 0
    shapes = [min(max(picture.width / picture.height, 1 / _MAX_SHAPE), _MAX_SHAPE) for picture, _ in pictures]
    height_px = min(max_height_px, int((_INNER_PX - _GAP_PX * (len(pictures) - 1)) / sum(shapes)))
    placed, left_px = [], _MARGIN_PX
    for (picture, label), shape in zip(pictures, shapes, strict=True):
        width_px = int(shape * height_px)
        inside = ImageOps.contain(picture, (width_px, height_px), Image.Resampling.LANCZOS)
        placed.append(_Placed(inside, label, left_px))
        left_px += width_px + _GAP_PX
    return placed, height_px


def _mosaic(styles: Sequence[Image.Image]) -> Image.Image:
    """One style as it is; of several, their middles as tiles of one picture."""
    if len(styles) == 1:
        return styles[0]
    columns = 1 if len(styles) == 2 else 2 if len(styles) <= 6 else 3
    rows = math.ceil(len(styles) / columns)
    tile_px, gap_px = 300, 10
    size = (columns * (tile_px + gap_px) - gap_px, rows * (tile_px + gap_px) - gap_px)
    mosaic = Image.new("RGB", size, _PAPER)
    for number, style in enumerate(styles):
        tile = ImageOps.fit(style, (tile_px, tile_px), Image.Resampling.LANCZOS)
        mosaic.paste(tile, (number % columns * (tile_px + gap_px), number // columns * (tile_px + gap_px)))
    return mosaic


def _draw(page: Figure, row: Sequence[_Placed], top_px: int) -> None:
    for placed in row:
        bottom_px = round(page.bbox.height) - top_px - placed.picture.height
        page.figimage(np.asarray(placed.picture), placed.left_px, bottom_px)
        _write(page, placed.label, placed.left_px, top_px - 12, points=11, colour=_FAINT)


def _write(page: Figure, text: str, left_px: int, baseline_px: int, *, points: int, colour: str = _INK) -> None:
    page.text(left_px / _PAGE_PX, 1 - baseline_px / page.bbox.height, text, fontsize=points, color=colour)


def _axes(page: Figure, box_px: tuple[int, int, int, int]) -> Axes:
    left_px, top_px, width_px, height_px = box_px
    page_px = page.bbox.height
    return page.add_axes(
        (left_px / _PAGE_PX, 1 - (top_px + height_px) / page_px, width_px / _PAGE_PX, height_px / page_px),
        facecolor=_PAPER,
    )


def _plot(axes: Axes, history: Sequence[Sample]) -> None:
    """The loss terms over the steps, logarithmic, each named at its end; a line where the scale changes."""
    terms = list(dict.fromkeys(term for sample in history for term in sample.losses))
    spare = iter(_OTHER_COLOURS * len(terms))
    last_step = history[-1].step
    ends: list[tuple[float, str, str]] = []
    for term in terms:
        # A logarithm has no place for zero, which is what a term with weight 0 is.
        points = [(s.step, s.losses[term]) for s in history if s.losses.get(term, 0) > 0]
        if points:
            points = _without_far_first(points)
            colour = _COLOURS.get(term) or next(spare)
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6)
            ends.append((points[-1][1], term, colour))
    if ends:
        axes.set_yscale("log")
    axes.set_xlim(min(history[0].step, last_step - 1), last_step)

    for before, after in pairwise(history):
        if after.size_px != before.size_px:
            axes.axvline(after.step, color=_FAINT, linewidth=0.8, linestyle=(0, (4, 4)))
    for size_px, step in {s.size_px: s.step for s in reversed(history)}.items():
        axes.annotate(
            f"{size_px} px",
            (step, 1),
            (0, 5),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=9,
            color=_FAINT,
        )
    _name_curves(axes, ends)
    axes.set_xlabel("step")
    axes.grid(visible=True, axis="y", color="#e4dfd5", linewidth=0.8)
    axes.tick_params(which="both", colors=_FAINT, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)


def _without_far_first(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """`points` (step and loss) but for a first one that is far from all others: the axis would show little else.

    What is painted over the content begins without a loss of content, but for what rounding leaves.
    """
    (_, first), *others = points
    losses = [loss for _, loss in others]
    far = bool(losses) and not min(losses) / _FAR <= first <= max(losses) * _FAR
    return others if far else points


def _name_curves(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write each term's name where its curve ends, in its colour, moved apart where they would overlap."""
    line_px = 15.0
    lowest_px = -math.inf
    for value, term, colour in sorted(ends):
        end_px = float(axes.transData.transform((0, value))[1])
        lowest_px = max(end_px, lowest_px + line_px)
        axes.annotate(
            term,
            (1, value),
            (6, (lowest_px - end_px) * 72 / _DPI),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=10,
            color=colour,
        )
