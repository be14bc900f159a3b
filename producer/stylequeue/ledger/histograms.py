"""What is measured of jobs, in buckets that stay the same for ever: what was counted before means what it meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BOUNDS: Mapping[str, Sequence[float]] = {
    "wait_s": (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400),
    "stage_s": (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600),
    "steps_per_s": (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
}
"""Upper ends of the buckets, by name: seconds from when a job could begin to its first attempt, by queue; seconds of
each stage of making a picture; steps a second of a whole painting, by network."""


@dataclass(frozen=True)
class Observation:
    """One measured value."""

    name: str
    label: str
    value: float

    def as_dict(self) -> dict[str, Any]:
        """As the scripts take it."""
        return {"name": self.name, "label": self.label, "value": self.value, "bounds": BOUNDS[self.name]}


@dataclass(frozen=True)
class Histogram:
    """All that was measured of something."""

    name: str
    label: str
    buckets: Sequence[int]
    """How many values each took; the last is for those over all bounds."""
    total: float
    """Of the values."""


def histograms(fields: Mapping[str, str]) -> list[Histogram]:
    """As they lie in Redis."""
    found = []
    for key, total in sorted(fields.items()):
        name, label, what = key.split("|")
        if what == "sum" and name in BOUNDS:
            buckets = [int(fields.get(f"{name}|{label}|{n}", 0)) for n in range(len(BOUNDS[name]) + 1)]
            found.append(Histogram(name, label, buckets, float(total)))
    return found
