"""Try the engine on this machine's GPU: what it takes, how fast it is, and whether it computes what a processor does.

    make gpu-smoke                     or, in the worker's environment, with a model directory that holds VGG:
    python scripts/gpu_smoke.py [--cpu] [--sizes 256 512 1024] [--steps 30] [--presets painterly ...]

Ends with 0 where all is well, 1 where something is wrong, 2 where there is no GPU. With `--cpu` all of it runs on the
processor.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import tensorflow as tf

from stylequeue.contract.errors import StyleQueueError
from stylequeue.contract.recipe import OptimizeRecipe, PresetName, ResolvedOptimizeRecipe, resolve
from stylequeue.settings import Settings
from stylequeue_worker import models
from stylequeue_worker.engine import Engine, Step
from stylequeue_worker.engine.networks import fast_dtype
from stylequeue_worker.engine.objective import TERMS, Objective
from stylequeue_worker.engine.presets import PRESETS
from stylequeue_worker.engine.weights import load
from stylequeue_worker.pictures import images

SAMPLES = Path(__file__).parents[1] / "producer" / "stylequeue" / "local" / "samples"
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-3, 1e-2
"""Relative, of one evaluation in float32: sums in another order, and which of two alike a pooling takes."""
RUN_STEPS = 14
RUN_TOLERANCE = 0.05
"""Relative, of the loss a short run ends with: precision is the device's own choice, and small differences grow."""
LAST_SCALE = 2 / 7
"""What `painterly` takes of its steps at full size."""


@dataclass
class Findings:
    """What was tried, and what is wrong."""

    wrong: list[str] = field(default_factory=list)

    def show(self, what: str, value: object, wrong: str | None = None) -> None:
        """A line; where `wrong` says something, that counts."""
        print(f"{what:<50} {value}{f'   WRONG: {wrong}' if wrong else ''}", flush=True)
        if wrong:
            self.wrong.append(f"{what}: {wrong}")


def main() -> int:
    """Try everything; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cpu", action="store_true", help="run on the processor, to try the script itself")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024], help="longest sides in pixels")
    parser.add_argument("--steps", type=int, default=30, help="how many are timed at each size")
    parser.add_argument("--presets", nargs="+", default=["painterly", "tf-tutorial"], choices=list(PRESETS))
    arguments = parser.parse_args()
    if arguments.cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # read when TensorFlow first looks
    elif not tf.config.list_physical_devices("GPU"):
        built = "is" if tf.test.is_built_with_cuda() else "is not"
        print(
            f"no GPU found. This TensorFlow ({tf.__version__}) {built} built for CUDA. Look at `nvidia-smi`, at "
            "CUDA_VISIBLE_DEVICES, and whether stylequeue[gpu] is installed. With --cpu all runs on the processor.",
            file=sys.stderr,
        )
        return 2
    device = "CPU:0" if arguments.cpu else "GPU:0"
    findings = Findings()
    try:
        try_all(device, arguments.presets, arguments.sizes, arguments.steps, findings)
    except StyleQueueError as error:
        findings.wrong.append(str(error))
    except (tf.errors.OpError, RuntimeError) as error:
        findings.wrong.append(f"{type(error).__name__}: {str(error)[:500]}")
    print("\n" + ("all is well" if not findings.wrong else "wrong:\n  " + "\n  ".join(findings.wrong)))
    return 1 if findings.wrong else 0


@contextmanager
def on(device: str) -> Iterator[None]:
    """Constants and arithmetic of what is inside are there."""
    with tf.device(f"/{device}"):
        yield


def try_all(device: str, presets: list[PresetName], sizes_px: list[int], steps: int, findings: Findings) -> None:
    """One after the other; what is found to be wrong is noted and the rest goes on."""
    model_dir = Settings.load().models
    engine = Engine(model_dir)
    # Before anything else: memory growth cannot be set once the GPU is in use.
    engine.warm_up(["optimize"])
    describe(device, findings)
    network = engine.network(recipe_of("painterly", 1))
    findings.show("network", f"{network.name} ({network.digest[:12]})")
    path = models.find(network.name, model_dir)
    if path is None:
        raise FileNotFoundError(network.name)
    for preset in presets:
        compare_evaluations(device, preset, network.name, path, sizes_px[0], findings)
        compare_runs(device, preset, model_dir, sizes_px[0], findings)
    compare_xla(device, network.name, path, sizes_px[0], steps, findings)
    for preset in presets:
        for size_px in sizes_px:
            time_steps(device, engine, preset, size_px, steps, findings)


def describe(device: str, findings: Findings) -> None:
    """The device, and how TensorFlow is set up for it."""
    findings.show("TensorFlow", tf.__version__)
    findings.show("precision that `auto` takes", fast_dtype().name)
    if device.startswith("CPU"):
        return
    [gpu, *others] = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpu)
    findings.show("device", details.get("device_name", "unknown") + (f", and {len(others)} more" if others else ""))
    findings.show("compute capability", ".".join(map(str, details.get("compute_capability", ("unknown",)))))
    growth = tf.config.experimental.get_memory_growth(gpu)
    findings.show("memory growth", growth, None if growth else "TensorFlow takes the whole GPU at once")
    rounded = tf.config.experimental.tensor_float_32_execution_enabled()
    wrong = "statistics and losses lose 13 of 23 bits; set NVIDIA_TF32_OVERRIDE=0 for the worker" if rounded else None
    findings.show("float32 products in TensorFloat-32", rounded, wrong)


def sample(name: str, size_px: int) -> np.ndarray:
    """A sample picture, float32 [1, H, W, 3] in [0, 1]."""
    data = (SAMPLES / f"{name}.jpg").read_bytes()
    return images.to_array(images.decode(data, size=size_px, max_pixels=10**7))


def recipe_of(preset: PresetName, steps: int) -> ResolvedOptimizeRecipe:
    """The preset's, with so many steps."""
    recipe = resolve(OptimizeRecipe(preset=preset, steps=steps))
    assert isinstance(recipe, ResolvedOptimizeRecipe)  # noqa: S101 - for the type checker
    return recipe


