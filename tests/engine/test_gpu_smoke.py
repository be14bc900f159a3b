"""The script for operators of GPUs, on a processor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_smoke.py"


def run(model_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"STYLEQUEUE_MODEL_DIR": str(model_dir), "KERAS_HOME": str(model_dir), "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env={**os.environ, **environment}, capture_output=True, text=True
    )


def test_everything_is_tried(model_dir: Path) -> None:
    ended = run(model_dir, "--cpu", "--sizes", "32", "--steps", "2", "--presets", "painterly")
    assert ended.returncode == 0, ended.stderr
    for line in (
        "precision that `auto` takes",
        "painterly: loss, gradient against the processor",
        "painterly: loss after 14 steps against it",
        "painterly: the same bytes twice",
        "XLA: how much faster",
        "painterly at 32 px",
        "all is well",
    ):
        assert line in ended.stdout


def test_without_a_gpu_it_says_so(model_dir: Path) -> None:
    ended = run(model_dir)
    assert ended.returncode == 2
    assert "no GPU found" in ended.stderr


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    ended = run(tmp_path, "--cpu", "--sizes", "32", "--steps", "2")
    assert ended.returncode == 1
    assert "network_unavailable" in ended.stdout
