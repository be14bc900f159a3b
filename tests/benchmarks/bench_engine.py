"""The engine's speed and memory beside what else does the same, alternating in one run on all cores.

    make bench-engine [QUICK=1]

Writes `bench-output/engine.json` and a table. Everything is compiled and warm before its time counts. QUICK, a minute
or two, tries all of it on small pictures, for fewer steps, once: its figures say little.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, OptimizerName, resolve
from stylequeue.settings import Settings
from stylequeue_worker import models
from stylequeue_worker.engine import Engine
from stylequeue_worker.engine.precision import fast_dtype
from stylequeue_worker.engine.weights import load
from tests.benchmarks import engine_memory
from tests.benchmarks.bench_step import evaluation, seconds
from tests.benchmarks.engine_pictures import all_pairs, content, pairs, style
from tests.benchmarks.plain_tutorial import PlainTutorial
from tests.support.onnx_float import float_session

QUICK = bool(os.environ.get("QUICK"))
OUTPUT = Path("bench-output/engine.json")
SIZE_PX = 96 if QUICK else 256
SHORT, LONG = (20, 40) if QUICK else (300, 1000)
ROUNDS = 1 if QUICK else 5
"""Of everything whose median is taken."""
PAIRS = all_pairs()[: 1 if QUICK else 9]
FAST_PX = 256 if QUICK else 512
WHOLE_PX, TILED_PX = (256, 512) if QUICK else (1024, 2048)
TILED_BUDGET_BYTES = 250_000_000 if QUICK else 2_000_000_000
OPTIMIZER: OptimizerName = "swift"
OUR_SHARE = {SHORT: 0.3, LONG: 0.375}
"""Of the baseline's steps: what ours is given, so that its falling rate ends where the loss is to be reached."""
WARM_STEPS = 3
SLICE_STEPS = 10
"""Of ours and of theirs, in turns, so that what else the machine does slows both."""


def step_flop(height: int, width: int) -> float:
    """Of one evaluation of the tutorial's loss and its gradient: VGG-16's convolutions and the Gram products."""
    flop, channels_in = 0.0, 3
    for block, (convolutions, channels) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (2, 512)]):
        pixels = (height >> block) * (width >> block)
        for _ in range(convolutions):
            flop += 2 * (2 * pixels * 9 * channels_in * channels)  # forward, and back to its input
            channels_in = channels
        flop += 2 * (2 * pixels * channels**2)  # Gram product, and back
    return flop


def matmul_flops(dtype: tf.DType) -> Callable[[], float]:
    """Measures the rate of a large matrix product."""
    side = 4096
    matrix = tf.cast(tf.random.normal((side, side), seed=0), dtype)
    product = tf.function(lambda: tf.matmul(matrix, matrix)[0, 0])
    product()
    return lambda: 2 * side**3 / seconds(lambda: product().numpy())


def plain_fraction(theirs: PlainTutorial) -> float:
    """Floating-point rate of the baseline's step over the machine's peak in float32: whether it is a straw man."""
    peak, flop = matmul_flops(tf.float32), step_flop(*theirs.picture.shape[1:3])
    return median(flop / seconds(theirs.step) / peak() for _ in range(ROUNDS))


def faster_baseline(photo: np.ndarray, painting: np.ndarray) -> PlainTutorial:
    """Plain, or compiled by XLA: what takes a step in less time here, in turns. Compiled and warm."""
    both = [PlainTutorial(_vgg16_path(), photo, painting, xla=xla) for xla in (False, True)]
    for each in both:
        each.step()
    times = [[seconds(each.step) for each in both] for _ in range(ROUNDS)]
    plain_s, xla_s = (median(column) for column in zip(*times, strict=True))
    return both[0] if plain_s <= xla_s else both[1]


def our_fraction() -> float:
    """The same of our evaluation of the same loss, in the precision that `auto` takes."""
    picture, painting = tf.constant(content(pairs()[0][0], SIZE_PX)), tf.constant(style(pairs()[0][1], SIZE_PX))
    dtype = fast_dtype()
    step = evaluation(load("vgg16", _vgg16_path()).cast(dtype), "tf-tutorial", picture, painting)
    step()
    peak, flop = matmul_flops(dtype), step_flop(*picture.shape[1:3])
    return median(flop / seconds(step) / peak() for _ in range(ROUNDS))


@dataclass(frozen=True)
class Ratio:
    """How many times faster than the baseline, which runs at so much of the machine's peak, by XLA or without."""

    ratio: float
    baseline_fraction: float
    baseline_xla: bool


