"""How the service scales: from 1 to 32 workers, 100,000 jobs, all workers killed at once, two kinds of load.

    make bench-scale [QUICK=1]

One Valkey, one SeaweedFS, and workers whose engine takes a second a job without using the processor
(`scale/worker.py`); everything else is real. Says what it does as it goes, and has in `bench-output/scale.json` what
it has measured so far, also when it is broken off. It takes half an hour at most; QUICK, with fewer workers and jobs,
3 minutes. It judges nothing. `scripts/capacity.py` puts the figures into docs/capacity.md.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stylequeue.client import StyleQueue
from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.benchmarks.scale import backlog, mixed, painting, recovery
from tests.benchmarks.scale.fleet import Fleet

QUICK = bool(os.environ.get("QUICK"))
WORKERS = (4, 1) if QUICK else (32, 16, 8, 4, 2, 1)
JOBS = 3_000 if QUICK else 100_000
WATCHED_S = 5 if QUICK else 25
DRAINED_S = 5 if QUICK else 240
MIXED_WORKERS = 3 if QUICK else 8
MIXED_S = 5 if QUICK else 60
BESIDE = 500 if QUICK else 5_000
OUTPUT = Path("bench-output/scale.json")


class Results:
    """All figures so far, on disk as well."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._found: dict[str, Any] = {
            "machine": {
                "processors": os.cpu_count(),
                "processor": _processor(),
                "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
                "python": platform.python_version(),
                "load": round(os.getloadavg()[0], 1),
            },
            "quick": QUICK,
        }

    def note(self, name: str, value: Any) -> None:
        """Have a figure on record."""
        self._found[name] = value
        self._found["took_s"] = round(time.monotonic() - self._began_s)
        OUTPUT.parent.mkdir(exist_ok=True)
        OUTPUT.write_text(json.dumps(self._found, indent=2))
        self.say(f"{name}: {json.dumps(value)}")

    def say(self, text: str) -> None:
        """What is done now."""
        print(f"[{time.monotonic() - self._began_s:5.0f} s] {text}", flush=True)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part which may fail without the others: what it failed of is on record."""
        self.say(name)
        try:
            yield
        except Exception as error:
            self.note(f"{name} failed", f"{type(error).__name__}: {error}"[:500])


def main() -> int:
    """Measure all there is; 1 where a part failed."""
    results = Results()
    settings = Settings(max_open_jobs=10**6)
    with Stack(settings=settings) as stack, StyleQueue(stack.settings) as queue:
        fleet = Fleet(stack, queue)
        with results.part("fill"):
            results.note("backlog", backlog.fill(fleet, JOBS, results.say))
        with results.part("looks"):
            results.note("looks", backlog.looks(fleet))
        with results.part("parked"):
            results.note("parked", backlog.looks_at_parked(fleet, JOBS))
        with results.part("start"):
            began_s = time.monotonic()
            fleet.start(WORKERS[0])
            results.note("started", {"workers": WORKERS[0], "s": round(time.monotonic() - began_s, 1)})
        with results.part("drain"):
            results.note("drain", painting.watch(fleet, DRAINED_S, queue=None))
            results.note("submit_beside_busy_per_s", backlog.submit_beside(fleet, BESIDE))
            results.note("redis_bytes_per_ended_job", backlog.ended_bytes(fleet))
        with results.part("empty"):
            results.note("emptied", backlog.empty(fleet, results.say))
        with results.part("recovery"):
            results.note("recovery", recovery.killed(fleet))
        with results.part("curve"):
            curve = {}
            for count in WORKERS:
                fleet.keep(count)
                curve[str(count)] = painting.watch(fleet, WATCHED_S)
                results.note("curve", curve)
            results.note("resident_mb", fleet.resident_mb())
        with results.part("mixed"):
            results.note("wait_of_fast", mixed.all_ways(fleet, MIXED_WORKERS, MIXED_S, results.say))
    return int(any(name.endswith("failed") for name in results._found))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
