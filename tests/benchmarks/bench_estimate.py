"""How far estimates of painting are from what painting then takes.

    make bench-estimate [QUICK=1]

Fifty jobs, mixed by a fixed seed: methods, presets, optimisers, sizes, shapes, steps. Each is estimated by what a
worker would have told by then, as `StyleQueue.estimate` does it, and painted by the real engine; the first ones, which
nobody can estimate, are painted alone. Must: a median error under 30 %, and no estimate under nought. What else runs on
the machine makes paintings longer than they would be; the error in the processor's time, which it lengthens far less,
stands beside it. Writes `bench-output/estimate.json`. QUICK paints a few small ones, and judges nothing.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console
from rich.table import Table

from stylequeue import __version__
from stylequeue.contract.cost import output_sides
from stylequeue.contract.job import Job
from stylequeue.contract.recipe import resolve
from stylequeue.ledger.line import seconds
from stylequeue.ledger.registry import LiveWorker
from stylequeue.settings import Settings
from stylequeue_worker.engine import Engine
from stylequeue_worker.work.rates import Rates
from tests.benchmarks import engine_pictures
from tests.support.jobs import make_job

QUICK = bool(os.environ.get("QUICK"))
JOBS = 10 if QUICK else 50
SIZES_PX = (64, 96) if QUICK else (96, 128, 192, 256, 384)
SHAPES = ((1, 1), (3, 4), (2, 3))
MUST = 0.3
CLOCKS = {"wall": time.monotonic, "processor": time.process_time}
OUTPUT = Path("bench-output/estimate.json")


def jobs() -> list[tuple[Job, tuple[int, int]]]:
    """Jobs, each with the sides of its content."""
    mixed = random.Random(0)
    kinds: list[dict[str, Any]] = [
        {"preset": "painterly"},
        {"preset": "brushwork", "keep_faces": False},
        {"preset": "tf-tutorial"},
        {"preset": "tf-tutorial", "optimizer": "swift"},
        {"method": "fast"},
    ]
    found = []
    for _ in range(JOBS):
        kind = {"method": "optimize", **mixed.choice(kinds), "size": mixed.choice(SIZES_PX)}
        if kind["method"] == "optimize":
            kind["steps"] = mixed.choice((10, 20, 40))
        height, width = mixed.choice(SHAPES)
        found.append((make_job(recipe=kind), (height, width) if mixed.random() < 0.5 else (width, height)))
    return found


def main() -> None:
    """Estimate and paint, one after the other; exits with 1 where the error is too large."""
    engine = Engine(Settings().models)
    rates = {clock: Rates() for clock in CLOCKS}
    engine.warm_up(["optimize", "fast"])
    (content_name, style_name), *_ = engine_pictures.pairs()
    table = Table("job", "estimated", "painted", "error", "processor", title=f"{JOBS} jobs, {engine.device}")
    errors: dict[str, list[float]] = {clock: [] for clock in CLOCKS}
    for job, shape in jobs():
        recipe = resolve(job.recipe)
        height, width = output_sides(recipe, shape)
        estimated = {clock: seconds(worker(engine, rates[clock]), recipe, shape) for clock in CLOCKS}
        content = engine_pictures.content(content_name, recipe.size)[:, :height, :width]
        style = engine_pictures.style(style_name, recipe.size)
        began = now()
        begun, first = 0.0, began
        for number, step in enumerate(engine.paint(content, [(style, 1.0)], recipe)):
            if number == 0 and step.done < 1:
                begun, first = step.done, now()
        stepped = since(first)
        step.summarise()
        painted = since(began)
        sides = (content.shape[1], content.shape[2])
        told = ["unknown", f"{painted['wall']:.2f} s", "", ""]
        for column, clock in enumerate(CLOCKS, 2):
            rates[clock].note(recipe, engine.network(recipe).name, sides, step.done - begun, stepped[clock])
            if (estimated_s := estimated[clock]) is not None:
                if estimated_s < 0:
                    sys.exit(f"{job.recipe}: estimated at {estimated_s} s")
                errors[clock].append(abs(estimated_s / painted[clock] - 1))
                told[column] = f"{errors[clock][-1]:.0%}"
        if estimated["wall"] is not None:
            told[0] = f"{estimated['wall']:.2f} s"
        table.add_row(
            f"{getattr(recipe, 'preset', 'fast')} {getattr(recipe, 'optimizer', '')} {width} x {height}", *told
        )
    Console().print(table)
    figures = {
        "median_error": median(errors["wall"]),
        "median_error_processor": median(errors["processor"]),
        "worst_error": max(errors["wall"]),
        "estimated": len(errors["wall"]),
        "jobs": JOBS,
        "load_15_min": os.getloadavg()[2],
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))
    if not QUICK and figures["median_error"] >= MUST:
        sys.exit(f"the median error is {figures['median_error']:.0%}, at most {MUST:.0%} is promised")


def worker(engine: Engine, rates: Rates) -> LiveWorker:
    """What a worker with this engine would have told by now."""
    return LiveWorker(
        name="bench@here",
        host="here",
        started_at=datetime.now(UTC),
        version=__version__,
        device=engine.device,
        precision=engine.precision,
        queues=("paint", "fast"),
        networks=engine.networks(),
        rates=rates.all(),
    )


def now() -> dict[str, float]:
    """What each clock shows."""
    return {clock: read() for clock, read in CLOCKS.items()}


def since(moment: dict[str, float]) -> dict[str, float]:
    """Seconds by each clock."""
    return {clock: then - moment[clock] for clock, then in now().items()}


if __name__ == "__main__":
    main()
