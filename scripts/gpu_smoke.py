"""Try the engine on this machine's GPU: what it takes, how fast it is, and whether it computes what a processor does.

    make gpu-smoke                     or, in the worker's environment, with a model directory that holds VGG:
    python scripts/gpu_smoke.py [--cpu] [--sizes 256 512 1024] [--steps 28] [--shapes 30] [--presets brushwork ...]

Under ten minutes. Writes a table and `bench-output/gpu.json` (`--output`). Each part is done in a process of its own,
the processor's half of a comparison in one that sees no GPU. Ends with 0 where all is well, 1 where something is wrong,
2 where there is no GPU. `--cpu` rehearses all of it on the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

SAMPLES = Path(__file__).parents[1] / "producer" / "stylequeue" / "local" / "samples"
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-3, 1e-2
"""Relative, of one evaluation in float32: sums in another order, and which of two alike a pooling takes."""
RUN_STEPS = 14
RUN_TOLERANCE = 0.05
"""Relative, of the loss a short run ends with: precision is the device's own choice, and small differences grow."""
MOST_PROGRAMS = 40
WHOLE_S = 570
"""For all parts together; what has no time left is left out, which is wrong."""
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}


@dataclass
class Findings:
    """What was tried, and what is wrong."""

    figures: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def show(self, what: str, value: object, wrong: str | None = None) -> None:
        """A line of the table; where `wrong` says something, that counts."""
        print(f"{what:<52} {value}{f'   WRONG: {wrong}' if wrong else ''}", flush=True)
        self.figures[what] = value
        if wrong:
            self.wrong.append(f"{what}: {wrong}")


