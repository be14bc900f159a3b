"""Where people look first: faces in a content, and what of a picture is to be kept for them.

Found by OpenCV's frontal face cascade of local binary patterns (Zhang and others, "Face detection based on multi-block
LBP representation", 2007), which scikit-image ships and runs. Alone it sees faces in badges and in print, too; so three
searches have to agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import tensorflow as tf
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade

from .pictures import resize
from .steps import Face

MOST = 12
"""Faces of one picture. As many as a report holds that lies beside its picture, where a store takes 2 kB."""
_SEARCHED_PX = 512
"""The longer side of what is searched: so a picture has the same faces at every size."""
_FACTORS = (1.2, 1.1, 1.15)
"""From one size of the cascade's window to the next, in each search."""
_LEAST_HITS = 5
"""Of windows beside and around each other, in each search."""
_LEAST_SHARE = 0.12
"""A face's width over the picture's shorter side; what is smaller is rather a pattern than a face."""
_LEAST_OF_LARGEST = 0.5
"""A face's width over the largest one's."""
_APART = 0.25
"""Of a face's width: how far the centres of two hits of one face lie apart, at most."""
_WIDER = 1.6
"""How many times as wide as the other one of two hits of one face may be."""
_HALF_HEIGHT, _HALF_WIDTH = 0.62, 0.5
"""Half-axes of the ellipse that a face fills, over the sides of its rectangle, which ends at brows and chin."""
_FADES_AT, _FADES_OVER = 0.6, 1.0
"""What is kept for a face fades from so many of its radii, over so many."""


def find(picture: np.ndarray) -> list[Face]:
    """Faces in a picture, float32 [1, H, W, 3] in [0, 1], the largest first; at most `MOST`.

    They face the viewer, upright, and are at least 0.12 of the shorter side wide.
    """
    sides = picture.shape[1:3]
    scale = _SEARCHED_PX / max(sides)
    height, width = (max(1, round(side * scale)) for side in sides)
    searched = resize(tf.constant(picture), height, width)[0].numpy()
    first = _hits(searched, _FACTORS[0])
    others = [_hits(searched, factor) for factor in _FACTORS[1:]] if first else []
    agreed = [
        np.mean([hit, *found], axis=0) for hit in first if len(found := list(_seen_by(others, hit))) == len(others)
    ]
    apart: list[np.ndarray] = []
    for hit in sorted(agreed, key=lambda hit: -hit[2]):
        if hit[2] >= _LEAST_OF_LARGEST * (apart[0][2] if apart else 0) and not any(_overlap(hit, one) for one in apart):
            apart.append(hit)
    return [Face(*(round(float(value)) for value in hit / scale)) for hit in apart[:MOST]]


def kept_for(faces: Sequence[Face], picture: np.ndarray) -> np.ndarray:
    """How much of each pixel of a picture [1, H, W, 3] is to be kept for its faces: float32 [1, H, W, 1] in [0, 1]."""
    y, x = np.ogrid[: picture.shape[1], : picture.shape[2]]
    kept = np.zeros(picture.shape[1:3], np.float32)
    for left, top, width, height in faces:
        down = (y + 0.5 - top - height / 2) / (_HALF_HEIGHT * height)
        across = (x + 0.5 - left - width / 2) / (_HALF_WIDTH * width)
        radius = np.hypot(down, across)
        kept = np.maximum(kept, np.clip(1 - (radius - _FADES_AT) / _FADES_OVER, 0, 1).astype(np.float32))
    return kept[None, ..., None]


@cache
def _cascade() -> Cascade:
    return Cascade(lbp_frontal_face_cascade_filename())


def _hits(searched: np.ndarray, factor: float) -> list[np.ndarray]:
    """Of one search of float32 [H, W, 3] in [0, 1]: each float64 [4], left, top, width and height."""
    shorter_px = min(searched.shape[:2])
    cascade = _cascade()
    if shorter_px < cascade.window_width:
        return []
    least_px = round(_LEAST_SHARE * shorter_px)
    hits = cascade.detect_multi_scale(
        searched,
        scale_factor=factor,
        step_ratio=1,
        min_size=(least_px,) * 2,
        max_size=(shorter_px,) * 2,
        min_neighbor_number=_LEAST_HITS,
    )
    return [np.array([hit["c"], hit["r"], hit["width"], hit["height"]], np.float64) for hit in hits]


def _seen_by(searches: Sequence[Sequence[np.ndarray]], hit: np.ndarray) -> Iterator[np.ndarray]:
    """In each search the hit that is of the same face as `hit`, if there is one: the nearest. Hits: float64 [4]."""
    for hits in searches:
        if alike := [one for one in hits if _of_one_face(one, hit)]:
            yield min(alike, key=lambda one: _distance(one, hit))


def _of_one_face(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two hits, float64 [4], agree on centre and width."""
    narrower, wider = sorted((one[2], other[2]))
    return bool(_distance(one, other) <= _APART * other[2] and wider <= _WIDER * narrower)


def _overlap(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the centre of either of two hits, float64 [4], lies in the other."""
    return bool(_distance(one, other) < max(one[2], other[2]) / 2)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Between the centres of two hits, float64 [4]: left, top, width, height."""
    return float(np.hypot(*(one[:2] + one[2:] / 2 - other[:2] - other[2:] / 2)))
