"""What comes out of the engine: steps, each with its picture, and what can be said of them. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from stylequeue.contract.memory import Plan

if TYPE_CHECKING:
    import numpy as np

Checkpoint = Mapping[str, "np.ndarray"]
"""A half-painted picture by the names of its parts; all plain numbers, so that it can be stored."""


class BadCheckpoint(ValueError):
    """What was given to go on from is no checkpoint of this painting."""


Cut = Literal["time_budget", "stop_when"]
"""What can end a scale before its last step."""


@dataclass(frozen=True)
class Network:
    """What paints: its name and the SHA-256 (hex) of its weights."""

    name: str
    digest: str


class Face(NamedTuple):
    """Where a face is: a rectangle around brows, eyes and mouth, in pixels of the content."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Summary:
    """What can be said of a painted picture, and of how it was painted."""

    losses: Mapping[str, float]
    """Without weights, by term; empty for `fast`, as `style_distances` is."""
    style_distances: Mapping[str, float]
    """Without weights, by layer."""
    ssim: float
    """Structural similarity to the content, of the lightness: 1 is the content itself."""
    precision: str
    """Of the network's arithmetic."""
    tiles: int
    """Into how many the picture was cut to fit into memory."""
    notes: tuple[str, ...] = ()
    """What is not as one would expect it, in sentences for people."""


@dataclass(frozen=True)
class Step:
    """One evaluation of the loss, or the single pass of the fast network."""

    step: int
    """Evaluations done, over all scales."""
    steps: int
    """Evaluations planned; fewer are done where `cut` says why, or where L-BFGS finds no descent any more."""
    size_px: int
    """Longest side of the picture at this scale."""
    losses: Mapping[str, float]
    """Without weights, by term (content, style, variation, and matching where it was looked at), of the picture this
    step evaluated; empty for `fast`."""
    done: float
    """Share of the arithmetic done, in [0, 1]: a step at a large scale counts for more."""
    picture: np.ndarray
    """float32 [1, height, width, 3] in [0, 1], finite."""
    summarise: Callable[[], Summary]
    """Looks closely at the picture, which takes about as long as two steps."""
    save: Callable[[], Checkpoint] | None = None
    """Gives the state to go on from; None: there is nothing to go on with."""
    plan: Plan | None = None
    """Whether the picture is painted whole or in tiles, and the memory predicted for it; None for `fast`."""
    cut: Cut | None = None
    """What ended this scale or one before it early, if anything did."""
    faces: Sequence[Face] | None = None
    """Those of the content that are kept, the largest first; None: none were looked for."""
    kept_share: float | None = None
    """How much of the content is kept, for faces, what else stands out and a mask: the mean of what is kept, in [0, 1];
    None: nothing, or `fast` paints."""

    @property
    def state(self) -> Checkpoint | None:
        """What `Engine.paint` needs to go on from here, on this machine or another."""
        return self.save() if self.save else None