@dataclass
class Parts:
    """Runs parts of this script, each as a process of its own."""

    arguments: argparse.Namespace
    began_s: float = field(default_factory=time.monotonic)

    def run(self, part: str, *given: object, on_processor: bool = False) -> dict[str, Any]:
        """What it found. Raises RuntimeError with the end of what it wrote to stderr, or where no time is left."""
        left_s = WHOLE_S - (time.monotonic() - self.began_s)
        command = [sys.executable, __file__, "--part", part, *map(str, given)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"} | (
            NO_GPU if on_processor or self.arguments.cpu else {}
        )
        with tempfile.TemporaryFile("w+") as errors:
            try:
                done = subprocess.run(  # noqa: S603 - itself
                    command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=max(left_s, 1)
                )
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"not done within the {WHOLE_S} s of all") from None
            errors.seek(0)
            if done.returncode:
                raise RuntimeError(errors.read().strip()[-800:])
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def main() -> int:
    """Try everything; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cpu", action="store_true", help="run on the processor, to try the script itself")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024], help="longest sides in pixels")
    parser.add_argument("--steps", type=int, default=28, help="of the pictures that are timed")
    parser.add_argument("--shapes", type=int, default=30, help="how many are painted to see what is compiled for them")
    parser.add_argument("--presets", nargs="+", default=["brushwork", "painterly", "tf-tutorial"])
    parser.add_argument("--output", type=Path, default=Path("bench-output/gpu.json"))
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        name, *given = arguments.part
        print(json.dumps(PARTS[name](*given)))
        return 0
    findings, parts = Findings(), Parts(arguments)
    try:
        device = parts.run("device")
    except RuntimeError as error:
        findings.show("device", "none", str(error))
        device = {}
    if device and not device["gpu"] and not arguments.cpu:
        print(
            f"no GPU found. {device['tensorflow']}. Look at `nvidia-smi`, at CUDA_VISIBLE_DEVICES, and whether "
            "the extra `gpu` is installed. With --cpu all runs on the processor.",
            file=sys.stderr,
        )
        return 2
    if device:
        try_all(arguments, device, parts, findings)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    took_s = round(time.monotonic() - parts.began_s)
    arguments.output.write_text(json.dumps({**findings.figures, "took_s": took_s, "wrong": findings.wrong}, indent=2))
    print(f"\n{took_s} s; {arguments.output}")
    print("all is well" if not findings.wrong else "wrong:\n  " + "\n  ".join(findings.wrong))
    return 1 if findings.wrong else 0


def try_all(arguments: argparse.Namespace, device: dict[str, Any], parts: Parts, findings: Findings) -> None:
    """One after the other; what is found to be wrong is noted and the rest goes on."""
    for what, value in device.items():
        findings.show(what, value)
    smallest_px, first = arguments.sizes[0], arguments.presets[0]
    trials: list[tuple[str, Callable[[], None]]] = [
        *(
            (f"{preset}: parity", lambda p=preset: compare(p, smallest_px, parts, findings))
            for preset in arguments.presets
        ),
        *(
            (
                f"{preset} at {size_px} px",
                lambda p=preset, s=size_px: show_speed(p, s, arguments.steps, parts, findings),
            )
            for preset in arguments.presets
            for size_px in arguments.sizes
        ),
        ("shapes", lambda: show_shapes(first, arguments.shapes, smallest_px, parts, findings)),
        ("two processes", lambda: show_two(first, smallest_px, arguments.steps, parts, findings)),
    ]
    for what, trial in trials:
        try:
            trial()
        except RuntimeError as error:
            findings.show(what, "not done", str(error))


def compare(preset: str, size_px: int, parts: Parts, findings: Findings) -> None:
    """One evaluation in float32 and a short run, in the processor's process and in the device's; the latter twice."""
    with tempfile.TemporaryDirectory() as directory:
        files = [Path(directory) / f"{half}.npz" for half in ("there", "here")]
        there = parts.run("half", preset, size_px, files[0], on_processor=True)
        here = parts.run("half", preset, size_px, files[1])
        gradients = [np.load(file)["gradient"] for file in files]
    loss = abs(here["total"] / there["total"] - 1)
    gradient = float(np.linalg.norm(gradients[1] - gradients[0]) / np.linalg.norm(gradients[0]))
    wrong = f"at most {LOSS_TOLERANCE:.0e} and {GRADIENT_TOLERANCE:.0e} are rounding"
    alike = loss <= LOSS_TOLERANCE and gradient <= GRADIENT_TOLERANCE
    findings.show(f"{preset}: loss against the processor", f"{loss:.1e}", None if alike else wrong)
    findings.show(f"{preset}: gradient against the processor", f"{gradient:.1e}")
    off = abs(here["run"] / there["run"] - 1)
    wrong = f"at most {RUN_TOLERANCE} is what precision explains"
    findings.show(f"{preset}: loss after {RUN_STEPS} steps", f"{off:.1e}", None if off <= RUN_TOLERANCE else wrong)
    # Promised only where it is asked for: else it is told.
    broken = here["deterministic"] and not here["same"]
    wrong = "STYLEQUEUE_DETERMINISTIC is on, and the same seed gave two pictures"
    findings.show(f"{preset}: the same bytes twice", here["same"], wrong if broken else None)


def show_speed(preset: str, size_px: int, steps: int, parts: Parts, findings: Findings) -> None:
    """Steps a second at full size, pictures an hour, and the most memory meanwhile beside what was planned."""
    found = parts.run("speed", preset, size_px, steps)
    name = f"{preset} at {size_px} px"
    findings.show(
        f"{name}: steps a second", found["steps_a_second"], None if found["sound"] else "no picture came of it"
    )
    findings.show(f"{name}: pictures an hour", found["pictures_an_hour"])
    findings.show(f"{name}: seconds to the first step", found["first_s"])
    findings.show(f"{name}: peak MB, planned MB", [found["peak_mb"], found["planned_mb"]])


def show_shapes(preset: str, shapes: int, size_px: int, parts: Parts, findings: Findings) -> None:
    """What is compiled for photographs of many shapes."""
    found = parts.run("shapes", preset, shapes, size_px)
    wrong = f"more than {MOST_PROGRAMS}" if found["programs"] > MOST_PROGRAMS else None
    findings.show(f"{preset}: programs compiled for {shapes} shapes", found["programs"], wrong)
    findings.show(f"{preset}: seconds a picture, the first and the last", found["seconds"])


def show_two(preset: str, size_px: int, steps: int, parts: Parts, findings: Findings) -> None:
    """Two processes at once: their pictures an hour together over those of one alone."""
    alone = parts.run("speed", preset, size_px, steps)["pictures_an_hour"]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: parts.run("speed", preset, size_px, steps)["pictures_an_hour"], range(2)))
    findings.show(f"two processes, {preset} at {size_px} px: gain", round(sum(both) / alone, 2))


# What follows runs in a process of its own.


def sample(name: str, height: int, width: int) -> np.ndarray:
    """A sample picture, float32 [1, height, width, 3] in [0, 1]."""
    from PIL import Image

    with Image.open(SAMPLES / f"{name}.jpg") as picture:
        return np.asarray(picture.convert("RGB").resize((width, height)), np.float32)[None] / 255


def engine_and_recipe(preset: str, steps: int) -> tuple[Any, Any]:
    """As a worker has it here, warm, and the preset's recipe with so many steps."""
    from stylequeue.contract.recipe import OptimizeRecipe, resolve
    from stylequeue.settings import Settings
    from stylequeue_worker.engine import Engine
    from stylequeue_worker.work.options import options_of

    settings = Settings.load()
    engine = Engine(settings.models, None, options_of(settings), settings.network_sha256)
    engine.warm_up(["optimize"])
    return engine, resolve(OptimizeRecipe.model_validate({"preset": preset, "steps": steps}))


