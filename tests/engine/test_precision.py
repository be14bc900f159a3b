"""Which arithmetic is taken where less than float32 is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import tensorflow as tf

from stylequeue_worker.engine import precision
from stylequeue_worker.engine.precision import bfloat16_gain, fast_dtype


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


def has(monkeypatch: pytest.MonkeyPatch, flags: str | None) -> None:
    def read(path: Path) -> str:
        if flags is None:
            raise FileNotFoundError
        return f"flags\t\t: {flags}\n"

    monkeypatch.setattr(Path, "read_text", read)


@pytest.mark.parametrize(
    ("flags", "gain", "expected"),
    [
        ("avx512f avx512_bf16 fma", 1.6, tf.bfloat16),
        ("avx512f avx512_bf16 fma", 0.7, tf.float32),
        ("avx512_bf16 amx_bf16", 2.5, tf.bfloat16),
        ("avx512_bf16 amx_bf16", 1.05, tf.float32),
        ("avx512f", 9.0, tf.float32),
        (None, 9.0, tf.float32),
    ],
)
def test_a_processor_is_measured(
    flags: str | None, gain: float, expected: tf.DType, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, flags)
    monkeypatch.setattr(precision, "bfloat16_gain", lambda: gain)
    assert fast_dtype() == expected


@pytest.mark.parametrize(("flags", "expected"), [("avx512_bf16", tf.float32), ("amx_bf16", tf.bfloat16)])
def test_a_deterministic_choice_measures_nothing(
    flags: str, expected: tf.DType, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, flags)
    monkeypatch.setattr(precision, "bfloat16_gain", lambda: pytest.fail("measured"))
    assert fast_dtype(deterministic=True) == expected


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_what_is_asked_for_is_taken(wanted: Literal["float32", "bfloat16"], monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, None)
    assert fast_dtype(wanted).name == wanted


def test_it_is_measured_once() -> None:
    assert 0.02 < bfloat16_gain() < 50
    assert bfloat16_gain() == bfloat16_gain()
    assert bfloat16_gain.cache_info().misses == 1
