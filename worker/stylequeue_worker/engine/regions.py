"""Where each style applies: pictures with masks -> regions, each with a blend of styles of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Masks = Sequence[np.ndarray | None]
"""One for each style: float32 [1, H, W, 1] in [0, 1] at the content's size, 1 where it applies; None: everywhere."""


class Region(NamedTuple):
    """Some styles, and how much each pixel belongs to them."""

    styles: list[tuple[Any, float]]
    """Pictures with their shares, which sum to 1."""
    mask: np.ndarray | None
    """float32 [1, H, W, 1] in [0, 1]; None: all pixels belong to them alone."""


def regions(styles: Sequence[tuple[Any, float]], masks: Masks | None) -> list[Region]:
    """Styles under one mask are one region; where regions overlap, a pixel is shared out by the styles' shares.

    styles: pictures with shares that sum to 1; masks: one for each, float32 [1, H, W, 1]. All regions' masks together
    give 1 where any mask is white.
    """
    grouped: dict[bytes | None, list[tuple[Any, float]]] = {}
    kinds: dict[bytes | None, np.ndarray | None] = {}
    for style, mask in zip(styles, masks or [None] * len(styles), strict=True):
        key = None if mask is None or mask.min() >= 1 else mask.tobytes()
        grouped.setdefault(key, []).append(style)
        kinds[key] = None if key is None else mask
    if set(grouped) <= {None}:
        return [Region(_relative(group), None) for group in grouped.values()]
    weights = [sum(share for _, share in group) for group in grouped.values()]
    maps = np.broadcast_arrays(*(1.0 if mask is None else mask for mask in kinds.values()))
    claims = sum(weight * map_ for weight, map_ in zip(weights, maps, strict=True))
    covered = np.minimum(sum(maps), 1) / np.maximum(claims, np.finfo(np.float32).tiny)
    return [
        Region(_relative(group), np.asarray(weight * map_ * covered, np.float32))
        for group, weight, map_ in zip(grouped.values(), weights, maps, strict=True)
    ]


def _relative(styles: Sequence[tuple[Any, float]]) -> list[tuple[Any, float]]:
    total = sum(share for _, share in styles)
    return [(style, share / total) for style, share in styles]


def coverage(masks: Masks | None) -> np.ndarray | None:
    """How much of each pixel is painted at all, float32 [1, H, W, 1] in [0, 1]; None: all of it."""
    if not masks or any(mask is None for mask in masks):
        return None
    return np.asarray(np.minimum(sum(mask for mask in masks if mask is not None), 1), np.float32)