def device() -> dict[str, Any]:
    """The device, and how TensorFlow is set up for it."""
    engine, recipe = engine_and_recipe("brushwork", 1)
    import tensorflow as tf

    built = "is" if tf.test.is_built_with_cuda() else "is not"
    gpus = tf.config.list_physical_devices("GPU")
    found = {"tensorflow": f"TensorFlow {tf.__version__} {built} built for CUDA", "gpu": len(gpus)}
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        found["compute capability"] = ".".join(map(str, details.get("compute_capability", ("unknown",))))
    network = engine.network(recipe)
    return found | {
        "device": engine.device,
        "precision that `auto` takes": engine.precision,
        "network": f"{network.name} ({network.digest[:12]})",
    }


def half(preset: str, size: str, file: str) -> dict[str, Any]:
    """One evaluation in float32, its gradient in `file`; what a short run ends with, and whether it does so again."""
    import tensorflow as tf

    from stylequeue.contract.memory import GPUS_GRID_PX
    from stylequeue.settings import Settings
    from stylequeue_worker import models
    from stylequeue_worker.engine.device import on_gpu
    from stylequeue_worker.engine.objective import TERMS, Objective
    from stylequeue_worker.engine.presets import PRESETS
    from stylequeue_worker.engine.terms import scene
    from stylequeue_worker.engine.weights import load

    engine, recipe = engine_and_recipe(preset, RUN_STEPS)
    settings, name = Settings.load(), engine.network(recipe).name
    path = models.find(name, settings.models)
    if path is None:
        raise FileNotFoundError(name)
    network = load(name, path)
    objective = Objective(network.on_grid(GPUS_GRID_PX) if on_gpu() else network, PRESETS[preset])  # type: ignore[index]
    content, style = (sample(picture, int(size), int(size)) for picture in ("coffee", "swirls"))
    # Away from the content, where its loss has no slope.
    picture = tf.constant(0.7 * content + 0.3 * content[:, :, ::-1])
    view = objective.views(picture)[-1]
    targets = objective.targets(scene(tf.constant(content), [(tf.constant(style), 1.0)]), view)
    # The recipe has none for matching.
    weights = {term: tf.constant(getattr(recipe, f"{term}_weight", 1.0), tf.float32) for term in objective.terms}
    evaluation = objective.evaluate(picture, targets, weights, view)
    np.savez(file, gradient=evaluation.gradient.numpy())
    first, second = (list(engine.paint(content, [(style, 1.0)], recipe))[-1] for _ in range(2))
    losses = first.summarise().losses
    return {
        "total": float(evaluation.total),
        "run": sum(float(getattr(recipe, f"{term}_weight")) * losses[term] for term in TERMS),
        "same": bool(np.array_equal(first.picture, second.picture)),
        "deterministic": settings.deterministic,
    }


