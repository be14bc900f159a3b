"""What holding a job costs its painting: lease, progress, previews and checkpoints.

    [QUICK=1] python -m tests.benchmarks.bench_overhead [ROUNDS] [SIZE_PX]

The same picture is painted twice by the real engine, in turns: so many steps with a Holder and a Workbench on the
embedded stack, at the intervals that ship, then as many bare. A turn is a little longer than the longest interval, so
that each holds one checkpoint and its share of all else. QUICK takes one turn, and judges nothing.

On a quiet machine the wall time says it all. On a busy one trust the processor seconds, which no neighbour changes: of
the whole process, and of what was added by itself. What Redis and the store take, in processes of their own, is in the
wall time alone.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console
from rich.table import Table

from stylequeue.contract.recipe import OptimizeRecipe, resolve
from stylequeue.ledger import Ledger, Record
from stylequeue.local import Stack
from stylequeue.settings import Settings
from stylequeue.store import Store
from stylequeue_worker.engine import Engine, Step
from stylequeue_worker.work.lease import Holder
from stylequeue_worker.work.workbench import Workbench
from tests.benchmarks import engine_pictures
from tests.support.jobs import make_job

AIM, MUST = 0.01, 0.03
"""Of the painting's time."""
QUICK = bool(os.environ.get("QUICK"))
ROUNDS, SIZE_PX = (1, 96) if QUICK else (6, 256)
WARM_UP_STEPS = 3
THREADS = ("heartbeat", "preview", "checkpoint")
IN_THE_LOOP = "between two steps"
# One scale only, so that all steps are alike.
PRESET = "tf-tutorial"


class Bench:
    """One painting bare, one held."""

    def __init__(self, stack: Stack, size_px: int) -> None:
        self.settings = stack.settings
        self.ledger, self.store = Ledger(stack.settings), Store(stack.settings)
        self.turn_s = self.settings.checkpoint_interval_s * 1.05
        self.wall_s: defaultdict[str, float] = defaultdict(float)
        self.process_s: defaultdict[str, float] = defaultdict(float)
        self.steps = 0
        self.overheads: list[float] = []
        self.cpu_s: defaultdict[str, float] = defaultdict(float)
        engine = Engine(self.settings.models)
        recipe = resolve(OptimizeRecipe(preset=PRESET, size=size_px, steps=10_000))
        (content_name, style_name), *_ = engine_pictures.pairs()
        content = engine_pictures.content(content_name, size_px)
        style = engine_pictures.style(style_name, size_px)
        self._bare, self._held = (engine.paint(content, [(style, 1.0)], recipe) for _ in range(2))
        for painting in (self._bare, self._held):
            for _ in range(WARM_UP_STEPS):
                next(painting)
        job = make_job()
        self._record: Record = self.ledger.claim(job, task_id=job.id, worker="bench").record

    def round(self) -> None:
        """One turn of each. The held one comes first: its time says how many steps a turn has."""
        before = dict(self.wall_s)
        with self._clock("held"):
            steps = self._paint_held()
        with self._clock("bare"):
            for _ in range(steps):
                next(self._bare)
        held_s, bare_s = (self.wall_s[name] - before.get(name, 0) for name in ("held", "bare"))
        self.overheads.append(held_s / bare_s - 1)
        self.steps += steps

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        began_at = time.perf_counter(), time.process_time()
        yield
        self.wall_s[name] += time.perf_counter() - began_at[0]
        self.process_s[name] += time.process_time() - began_at[1]

    def _paint_held(self) -> int:
        """As `Maker` does: the number of steps."""
        ends_at = time.perf_counter() + self.turn_s
        steps = 0
        with Holder(self.ledger, self.settings, self._record) as holder:
            workbench = Workbench(self.store, self.settings, holder, "bench")
            with workbench:
                while time.perf_counter() < ends_at:
                    step = next(self._held)
                    self._tell(holder, workbench, step)
                    steps += 1
                for thread in threading.enumerate():
                    if thread.name in THREADS and thread.ident is not None:
                        # Each lives for one turn.
                        self.cpu_s[thread.name] += time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        return steps

    def _tell(self, holder: Holder, workbench: Workbench, step: Step) -> None:
        began_at = time.thread_time()
        workbench.newest = step
        holder.step(step)
        self.cpu_s[IN_THE_LOOP] += time.thread_time() - began_at


def main() -> int:
    given = [int(argument) for argument in sys.argv[1:]]
    rounds, size_px = given + [ROUNDS, SIZE_PX][len(given) :]
    with Stack(settings=Settings.load()) as stack:
        bench = Bench(stack, size_px)
        for _ in range(rounds):
            bench.round()
    held_s = bench.wall_s["held"]
    added = sum(bench.cpu_s.values()) / held_s
    table = Table(
        "", "bare", "held", "added", title=f"{rounds} turns of {bench.turn_s:.0f} s, {bench.steps} steps in all"
    )
    for name, seconds in (("wall, s", bench.wall_s), ("processor, s", bench.process_s)):
        bare, held = seconds["bare"], seconds["held"]
        table.add_row(name, f"{bare:.1f}", f"{held:.1f}", f"{held / bare - 1:+.2%}")
    table.add_row("wall, median of the turns", "", "", f"{median(bench.overheads):+.2%}")
    for name in (*THREADS, IN_THE_LOOP):
        table.add_row(f"processor, {name}, s", "", f"{bench.cpu_s[name]:.3f}", f"{bench.cpu_s[name] / held_s:.3%}")
    table.add_row("processor, these together, s", "", f"{sum(bench.cpu_s.values()):.3f}", f"{added:.3%}")
    console = Console()
    console.print(table)
    console.print(f"aim: under {AIM:.0%} of the painting's time; must: {MUST:.0%}, by the last line")
    return 1 if added > MUST and not QUICK else 0


if __name__ == "__main__":
    sys.exit(main())
