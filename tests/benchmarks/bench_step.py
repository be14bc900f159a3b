"""Seconds for one evaluation of loss and gradient, by preset, precision and size.

Run `python -m tests.benchmarks.bench_step [size_px ...]` with the networks in the model directory.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
import tensorflow as tf

from stylequeue.contract.recipe import PresetName
from stylequeue.settings import Settings
from stylequeue_worker import models
from stylequeue_worker.engine.objective import TERMS, Objective
from stylequeue_worker.engine.presets import PRESETS
from stylequeue_worker.engine.terms import scene
from stylequeue_worker.engine.weights import load

EVALUATIONS = 9


def main() -> None:
    """Print the table."""
    path = models.find("vgg16", Settings().models)
    if path is None:
        sys.exit("vgg16 is not in the model directory: `make networks` makes it")
    network = load("vgg16", path)
    sizes = [int(argument) for argument in sys.argv[1:]] or [256, 384, 512]
    random = np.random.default_rng(0)
    print("| preset | precision | size (px) | seconds a step |\n| --- | --- | --- | --- |")
    cases: list[tuple[PresetName, tf.DType]] = [
        ("tf-tutorial", tf.float32),
        ("painterly", tf.float32),
        ("painterly", tf.bfloat16),
    ]
    for name, dtype in cases:
        objective = Objective(network.cast(dtype), PRESETS[name])
        for size in sizes:
            picture = tf.constant(random.uniform(size=(1, size, size, 3)), tf.float32)
            view = objective.views(picture)[0]
            targets = objective.targets(scene(picture, [(picture, 1.0)]), view)
            weights = {term: tf.constant(1.0) for term in TERMS}
            seconds = []
            for _ in range(EVALUATIONS + 2):  # the first two compile
                started = time.perf_counter()
                float(objective.evaluate(picture, targets, weights, view).total)
                seconds.append(time.perf_counter() - started)
            print(f"| {name} | {dtype.name} | {size} | {statistics.median(seconds[2:]):.3f} |", flush=True)


if __name__ == "__main__":
    main()
