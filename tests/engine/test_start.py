"""What is painted over, and that the same seed gives the same bytes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stylequeue.contract.recipe import OptimizeRecipe, resolve
from stylequeue_worker.engine import Engine
from tests.engine.conftest import Picture

SOMEWHERE = {"bucket": "uploads", "key": "start.png"}
PAINTED = """
import hashlib, sys
import numpy as np
from pathlib import Path
from stylequeue.contract.recipe import OptimizeRecipe, resolve
from stylequeue_worker.engine import Engine

inputs = np.load(sys.argv[2])
for optimizer in ("adam", "lbfgs"):
    recipe = resolve(
        OptimizeRecipe(preset="painterly", init="noise", seed=7, steps=3, network="vgg16", optimizer=optimizer)
    )
    *_, last = Engine(Path(sys.argv[1])).paint(inputs["content"], [(inputs["style"], 1.0)], recipe)
    print(hashlib.sha256(last.picture.tobytes()).hexdigest())
print(sorted({"keras", "sklearn"} & set(sys.modules)))
"""


def painted(
    engine: Engine, content: np.ndarray, style: np.ndarray, start: np.ndarray | None = None, **given: object
) -> np.ndarray:
    recipe = resolve(OptimizeRecipe.model_validate({"network": "vgg16", "preset": "painterly", "steps": 1, **given}))
    *_, last = engine.paint(content, [(style, 1.0)], recipe, start=start)
    return last.picture


def test_the_first_step_is_near_what_was_started_from(engine: Engine, photo: Picture, stripes: Picture) -> None:
    content, style, other = photo(), stripes(48, 80), photo("coffee", 96, 70)
    by_init = {
        "content": painted(engine, content, style),
        "style": painted(engine, content, style, init="style"),
        "image": painted(engine, content, style, start=other, init="image", init_image=SOMEWHERE),
    }
    wanted = {"content": content, "style": stripes(64, 64), "image": photo("coffee", 64)}
    for init, picture in by_init.items():
        distances = {name: float(np.abs(picture - other).mean()) for name, other in wanted.items()}
        assert min(distances, key=distances.__getitem__) == init
    # This preset shows its picture as it is, not sharpened.
    noise = painted(engine, content, style, init="noise", preset="tf-tutorial")
    assert np.abs(noise - np.random.default_rng(0).uniform(size=noise.shape)).mean() < 0.05


def test_the_seed_is_that_of_the_noise(engine: Engine, photo: Picture, stripes: Picture) -> None:
    first, again, other = (painted(engine, photo(), stripes(), init="noise", seed=seed) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).mean() > 0.1


def test_init_image_needs_an_image(engine: Engine, photo: Picture, stripes: Picture) -> None:
    with pytest.raises(ValueError, match="start"):
        painted(engine, photo(), stripes(), init="image", init_image=SOMEWHERE)


def test_the_same_seed_gives_the_same_bytes_in_another_process(
    whole_engine: Engine, model_dir: Path, tmp_path: Path, photo: Picture, stripes: Picture
) -> None:
    """Whatever was painted here before."""
    painted(whole_engine, photo("coffee", 72, 90), stripes(), steps=2)
    np.savez(tmp_path / "inputs.npz", content=photo(), style=stripes())
    command = [sys.executable, "-c", PAINTED, str(model_dir), str(tmp_path / "inputs.npz")]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True)
    here = [
        painted(whole_engine, photo(), stripes(), init="noise", seed=7, steps=3, optimizer=optimizer)
        for optimizer in ("adam", "lbfgs")
    ]
    *digests, needless = elsewhere.stdout.splitlines()
    assert digests == [hashlib.sha256(picture.tobytes()).hexdigest() for picture in here]
    assert needless == "[]", "imported with TensorFlow, it takes a worker a second to start"