@dataclass(frozen=True)
class Evaluated:
    """Of one picture in float32."""

    total: float
    gradient: np.ndarray


def evaluate(device: str, preset: PresetName, name: str, path: Path, size_px: int) -> Evaluated:
    """The preset's loss and gradient, as the engine computes them on `device`."""
    with on(device):
        objective = Objective(load(name, path), PRESETS[preset])
        content, style = (tf.constant(sample(picture, size_px)) for picture in ("coffee", "swirls"))
        # Away from the content, where its loss has no slope.
        picture = 0.7 * content + 0.3 * tf.reverse(content, [2])
        view = objective.views(picture)[-1]
        targets = objective.content_target(content, view), objective.style_target([(style, 1.0)])
        weights = {term: tf.constant(getattr(recipe_of(preset, 1), f"{term}_weight"), tf.float32) for term in TERMS}
        evaluation = objective.evaluate(picture, *targets, weights, view)
        return Evaluated(float(evaluation.total), evaluation.gradient.numpy())


def compare_evaluations(
    device: str, preset: PresetName, name: str, path: Path, size_px: int, findings: Findings
) -> None:
    """One evaluation in float32, on the processor and on `device`."""
    there, here = (evaluate(where, preset, name, path, size_px) for where in (device, "CPU:0"))
    loss = abs(there.total / here.total - 1)
    gradient = float(np.linalg.norm(there.gradient - here.gradient) / np.linalg.norm(here.gradient))
    alike = loss <= LOSS_TOLERANCE and gradient <= GRADIENT_TOLERANCE
    wrong = None if alike else f"at most {LOSS_TOLERANCE:.0e} and {GRADIENT_TOLERANCE:.0e} are rounding"
    findings.show(f"{preset}: loss, gradient against the processor", f"{loss:.1e}, {gradient:.1e}", wrong)


