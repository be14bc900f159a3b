"""A style picture with transparent parts: what there is of paint, made into a whole picture."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image

Cells = npt.NDArray[np.int16]
Marks = npt.NDArray[np.bool_]

_PAINTED = 128
"""From this opacity on, of 255, a pixel counts as painted."""
_MIN_SHARE = 0.5
"""Of a picture's opacity: one that is covered less is a drawing, and what shows through is paper."""
_BAND_ROWS = 256
_FAR = np.iinfo(np.int16).max


def bounds(opacities: Iterable[tuple[int, Image.Image]]) -> tuple[int, int, int, int] | None:
    """The box around what is painted; around anything at all where that is nothing. None: all is transparent.

    Of opacity in bands (L): the first row of each, and the band.
    """
    painted, touched = _Box(), _Box()
    for top, band in opacities:
        painted.add(top, band.point([255 * (value >= _PAINTED) for value in range(256)]).getbbox())
        touched.add(top, band.getbbox())
    return painted.box or touched.box


class _Box:
    def __init__(self) -> None:
        self.box: tuple[int, int, int, int] | None = None

    def add(self, top: int, more: tuple[int, int, int, int] | None) -> None:
        if more:
            left, above, right, below = self.box or (more[0], top + more[1], 0, 0)
            self.box = (min(left, more[0]), above, max(right, more[2]), max(below, top + more[3]))


def made_whole(picture: Image.Image) -> Image.Image:
    """RGB of an RGBA picture: where it is mostly paint, the paint goes on; a drawing lies on white paper.

    Paint goes on mirrored at its edge, as the engine has it go on beyond the edges of every picture: what is put in has
    the colours and strokes of what is there.
    """
    opacity = np.asarray(picture.getchannel("A"))
    if opacity.mean() < _MIN_SHARE * 255:
        paper = Image.new("RGB", picture.size, "white")
        paper.paste(picture, mask=picture.getchannel("A"))
        return paper
    pixels, painted = np.array(picture.convert("RGB")), opacity >= _PAINTED
    # Twice at most: once all rows with paint are full, all columns have some.
    while not painted.all():
        (row_distance, column), (column_distance, row) = _mirrored(painted), _mirrored(painted.T)
        column_distance, row = column_distance.T, row.T
        reached = ~painted & (np.minimum(row_distance, column_distance) < _FAR)
        # In bands: what says where pixels are takes many times their memory. What is put in comes from paint alone.
        for top in range(0, len(pixels), _BAND_ROWS):
            y, x = np.nonzero(reached[top : top + _BAND_ROWS])
            y += top
            sideways = row_distance[y, x] <= column_distance[y, x]
            pixels[y, x] = pixels[np.where(sideways, y, row[y, x]), np.where(sideways, column[y, x], x)]
        painted |= reached
    return Image.fromarray(pixels)


def _mirrored(painted: Marks) -> tuple[Cells, Cells]:
    """For each pixel, how far the nearest painted one of its row is, and the painted column that it mirrors."""
    from_left, column = _mirrored_from_left(painted)
    from_right, flipped = _mirrored_from_left(painted[:, ::-1])
    from_right, other = from_right[:, ::-1], painted.shape[1] - 1 - flipped[:, ::-1]
    nearer = from_left <= from_right
    return np.where(nearer, from_left, from_right), np.where(nearer, column, other)


def _mirrored_from_left(painted: Marks) -> tuple[Cells, Cells]:
    columns = np.arange(painted.shape[1], dtype=np.int16)
    begins = painted.copy()
    begins[:, 1:] &= ~painted[:, :-1]
    edge = np.maximum.accumulate(np.where(painted, columns, np.int16(-1)), axis=1)
    run = edge - np.maximum.accumulate(np.where(begins, columns, np.int16(-1)), axis=1) + np.int16(1)
    distance = columns - edge
    # Back and forth within the run of paint that ends at the edge.
    place = (distance - 1) % (2 * run)
    column = edge - np.minimum(place, 2 * run - 1 - place)
    distance[edge < 0] = _FAR
    return distance, column
