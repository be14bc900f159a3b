"""How fast this worker paints, as it has measured."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import median_low

from stylequeue.contract import cost
from stylequeue.contract.cost import Sides
from stylequeue.contract.recipe import ResolvedOptimizeRecipe, ResolvedRecipe

_LATEST = 5
"""Paintings of a kind of which the median counts: one that had to wait for a compiler is no measure."""
_LEAST_SHARE = 0.2
"""Of a painting's work, that is worth measuring."""


class Rates:
    """Seconds that a megapixel-step takes, by `cost.kind`."""

    def __init__(self, before: Mapping[str, float] | None = None) -> None:
        """`before`: what a process before this one had measured; it counts until this one has."""
        self._before = dict(before or {})
        self._latest: dict[str, deque[float]] = {}
        self._is_warm = False
        """Whether it has painted by the fast method."""

    def note(self, recipe: ResolvedRecipe, network: str, sides: Sides, share: float, took_s: float) -> None:
        """That this share of a painting's work took so long.

        What of it may have had to be compiled is not to be counted. A fast painting is one step, and the first one is
        compiled with it: it is no measure.
        """
        if not isinstance(recipe, ResolvedOptimizeRecipe) and not self._is_warm:
            self._is_warm = True
            return
        work = share * cost.megapixel_steps(recipe, sides)
        if share >= _LEAST_SHARE and work > 0 and took_s > 0:
            self._latest.setdefault(cost.kind(recipe, network), deque(maxlen=_LATEST)).append(took_s / work)

    def all(self) -> dict[str, float]:
        """As measured so far."""
        return self._before | {kind: median_low(latest) for kind, latest in self._latest.items()}
