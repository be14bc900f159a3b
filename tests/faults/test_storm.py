"""Everything at once: see tests/support/storm.py; `make soak` raises a great one."""

from __future__ import annotations

import pytest

from stylequeue.local import Stack
from tests.support.storm import Storm

JOBS, SEED, LIMIT_S = 60, 46, 120


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_46_a_small_storm(stack: Stack) -> None:
    with Storm(stack, jobs=JOBS, seed=SEED, time_limit_s=LIMIT_S, pause_s=(0.2, 1.0)) as storm:
        report = storm.rage()
    assert report.broken == []
    assert report.struck.total() >= 5, "hardly a storm"
    assert report.messages_left == 0
    assert report.states.total() == JOBS