def speed(preset: str, size: str, steps: str) -> dict[str, Any]:
    """Of a picture of so many steps, after one that was painted to compile what it needs."""
    import tensorflow as tf

    from stylequeue.contract.recipe import PRESETS

    engine, recipe = engine_and_recipe(preset, int(steps))
    content, style = (sample(picture, int(size), int(size)) for picture in ("coffee", "swirls"))
    began_s = time.perf_counter()
    first_s = 0.0
    for _ in engine.paint(content, [(style, 1.0)], recipe):
        first_s = first_s or time.perf_counter() - began_s
    gpu, taken_bytes = bool(tf.config.list_physical_devices("GPU")), 0
    memory = partial(tf.config.experimental.get_memory_info, "GPU:0")
    if gpu:
        tf.config.experimental.reset_memory_stats("GPU:0")
        # Which the plan leaves out.
        taken_bytes = memory()["current"]
    began_s = time.perf_counter()
    seen = [(time.perf_counter(), step) for step in engine.paint(content, [(style, 1.0)], recipe)]
    took_s, last = time.perf_counter() - began_s, seen[-1][1]
    at_size = [(moment_s, step) for moment_s, step in seen if step.size_px == int(size)]
    spans = [(later_s - earlier_s, now.step - before.step) for (earlier_s, before), (later_s, now) in pairwise(at_size)]
    whole_s = took_s * PRESETS[preset].steps / int(steps)  # type: ignore[index]
    return {
        "steps_a_second": round(sum(n for _, n in spans) / sum(s for s, _ in spans), 2) if spans else None,
        "pictures_an_hour": round(3600 / whole_s, 1),
        "first_s": round(first_s, 1),
        "peak_mb": round((memory()["peak"] - taken_bytes) / 1e6) if gpu else None,
        "planned_mb": round(last.plan.peak_bytes / 1e6),
        "sound": bool(np.isfinite(last.picture).all() and last.picture.std() > 0),
    }


def shapes(preset: str, count: str, size: str) -> dict[str, Any]:
    """How many programs are compiled for photographs of so many shapes, and how long the first and the last took."""
    import tensorflow as tf

    compiled, function = 0, tf.function

    def counted(python: Any = None, **options: Any) -> Any:
        if python is None:  # a decorator with options
            return lambda decorated: counted(decorated, **options)

        def noted(*arguments: Any, **named: Any) -> Any:
            nonlocal compiled
            compiled += 1
            return python(*arguments, **named)

        return function(noted, **options)

    tf.function = counted
    engine, recipe = engine_and_recipe(preset, 4)
    random, seconds = np.random.default_rng(0), []
    for _ in range(int(count)):
        longest_px, shorter_px = int(size), int(random.integers(int(size) // 2, int(size) + 1))
        content = sample("coffee", *((longest_px, shorter_px) if random.random() < 0.5 else (shorter_px, longest_px)))
        began_s = time.perf_counter()
        for _step in engine.paint(content, [(sample("swirls", 64, 64), 1.0)], recipe):
            pass
        seconds.append(round(time.perf_counter() - began_s, 2))
    return {"programs": compiled, "seconds": [seconds[0], seconds[-1]]}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {"device": device, "half": half, "speed": speed, "shapes": shapes}

if __name__ == "__main__":
    sys.exit(main())
