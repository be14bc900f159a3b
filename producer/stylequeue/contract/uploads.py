"""What is counted of notices of uploads."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from .base import Told

LAG_BOUNDS_S: Sequence[int] = (1, 2, 5, 15, 60, 300, 1800, 7200)
"""By which lags are counted: each bound those up to it."""


class Lags(Told):
    """How long after uploads their notices were taken up, by the store's clock and ours."""

    up_to_s: dict[int, int] = Field(default={}, description="How many took at most so many seconds, by that bound.")
    count: int = 0
    sum_s: float = 0


class SourceCounts(Told):
    """Of one source of notices."""

    outcomes: dict[str, int] = Field(
        default={},
        description="How many came to what: recorded, known, conflict, no_rule, ours, refused, missing, later, "
        "unreadable. What a sweep recorded had been missed by all others.",
    )
    lags: Lags = Lags()