def tutorial_ratio(engine: Engine, pair: tuple[str, str], steps: int, table: Table) -> Ratio:
    """The baseline's seconds for `steps` steps over ours until its loss then, in float32, is reached; else 0."""
    photo, painting = content(pair[0], SIZE_PX), style(pair[1], SIZE_PX)
    recipe = resolve(OptimizeRecipe(preset="tf-tutorial", optimizer=OPTIMIZER, steps=int(OUR_SHARE[steps] * steps)))
    theirs = faster_baseline(photo, painting)
    fraction = plain_fraction(theirs)
    theirs.restart()
    for _ in zip(range(WARM_STEPS), engine.paint(photo, [(painting, 1.0)], recipe), strict=False):
        pass
    ours = engine.paint(photo, [(painting, 1.0)], recipe)
    their_s, our_s, pictures = 0.0, 0.0, []
    for _ in range(steps // SLICE_STEPS):
        their_s += seconds(lambda: [theirs.step() for _ in range(SLICE_STEPS)])
        for _ in range(SLICE_STEPS):
            began_s = time.perf_counter()
            step = next(ours, None)
            our_s += time.perf_counter() - began_s
            if step:
                pictures.append((our_s, step.picture))
    goal = theirs.loss_of(theirs.picture)
    reached = next(
        ((spent_s, number) for number, (spent_s, picture) in enumerate(pictures, 1) if theirs.loss_of(picture) <= goal),
        None,
    )
    ratio = their_s / reached[0] if reached else 0.0
    needed = f"{reached[0]:.1f} s, {reached[1]} evaluations" if reached else "not reached"
    whose = f"{their_s:.1f} s{', XLA' if theirs.xla else ''}, {fraction:.2f} of the peak"
    table.add_row(f"{' / '.join(pair)}, the loss after {steps} steps", whose, needed, f"{ratio:.2f}")
    return Ratio(ratio, fraction, theirs.xla)


def told(found: Ratio, pair: tuple[str, str], steps: int) -> Ratio:
    """How far the benchmark is, as it goes."""
    print(
        f"{' / '.join(pair)}, {steps} steps: {found.ratio:.2f}; baseline at {found.baseline_fraction:.2f} of the peak",
        flush=True,
    )
    return found


def fast_ratio(engine: Engine, table: Table) -> float:
    """onnxruntime's seconds for a fast picture, in float32 as ours, over ours."""
    photo, painting = content(pairs()[0][0], FAST_PX), style(pairs()[0][1], FAST_PX)
    square = np.asarray(tf.image.resize(painting, (256, 256), antialias=True))
    predict = float_session("arbitrary_predict.onnx", square.shape)
    paint = float_session("arbitrary_transform.onnx", photo.shape, (1, 1, 1, 100))

    def theirs() -> None:
        [vector] = predict.run(None, {predict.get_inputs()[0].name: square})
        paint.run(None, dict(zip((i.name for i in paint.get_inputs()), (photo, vector), strict=True)))

    def ours() -> None:
        list(engine.paint(photo, [(painting, 1.0)], resolve(FastRecipe())))

    theirs()
    ours()
    times = [(seconds(theirs), seconds(ours)) for _ in range(4 * ROUNDS)]
    their_s, our_s = (float(median(column)) for column in zip(*times, strict=True))
    table.add_row(f"fast, {FAST_PX} px (onnxruntime)", f"{their_s:.3f} s", f"{our_s:.3f} s", f"{their_s / our_s:.2f}")
    return their_s / our_s


def main() -> None:
    engine = Engine(Settings().models)
    engine.warm_up(["optimize", "fast"])
    table = Table("", "baseline", "ours", "ratio", title=f"{SIZE_PX} px, {os.cpu_count()} processors")
    of_short, of_long = (
        [told(tutorial_ratio(engine, pair, steps, table), pair, steps) for pair in PAIRS] for steps in (SHORT, LONG)
    )
    both = [*of_short, *of_long]
    figures = {
        f"tutorial_ratio_{SHORT}": median(each.ratio for each in of_short),
        f"tutorial_ratio_{SHORT}_least": min(each.ratio for each in of_short),
        f"tutorial_ratio_{LONG}": median(each.ratio for each in of_long),
        f"tutorial_ratio_{LONG}_least": min(each.ratio for each in of_long),
        "baseline_peak_fraction": median(each.baseline_fraction for each in both),
        "baseline_by_xla": sum(each.baseline_xla for each in both) / len(both),
        "peak_fraction": our_fraction(),
        "bytes_per_pixel": engine_memory.measure(WHOLE_PX) / WHOLE_PX**2,
        "tiled_peak_mb": engine_memory.measure(TILED_PX, TILED_BUDGET_BYTES) / 1e6,
        "fast_ratio": fast_ratio(engine, table),
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(figures, indent=2) + "\n")
    for name, figure in figures.items():
        table.add_row(name, "", "", f"{figure:.2f}")
    Console().print(table)


def _vgg16_path() -> Path:
    path = models.find("vgg16", Settings().models)
    if path is None:
        sys.exit("vgg16 is not in the model directory: `make networks` makes it")
    return path


if __name__ == "__main__":
    main()
