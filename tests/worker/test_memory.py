from __future__ import annotations

import subprocess
import sys

import pytest

from stylequeue_worker.memory import give_back, resident_bytes

MANY_BYTES = 300_000_000
BLOCK_BYTES, BLOCKS = 50_000, 2000
"""Smaller than what the C library takes from the system, and gives back, by itself."""


PEAKS = f"""
import numpy as np
from stylequeue_worker.memory import forget_peak, peak_bytes

forget_peak()
before = peak_bytes()
much = np.ones({MANY_BYTES}, np.uint8)
during = peak_bytes()
del much
forget_peak()
print(during - before, during - peak_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the peak of the process's whole life")
def test_the_peak_is_that_since_it_was_forgotten() -> None:
    """In a process of its own: of one that has run other tests something else may come and go meanwhile."""
    done = subprocess.run([sys.executable, "-c", PEAKS], stdout=subprocess.PIPE, text=True, check=True)
    rose_bytes, fell_bytes = map(int, done.stdout.split())
    assert rose_bytes > 0.9 * MANY_BYTES
    assert fell_bytes > 0.5 * MANY_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_what_nothing_is_in_is_given_back() -> None:
    blocks = [b"x" * BLOCK_BYTES for _ in range(BLOCKS)]
    del blocks[:-1]  # the last, on top of them, keeps the library from giving the others back
    before = resident_bytes()
    give_back()
    after = resident_bytes()
    assert before is not None
    assert after is not None
    assert after < before - BLOCK_BYTES * BLOCKS / 2
