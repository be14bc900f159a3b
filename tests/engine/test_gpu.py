"""What is done differently on a GPU, tried on the processor: it must give the same picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.recipe import OptimizeRecipe, PresetName, resolve
from stylequeue_worker import models
from stylequeue_worker.engine import Engine, Step, course, objective
from stylequeue_worker.engine.presets import PRESETS
from stylequeue_worker.engine.weights import load
from tests.engine.conftest import Picture

STEPS = 14
"""A whole call and part of one."""
Paint = Callable[..., list[Step]]


@pytest.fixture
def paint(model_dir: Path, photo: Picture, stripes: Picture) -> Paint:
    """With an engine of its own: what others compiled stays."""

    def paint(preset: PresetName, **given: object) -> list[Step]:
        recipe = resolve(OptimizeRecipe.model_validate({"preset": preset, "network": "vgg16", "steps": STEPS, **given}))
        return list(Engine(model_dir).paint(photo(height=48), [(stripes(48), 1.0)], recipe))

    return paint


def test_several_steps_in_one_call(paint: Paint, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one = paint("tf-tutorial")
    monkeypatch.setattr(course, "on_gpu", lambda: True)
    in_calls = paint("tf-tutorial")
    assert [step.step for step in in_calls] == [10, 14]
    assert [step.done for step in in_calls] == pytest.approx([10 / 14, 1])
    for step in in_calls:
        alike = one_by_one[step.step - 1]
        # Rounded otherwise: what was flat moves by a hair.
        assert np.abs(step.picture - alike.picture).mean() < 1e-4
        for term, loss in alike.losses.items():
            assert step.losses[term] == pytest.approx(loss, rel=1e-3)


def test_compiled_by_xla(model_dir: Path, photo: Picture, stripes: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    path = models.find("vgg16", model_dir)
    assert path
    ours = objective.Objective(load("vgg16", path), PRESETS["painterly"])
    content, elsewhere, style = (tf.constant(p) for p in (photo(height=48), photo("coffee", 48), stripes(48)))
    mask = np.zeros((1, 48, 48, 1), np.float32)
    mask[:, :20] = 1
    view = ours.views(content)[2]
    targets = ours.content_target(content, view), ours.style_target([(style, 1.0)], [mask])
    weights = {term: tf.constant(1.0) for term in objective.TERMS}
    plain = ours.evaluate(elsewhere, *targets, weights, view)
    monkeypatch.setattr(objective, "on_gpu", lambda: True)
    compiled = ours.evaluate(elsewhere, *targets, weights, view)
    assert float(compiled.total) == pytest.approx(float(plain.total), rel=1e-4)
    difference = np.linalg.norm(compiled.gradient - plain.gradient) / np.linalg.norm(plain.gradient)
    assert difference < 1e-3
