"""Which arithmetic is taken where less than float32 is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import tensorflow as tf

from stylequeue_worker.engine.precision import fast_dtype


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"device_name": "A100", "compute_capability": (8, 0)}, tf.bfloat16),
        ({"device_name": "B200", "compute_capability": (10, 0)}, tf.bfloat16),
        ({"device_name": "T4", "compute_capability": (7, 5)}, tf.float32),
        ({"device_name": "MI300"}, tf.float32),
    ],
)
def test_the_precision_of_a_gpu(
    details: dict[str, object], expected: tf.DType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)
    assert fast_dtype() == expected


def has(monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None) -> None:
    def read(path: Path) -> str:
        if cpuinfo is None:
            raise FileNotFoundError
        return f"vendor, flags\t\t: {cpuinfo}\n"

    monkeypatch.setattr(Path, "read_text", read)


AMD, INTEL = "AuthenticAMD", "GenuineIntel"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (f"{AMD} avx512f avx512_bf16 fma", tf.bfloat16),
        (f"{INTEL} avx512f avx512_bf16 avx512_fp16 fma", tf.float32),
        (f"{INTEL} avx512_bf16 amx_bf16 amx_tile", tf.bfloat16),
        (f"{INTEL} avx512f amx_tile amx_int8", tf.float32),
        (f"{AMD} avx512f", tf.float32),
        (f"{AMD} not_avx512_bf16", tf.float32),
        ("", tf.float32),
        (None, tf.float32),
    ],
)
def test_the_precision_of_a_processor(cpuinfo: str | None, expected: tf.DType, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, cpuinfo)
    assert fast_dtype() == expected


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_what_is_asked_for_is_taken(wanted: Literal["float32", "bfloat16"], monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, None)
    assert fast_dtype(wanted).name == wanted
