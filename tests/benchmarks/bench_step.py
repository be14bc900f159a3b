"""Seconds for one evaluation of loss and gradient, by preset, precision and size; in float32 as it is, and by direct
convolutions alone, in turns.

Run `python -m tests.benchmarks.bench_step [size_px ...]` with the networks in the model directory.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import tensorflow as tf

from stylequeue.contract.recipe import PresetName
from stylequeue.settings import Settings
from stylequeue_worker import models
from stylequeue_worker.engine.networks import Vgg
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
    with patch("stylequeue_worker.engine.networks._WIDE", math.inf):
        direct = load("vgg16", path)
    sizes = [int(argument) for argument in sys.argv[1:]] or [256, 384, 512]
    print("| preset | size (px) | float32, seconds a step | direct convolutions | ratio | bfloat16 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in ("tf-tutorial", "painterly"):
        for size in sizes:
            picture = tf.constant(np.random.default_rng(0).uniform(size=(1, size, size, 3)), tf.float32)
            networks = (network, direct, network.cast(tf.bfloat16))
            steps = [evaluation(each, name, picture, picture) for each in networks]
            for step in steps:  # what is timed should not be compiled first
                step()
                step()
            rounds = [[seconds(step) for step in steps] for _ in range(EVALUATIONS)]
            own_s, direct_s, halved_s = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratio = direct_s / own_s
            print(f"| {name} | {size} | {own_s:.3f} | {direct_s:.3f} | {ratio:.2f} | {halved_s:.3f} |", flush=True)


def evaluation(network: Vgg, name: PresetName, picture: tf.Tensor, painting: tf.Tensor) -> Callable[[], object]:
    """One of the preset's loss and its gradient, of the terms that all have. Pictures are float32 [1, H, W, 3]."""
    objective = Objective(network, PRESETS[name])
    [view, *_] = objective.views(picture)
    targets = objective.targets(scene(picture, [(painting, 1.0)]), view, TERMS)
    weights = {term: tf.constant(1.0) for term in TERMS}
    return lambda: objective.evaluate(picture, targets, weights, view).gradient.numpy()


def seconds(work: Callable[[], object]) -> float:
    """That it takes."""
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main()
