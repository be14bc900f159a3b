"""The plan beside what a painting really takes, and that it takes no more after many: each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WITHIN = 0.2

PEAK = """
import json, re, sys
from pathlib import Path
import numpy as np
from stylequeue.contract.recipe import OptimizeRecipe, resolve
from stylequeue_worker.engine import Engine, Options

fields, size_px, precision = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
style_px, styles, masks, budget_mb = map(int, sys.argv[5:])

def resident(field):
    return int(re.search(rf"{field}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

engine = Engine(Path(sys.argv[4]), options=Options(precision=precision, memory_bytes=budget_mb * 10**6 or None))
engine.warm_up(["optimize"])
random = np.random.default_rng(0)
masks = [random.random((1, size_px, size_px, 1), np.float32) for _ in range(masks)] or None
recipe = resolve(OptimizeRecipe(network="vgg16", **fields))
content, *styles = (random.random((1, side, side, 3), np.float32) for side in (size_px, *[style_px] * styles))
loaded = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
for last in engine.paint(content, [(style, 1.0) for style in styles], recipe, masks=masks):
    pass
assert (last.plan.tile_px is None) == (budget_mb == 0), last.plan
print(last.plan.peak_bytes, resident("VmHWM") - loaded)
"""

GROWTH = """
import re, sys
from pathlib import Path
import numpy as np
from stylequeue.contract.recipe import OptimizeRecipe, resolve
from stylequeue_worker.engine import Engine, Options

engine = Engine(Path(sys.argv[1]), options=Options(precision=sys.argv[2]))
engine.warm_up(["optimize"])
random, what, count, preset = np.random.default_rng(0), sys.argv[3], int(sys.argv[4]), sys.argv[5]
style = random.random((1, 48, 48, 3), np.float32)
layers = ["block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2", "block3_conv1"]
for number in range(count):
    height, width = (48, 48)
    if what == "shapes":
        height, width, *sides = random.integers(48, 128, 4)
        style = random.random((1, *sides, 3), np.float32)
    fields, styles, masks = {}, [(style, 1.0)], None
    if what == "layers":
        fields["style_layers"] = {layer: round(float(random.random()), 3) + 0.01 for layer in layers}
    if what == "masks":
        styles = [(style, 1.0)] * int(random.integers(1, 9))
        masks = [random.random((1, height, width, 1), np.float32) for _ in styles]
    content = random.random((1, height, width, 3), np.float32)
    recipe = resolve(OptimizeRecipe(network="vgg16", preset=preset, steps=1, **fields))
    list(engine.paint(content, styles, recipe, masks=masks))
    if number + 1 in (10, count):
        print(int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000)
"""


def run(program: str, *arguments: object) -> list[float]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


SLOW = [pytest.mark.slow, pytest.mark.timeout(900)]
CASES = [
    pytest.param({"preset": "tf-tutorial", "steps": 4}, 320, "float32", (256, 1), 0, 0, id="quick"),
    *(
        pytest.param(fields, size_px, precision, styles, 0, 0, marks=SLOW)
        for fields, size_px, precision, styles in [
            ({"preset": "painterly", "steps": 4}, 256, "float32", (256, 1)),
            ({"preset": "painterly", "steps": 4}, 512, "float32", (256, 1)),
            ({"preset": "painterly", "steps": 4}, 512, "bfloat16", (256, 1)),
            ({"preset": "brushwork", "steps": 4}, 128, "float32", (128, 8)),
            ({"preset": "brushwork", "steps": 4}, 256, "float32", (256, 1)),
            ({"preset": "brushwork", "steps": 4}, 512, "float32", (256, 1)),
            ({"preset": "brushwork", "steps": 4}, 512, "float32", (512, 1)),
            ({"preset": "tf-tutorial", "steps": 4}, 1024, "float32", (256, 1)),
            ({"preset": "tf-tutorial", "steps": 25, "optimizer": "lbfgs"}, 512, "float32", (256, 1)),
            ({"preset": "tf-tutorial", "steps": 4, "optimizer": "swift"}, 512, "bfloat16", (256, 1)),
        ]
    ),
    pytest.param({"preset": "painterly", "steps": 4}, 512, "float32", (256, 4), 4, 0, id="four masks", marks=SLOW),
    *(
        pytest.param(
            {"preset": preset, "steps": 3}, 1024, "float32", (256, 1), 0, 900, id=f"tiles {preset}", marks=SLOW
        )
        for preset in ("tf-tutorial", "painterly")
    ),
]


@pytest.mark.parametrize(("fields", "size_px", "precision", "styles", "masks", "budget_mb"), CASES)
def test_the_plan_is_what_a_painting_takes(
    model_dir: Path,
    fields: dict[str, object],
    size_px: int,
    precision: str,
    styles: tuple[int, int],
    masks: int,
    budget_mb: int,
) -> None:
    """styles: the side in pixels of each, and how many; budget_mb: 0 for all there is, else for tiles."""
    planned, measured = run(PEAK, json.dumps(fields), size_px, precision, model_dir, *styles, masks, budget_mb)
    assert planned / measured == pytest.approx(1, abs=WITHIN), f"{planned / 1e6:.0f} MB, {measured / 1e6:.0f} MB"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("what", "precision", "count", "preset"),
    [
        *(
            ("shapes", precision, 300, preset)
            for preset in ("brushwork", "painterly")
            for precision in ("float32", "bfloat16")
        ),
        ("layers", "float32", 25, "painterly"),
        ("masks", "float32", 40, "painterly"),
    ],
)
def test_memory_does_not_grow_with_what_was_seen(
    model_dir: Path, what: str, precision: str, count: int, preset: str
) -> None:
    after_ten_mb, at_the_end_mb = run(GROWTH, model_dir, precision, what, count, preset)
    assert at_the_end_mb <= after_ten_mb + 300
