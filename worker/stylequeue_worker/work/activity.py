"""What this worker is at, for whoever watches it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from datetime import UTC, datetime

_WINDOW = 20
"""Steps over which their rate is measured."""


class Activity:
    """Written by the thread that works, read by the one that tells of it. Nothing is decided by it."""

    def __init__(self) -> None:
        self.job: str | None = None
        self.job_since: datetime | None = None
        self.stage: str | None = None
        self.step = 0
        self.steps = 0
        self.moved_s: float | None = None
        """When the work on the job last went on, by the monotonic clock; None: there is none."""
        self.jobs_done = 0
        """That ended here, in whatever way."""
        self.stage_s: Counter[str] = Counter()
        """Seconds that pictures made here have taken, by stage."""
        self._latest: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._first: tuple[float, int] | None = None

    def begin(self, job_id: str) -> None:
        """A job is claimed."""
        self.job, self.stage, self.step, self.steps = job_id, None, 0, 0
        self.job_since = datetime.now(UTC)
        self._latest.clear()
        self._first = None
        self.moved_s = time.monotonic()

    def enter(self, stage: str) -> None:
        """A stage of it begins."""
        self.stage = stage
        self.moved_s = time.monotonic()

    def make_step(self, step: int, steps: int) -> None:
        """A step of its painting is done."""
        self.step, self.steps = step, steps
        self.moved_s = time.monotonic()
        self._latest.append((self.moved_s, step))
        self._first = self._first or self._latest[0]

    def end(self) -> None:
        """The job is held no longer."""
        self.job = self.job_since = self.stage = self.moved_s = None
        self._latest.clear()

    def note_end(self, timings_s: Mapping[str, float]) -> None:
        """It has ended; so long its picture's stages took."""
        self.jobs_done += 1
        self.stage_s.update(timings_s)

    @property
    def steps_per_s(self) -> float | None:
        """Of the newest steps; None: too few."""
        latest = list(self._latest)
        return _rate(latest[0], latest[-1]) if latest else None

    @property
    def mean_steps_per_s(self) -> float | None:
        """Of all steps of the painting that were made here, but the first, for which a network may be compiled."""
        return _rate(self._first, self._latest[-1]) if self._first and self._latest else None


def _rate(first: tuple[float, int], last: tuple[float, int]) -> float | None:
    took_s, steps = last[0] - first[0], last[1] - first[1]
    return steps / took_s if took_s > 0 and steps > 0 else None
