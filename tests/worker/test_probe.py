"""What the doctor says of a machine that paints, asked as it is: without a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from stylequeue.contract.errors import ExitCode
from stylequeue.finding import Finding
from stylequeue_worker import models, probe


def of(monkeypatch: pytest.MonkeyPatch, directory: Path, **env: str) -> dict[str, Finding]:
    monkeypatch.setenv("STYLEQUEUE_MODEL_DIR", str(directory))
    monkeypatch.setenv("KERAS_HOME", str(directory))
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return {finding.what: finding for finding in probe.findings()}


def test_what_it_can_paint_with(monkeypatch: pytest.MonkeyPatch, model_dir: Path) -> None:
    found = of(monkeypatch, model_dir)
    assert all(finding.ok for finding in found.values())
    assert found["models: optimize"].found.startswith("vgg")
    assert "TensorFlow 2." in found["device"].found


def test_nothing_to_paint_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = of(monkeypatch, tmp_path)
    for what, network in (("models: optimize", "vgg19"), ("models: fast", "fast")):
        assert (found[what].state, found[what].exit_code) == ("bad", ExitCode.CANNOT_SERVE)
        assert f"`stylequeue models pull {network}`" in found[what].hint


def test_a_hub_handle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_dir: Path) -> None:
    nowhere, there = str(tmp_path / "absent"), str(model_dir / "fast")
    found = of(monkeypatch, tmp_path, STYLEQUEUE_HUB_HANDLE=nowhere)["models: fast"]
    assert (found.state, found.exit_code) == ("bad", ExitCode.CANNOT_SERVE)
    assert nowhere in found.found
    found = of(monkeypatch, tmp_path, STYLEQUEUE_HUB_HANDLE=there)["models: fast"]
    assert (found.state, found.exit_code) == ("bad", ExitCode.CANNOT_SERVE), "by no digest"
    own = f'{{"fast": "{models.digest(model_dir / "fast")}"}}'
    assert own in found.hint
    found = of(monkeypatch, tmp_path, STYLEQUEUE_HUB_HANDLE=there, STYLEQUEUE_NETWORK_SHA256=own)["models: fast"]
    assert (found.state, found.exit_code) == ("ok", ExitCode.DONE)
    assert "STYLEQUEUE_HUB_HANDLE" in found.found