def run(device: str, preset: PresetName, model_dir: Path, size_px: int, times: int) -> list[Step]:
    """The last step of a short painting, painted so many times."""
    lasts = []
    with on(device):
        engine = Engine(model_dir)
        content, style = sample("coffee", size_px), sample("swirls", size_px)
        for _ in range(times):
            *_, last = engine.paint(content, [(style, 1.0)], recipe_of(preset, RUN_STEPS))
            lasts.append(last)
    return lasts


def loss_of(last: Step, preset: PresetName) -> float:
    """The weighted loss of the picture that came out."""
    recipe, losses = recipe_of(preset, RUN_STEPS), last.summarise().losses
    return sum(float(getattr(recipe, f"{term}_weight")) * losses[term] for term in TERMS)


def compare_runs(device: str, preset: PresetName, model_dir: Path, size_px: int, findings: Findings) -> None:
    """What a short run ends with on the processor and, twice, on `device`."""
    [there] = run("CPU:0", preset, model_dir, size_px, 1)
    here, again = run(device, preset, model_dir, size_px, 2)
    off = abs(loss_of(here, preset) / loss_of(there, preset) - 1)
    wrong = None if off <= RUN_TOLERANCE else f"at most {RUN_TOLERANCE} is what precision explains"
    findings.show(f"{preset}: loss after {RUN_STEPS} steps against it", f"{off:.1e}", wrong)
    same = np.array_equal(here.picture, again.picture)
    wrong = None if same else "the same seed gave two pictures; set TF_DETERMINISTIC_OPS=1 for the worker"
    findings.show(f"{preset}: the same bytes twice", same, wrong)


def compare_xla(device: str, name: str, path: Path, size_px: int, steps: int, findings: Findings) -> None:
    """Seconds of an evaluation without XLA over those with it, in the precision that `auto` takes."""
    with on(device):
        objective = Objective(load(name, path).cast(fast_dtype()), PRESETS["painterly"])
        content, style = (tf.constant(sample(picture, size_px)) for picture in ("coffee", "swirls"))
        view = objective.views(content)[0]
        targets = objective.content_target(content, view), objective.style_target([(style, 1.0)])

        def slope(picture: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(picture)
                total = tf.add_n(list(objective.terms(picture, *targets, view.numpy()).values()))
            return tape.gradient(total, picture)

        seconds = []
        for xla in (False, True):
            compiled = tf.function(slope, jit_compile=xla)
            compiled(content).numpy()
            began_at = time.perf_counter()
            for _ in range(steps):
                compiled(content).numpy()
            seconds.append(time.perf_counter() - began_at)
    findings.show("XLA: how much faster", f"{seconds[0] / seconds[1]:.2f} x")


def time_steps(device: str, engine: Engine, preset: PresetName, size_px: int, steps: int, findings: Findings) -> None:
    """Steps a second at full size, all that a painting does counted but compiling, and the most memory meanwhile."""
    planned = round(steps / LAST_SCALE) if preset == "painterly" else steps
    if device.startswith("GPU"):
        tf.config.experimental.reset_memory_stats(device)
    with on(device):
        content, style = sample("coffee", size_px), sample("swirls", size_px)
        painting = engine.paint(content, [(style, 1.0)], recipe_of(preset, planned))
        seen = [(time.perf_counter(), step) for step in painting if step.size_px == size_px]
    last = seen[-1][1]
    # The first of them compiles.
    spans = [(later - earlier, now.step - before.step) for (earlier, before), (later, now) in pairwise(seen)]
    if not spans:
        findings.show(f"{preset} at {size_px} px", "too few steps to time them")
        return
    rate = sum(count for _, count in spans) / sum(seconds for seconds, _ in spans)
    memory = ""
    if device.startswith("GPU"):
        peak_bytes = tf.config.experimental.get_memory_info(device)["peak"]
        memory = f", at most {peak_bytes / 1e6:.0f} MB"
        memory += f" ({last.plan.peak_bytes / 1e6:.0f} MB predicted)" if last.plan else ""
    sound = np.isfinite(last.picture).all() and last.picture.std() > 0
    wrong = None if sound else "the picture is not one"
    findings.show(f"{preset} at {size_px} px", f"{rate:.2f} steps a second{memory}", wrong)


if __name__ == "__main__":
    sys.exit(main())
