"""Peak memory of a few steps, in a process of its own: `python -m tests.benchmarks.engine_memory SIZE_PX`.

Writes bytes beyond what the process had with TensorFlow and the network loaded.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from stylequeue.contract.recipe import OptimizeRecipe, resolve
from stylequeue.settings import Settings
from stylequeue_worker.engine import Engine, Options

STEPS = 2


def measure(size_px: int, budget_bytes: int | None = None) -> int:
    """Of `tf-tutorial` (float32, Adam) on a square of `size_px`; with a budget the engine may paint in tiles."""
    arguments = [str(size_px), *([str(budget_bytes)] if budget_bytes else [])]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.engine_memory", *arguments], check=True, stdout=subprocess.PIPE
    )
    return int(done.stdout.splitlines()[-1])


def main() -> None:
    size_px = int(sys.argv[1])
    budget = int(sys.argv[2]) if len(sys.argv) > 2 else None
    engine = Engine(Settings().models, options=Options(memory_bytes=budget))
    engine.warm_up(["optimize"])
    random = np.random.default_rng(0)
    picture, style = (random.random((1, side, side, 3), np.float32) for side in (size_px, 256))
    loaded_bytes = _resident_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    steps = list(engine.paint(picture, [(style, 1.0)], resolve(OptimizeRecipe(preset="tf-tutorial", steps=STEPS))))
    peak_bytes = _resident_bytes("VmHWM")
    assert len(steps) == STEPS
    print(peak_bytes - loaded_bytes)


def _resident_bytes(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


if __name__ == "__main__":
    main()
