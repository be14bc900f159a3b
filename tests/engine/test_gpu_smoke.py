"""The script for operators of GPUs, on a processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import tensorflow as tf

from scripts import gpu_smoke
from stylequeue.contract.memory import Plan
from stylequeue_worker.engine.steps import Step

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_smoke.py"


def run(model_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"STYLEQUEUE_MODEL_DIR": str(model_dir), "KERAS_HOME": str(model_dir), "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env={**os.environ, **environment}, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_everything_is_tried(model_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    small = ("--sizes", "32", "--steps", "3", "--shapes", "2", "--presets", "brushwork", "--output", str(output))
    ended = run(model_dir, "--cpu", *small)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "all is well" in ended.stdout
    found = json.loads(output.read_text())
    assert found["wrong"] == []
    assert float(found["brushwork: loss against the processor"]) <= 1e-3
    assert float(found["brushwork: gradient against the processor"]) <= 1e-2
    assert found["brushwork: the same bytes twice"] is True
    assert found["brushwork at 32 px: steps a second"] > 0
    assert found["brushwork at 32 px: pictures an hour"] > 0
    assert found["brushwork at 32 px: peak MB, planned MB"][1] > 0
    assert 1 <= found["brushwork: programs compiled for 2 shapes"] <= 40
    assert found["two processes, brushwork at 32 px: gain"] > 0


def test_peak_and_plan_are_both_beside_what_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a card that has 500 MB of networks, of a painting that takes 300 MB."""
    step = Step(1, 1, 32, {}, 1.0, np.eye(3, dtype=np.float32), Mock(), plan=Plan(310_000_000, None))
    engine = Mock(paint=lambda *_: iter([step, step]))
    monkeypatch.setattr(gpu_smoke, "engine_and_recipe", lambda *_: (engine, None))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["GPU:0"])
    held = iter([{"current": 500_000_000, "peak": 500_000_000}, {"current": 510_000_000, "peak": 800_000_000}])
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", lambda _: next(held))
    monkeypatch.setattr(tf.config.experimental, "reset_memory_stats", lambda _: None)
    found = gpu_smoke.speed("brushwork", "32", "1")
    assert (found["peak_mb"], found["planned_mb"]) == (300, 310)


def test_without_a_gpu_it_says_so(model_dir: Path) -> None:
    ended = run(model_dir)
    assert ended.returncode == 2
    assert "no GPU found" in ended.stderr


@pytest.mark.slow
def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    ended = run(tmp_path, "--cpu", "--output", str(output))
    assert ended.returncode == 1
    assert "network_unavailable" in ended.stdout or "is on this worker" in ended.stdout
    assert json.loads(output.read_text())["wrong"]
