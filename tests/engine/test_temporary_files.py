"""A child that is killed cannot tidy: so there must be nothing to tidy."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, resolve
from stylequeue_worker.engine import Engine, Options

from .conftest import Picture


@pytest.mark.parametrize(
    ("recipe", "budget_bytes"),
    [
        (OptimizeRecipe(size=64, steps=1), None),
        (OptimizeRecipe(preset="painterly", size=64, steps=2, optimizer="swift"), None),
        (OptimizeRecipe(preset="painterly", size=64, steps=1), 1),
        (FastRecipe(size=64), None),
    ],
)
def test_painting_leaves_no_file(
    model_dir: Path,
    narrowed: None,
    photo: Picture,
    stripes: Picture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: Any,
    budget_bytes: int | None,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # An engine of its own: what another has compiled, it would not compile again.
    engine = Engine(model_dir, options=Options(memory_bytes=budget_bytes))
    for step in engine.paint(photo(), [(stripes(), 1.0)], resolve(recipe)):
        assert step.picture.shape == (1, 64, 64, 3)
    assert list(tmp_path.iterdir()) == []
