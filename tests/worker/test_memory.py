from __future__ import annotations

import sys

import numpy as np
import pytest

from stylequeue_worker.memory import forget_peak, peak_bytes

MANY_BYTES = 300_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the peak of the process's whole life")
def test_the_peak_is_that_since_it_was_forgotten() -> None:
    forget_peak()
    before = peak_bytes()
    much = np.ones(MANY_BYTES, np.uint8)
    during = peak_bytes()
    del much
    forget_peak()
    assert during > before + 0.9 * MANY_BYTES
    assert peak_bytes() < during - 0.5 * MANY_BYTES
