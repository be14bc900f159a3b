"""The engine's speed and memory beside what else does the same, alternating in one run on all cores.

    make bench-engine [QUICK=1]

Writes `bench-output/engine.json` and a table. Everything is compiled and warm before its time counts. QUICK, a minute
or two, tries all of it on small pictures, for fewer steps, once: its figures say little.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
from stylequeue_worker.engine.steps import Step
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
OUR_SHARE = {SHORT: 0.375, LONG: 0.55}
"""Of the baseline's steps: what ours is given, so that its rate has fallen about where the loss is to be reached."""
WARM_STEPS = 3
SLICE_STEPS = 10
"""Of theirs, between which ours goes on, so that what else the machine does slows both."""
STRIDE = 8
"""Between the pictures of ours whose loss is asked for first: one takes as long as half a step."""


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


def is_faster_by_xla(photo: np.ndarray, painting: np.ndarray) -> bool:
    """Whether the baseline takes a step in less time when XLA compiles it here, in turns."""
    both = [PlainTutorial(_vgg16_path(), photo, painting, xla=xla) for xla in (False, True)]
    for each in both:
        each.step()
    times = [[seconds(each.step) for each in both] for _ in range(ROUNDS)]
    plain_s, xla_s = (median(column) for column in zip(*times, strict=True))
    return bool(xla_s < plain_s)


def our_fraction() -> float:
    """The same of our evaluation of the same loss, in the precision that `auto` takes."""
    picture, painting = tf.constant(content(pairs()[0][0], SIZE_PX)), tf.constant(style(pairs()[0][1], SIZE_PX))
    dtype = fast_dtype()
    step = evaluation(load("vgg16", _vgg16_path()).cast(dtype), "tf-tutorial", picture, painting)
    step()
    peak, flop = matmul_flops(dtype), step_flop(*picture.shape[1:3])
    return median(flop / seconds(step) / peak() for _ in range(ROUNDS))


@dataclass
class Racer:
    """A painting of ours on its way, with the seconds it had taken when each of its pictures was there."""

    painting: Iterator[Step]
    steps: int
    spent_s: float = 0.0
    pictures: list[tuple[float, np.ndarray]] = field(default_factory=list)

    def go_on(self, share: float) -> None:
        """Until that share of its steps is done."""
        while len(self.pictures) < share * self.steps:
            began_s = time.perf_counter()
            step = next(self.painting)
            self.spent_s += time.perf_counter() - began_s
            self.pictures.append((self.spent_s, step.picture))

    def reached(self, goal: float, loss_of: Callable[[np.ndarray], float]) -> int | None:
        """After how many evaluations the loss was no higher than `goal`; found in strides, then step by step."""

        def is_there(number: int) -> bool:
            return loss_of(self.pictures[number - 1][1]) <= goal

        done = len(self.pictures)
        for last in (*range(STRIDE, done, STRIDE), done):
            if is_there(last):
                return next(number for number in range(max(1, last - STRIDE + 1), last + 1) if is_there(number))
        return None


@dataclass(frozen=True)
class Ratio:
    """How many times faster than the baseline, which runs at so much of the machine's peak."""

    steps: int
    ratio: float
    baseline_fraction: float


def tutorial_ratios(engine: Engine, pair: tuple[str, str], table: Table, *, xla: bool) -> list[Ratio]:
    """The baseline's seconds for SHORT and LONG steps over ours until its loss then, in float32, is reached; else 0."""
    photo, painting = content(pair[0], SIZE_PX), style(pair[1], SIZE_PX)
    theirs = PlainTutorial(_vgg16_path(), photo, painting, xla=xla)
    theirs.step()
    fraction = plain_fraction(theirs)
    theirs.restart()
    ours = {}
    for steps, share in OUR_SHARE.items():
        planned = int(share * steps)
        recipe = resolve(OptimizeRecipe(preset="tf-tutorial", optimizer=OPTIMIZER, steps=planned))
        for _ in zip(range(WARM_STEPS), engine.paint(photo, [(painting, 1.0)], recipe), strict=False):
            pass
        ours[steps] = Racer(engine.paint(photo, [(painting, 1.0)], recipe), planned)
    their_s, goals = 0.0, {}
    for done in range(SLICE_STEPS, LONG + 1, SLICE_STEPS):
        their_s += seconds(lambda: [theirs.step() for _ in range(SLICE_STEPS)])
        if done in ours:
            goals[done] = their_s, theirs.loss_of(theirs.picture)
        for steps, racer in ours.items():
            racer.go_on(min(1.0, done / steps))
    ratios = []
    for steps, (their_s, goal) in goals.items():
        pictures, number = ours[steps].pictures, ours[steps].reached(goal, theirs.loss_of)
        if number:
            our_s = pictures[number - 1][0]
            needed = f"{our_s:.1f} s, {number} evaluations"
        else:
            our_s = math.inf
            needed = f"not reached: {theirs.loss_of(pictures[-1][1]) / goal:.4f} of it in the end"
        whose = f"{their_s:.1f} s{', XLA' if xla else ''}, {fraction:.2f} of the peak"
        row = f"{' / '.join(pair)}, the loss after {steps} steps", whose, needed, f"{their_s / our_s:.2f}"
        print("; ".join(row), flush=True)
        table.add_row(*row)
        ratios.append(Ratio(steps, their_s / our_s, fraction))
    return ratios


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
    xla = is_faster_by_xla(content(PAIRS[0][0], SIZE_PX), style(PAIRS[0][1], SIZE_PX))
    found = [ratio for pair in PAIRS for ratio in tutorial_ratios(engine, pair, table, xla=xla)]
    of_short, of_long = ([each.ratio for each in found if each.steps == steps] for steps in (SHORT, LONG))
    figures = {
        f"tutorial_ratio_{SHORT}": median(of_short),
        f"tutorial_ratio_{SHORT}_least": min(of_short),
        f"tutorial_ratio_{LONG}": median(of_long),
        f"tutorial_ratio_{LONG}_least": min(of_long),
        "baseline_peak_fraction": median(each.baseline_fraction for each in found),
        "baseline_by_xla": xla,
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
