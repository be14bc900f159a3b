"""What a holder tells: each stage once; how long a painting takes once that can be known, from its second step on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from stylequeue.settings import Settings
from stylequeue_worker.work.lease import Holder


@pytest.mark.parametrize(
    ("done", "left_s"),
    [
        # Compiled for 30 s, then a tenth of the work in each 2 s.
        ([0.1, 0.2, 0.6, 1.0], [None, 16.0, 8.0, 0.0]),
        # Going on from a checkpoint: what was done before took this attempt no time.
        ([0.5, 0.6, 0.8], [None, 8.0, 4.0]),
    ],
)
def test_time_left(monkeypatch: pytest.MonkeyPatch, done: list[float], left_s: list[float | None]) -> None:
    record = SimpleNamespace(id="job-7", fence=1, time_limit_s=None)
    holder = Holder(cast("Any", None), Settings(), cast("Any", record))
    told = []
    for share in done:
        monkeypatch.setattr("time.monotonic", lambda share=share: 30 + 20 * (share - done[0]))
        step: Any = SimpleNamespace(step=1, steps=10, size_px=64, losses={}, done=share)
        holder.step(step)
        told.append(cast("dict[str, Any]", holder._newest)["left_s"])
    assert told == pytest.approx(left_s)


def test_a_stage_is_told_once_and_what_was_new_before_it_first() -> None:
    told: list[Any] = []

    def heartbeat(_: str, *, fence: int, data: Any) -> str:
        told.append(data and (data.stage, data.step))
        return "go_on"

    record = SimpleNamespace(id="job-7", fence=1, time_limit_s=None)
    holder = Holder(cast("Any", SimpleNamespace(heartbeat=heartbeat)), Settings(), cast("Any", record))
    holder.stage("fetching")
    holder.stage("painting")
    step: Any = SimpleNamespace(step=1, steps=10, size_px=64, losses={}, done=0.1)
    holder.step(step)
    holder.stage("storing")
    assert told == [("fetching", 0), ("painting", 0), ("painting", 1), ("storing", 0)]
