"""What nvidia-smi says, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stylequeue_worker.process.gpu import GpuUse, gpu_use

CARD = "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(
    ("script", "use"),
    [
        ("echo '12345, 87'", GpuUse(12345 * 2**20, 0.87)),
        ("echo '0, 0'", GpuUse(0, 0)),
        ("echo '[N/A], [N/A]'", GpuUse()),
        ("echo '4096, [N/A]'", GpuUse(4096 * 2**20)),
        ("echo 'No devices were found'; exit 6", GpuUse()),
        ("echo 'something else'", GpuUse()),
        ("true", GpuUse()),
        ('[ "$1" = --id=GPU-1 ] && echo "1, 1"', GpuUse(2**20, 0.01)),
    ],
)
def test_what_it_says(script: str, use: GpuUse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2")
    assert gpu_use(CARD) == use
    assert gpu_use("CPU") == GpuUse(), "nobody is asked"


def test_without_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_use(CARD) == GpuUse()
