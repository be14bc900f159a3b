"""The settings that reach TensorFlow and the engine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, ResolvedOptimizeRecipe, resolve
from stylequeue.settings import Settings
from stylequeue_worker.engine import Engine, Options, device, painter, weights
from stylequeue_worker.engine.device import rounds_float32, set_up
from stylequeue_worker.engine.networks import Vgg
from stylequeue_worker.engine.pictures import look
from stylequeue_worker.work.options import options_of

MB = 1024**2
GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"
THREADS = "TF_NUM_INTEROP_THREADS"


def test_every_option_has_its_setting() -> None:
    given = Settings(
        memory_mb=100,
        gpu_memory_mb=200,
        precision="bfloat16",
        deterministic=True,
        tensor_float_32=True,
        xla=True,
        compilation_cache_dir=Path("/cache"),
        warm_up_px=(256, 512),
    )
    expected = Options(100 * MB, 200 * MB, "bfloat16", True, True, True, Path("/cache"), (256, 512))
    assert options_of(given) == expected
    assert options_of(Settings()) == Options()
    assert all(getattr(expected, field.name) != getattr(Options(), field.name) for field in fields(Options))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="elsewhere it is TensorFlow that decides")
@pytest.mark.parametrize(
    ("of_whoever_starts_it", "expected"), [({}, "True"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "False")]
)
def test_convolutions_are_onednns_on_any_processor(of_whoever_starts_it: dict[str, str], expected: str) -> None:
    asked = "from tensorflow.python.util import _pywrap_util_port as port; print(port.IsMklEnabled())"
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    done = subprocess.run(
        [sys.executable, "-c", f"import stylequeue_worker.engine; {asked}"],
        env=environment | of_whoever_starts_it,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected


@pytest.fixture
def as_before() -> Iterator[None]:
    yield
    config.disable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(False)


class Gpus:
    """Two GPUs that TensorFlow says are here, and what is set for them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.growing: dict[str, bool] = {}
        self.limits_mb: dict[str, list[float]] = {}
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:0", f"{kind}:1"])
        monkeypatch.setattr(tf.config.experimental, "set_memory_growth", self.growing.__setitem__)
        monkeypatch.setattr(tf.config, "set_logical_device_configuration", self.limit)

    def limit(self, gpu: str, devices: list[Any]) -> None:
        self.limits_mb[gpu] = [each.memory_limit for each in devices]


@pytest.mark.usefixtures("as_before")
class TestSetUp:
    def test_memory_grows_up_to_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(GROWTH, "")  # so that it is as before behind the test
        monkeypatch.delenv(GROWTH)
        gpus = Gpus(monkeypatch)
        set_up(Options())
        assert (gpus.growing, gpus.limits_mb) == ({"GPU:0": True, "GPU:1": True}, {})
        gpus.growing.clear()
        set_up(Options(gpu_memory_bytes=2048 * MB))
        assert (gpus.growing, gpus.limits_mb) == ({}, {"GPU:0": [2048], "GPU:1": [2048]})
        assert os.environ[GROWTH] == "true", "TensorFlow would take all of it at once"
        monkeypatch.setenv(GROWTH, "false")
        set_up(Options(gpu_memory_bytes=2048 * MB))
        assert os.environ[GROWTH] == "false", "of whoever wants it so"

    def test_one_thread_keeps_primitives_on_a_processor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(THREADS, "")  # so that it is as before behind the test
        monkeypatch.delenv(THREADS)
        set_up(Options())
        assert os.environ[THREADS] == "1"
        monkeypatch.setenv(THREADS, "4")
        set_up(Options())
        assert os.environ[THREADS] == "4", "of whoever wants it so"
        monkeypatch.delenv(THREADS)
        Gpus(monkeypatch)
        set_up(Options())
        assert THREADS not in os.environ

    @pytest.mark.parametrize("deterministic", [False, True])
    def test_determinism_only_where_it_is_asked_for(self, deterministic: bool) -> None:
        set_up(Options(deterministic=deterministic))
        assert config.is_op_determinism_enabled() == deterministic

    def test_float32_is_rounded_only_for_what_asks_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rounded = tf.config.experimental.tensor_float_32_execution_enabled
        set_up(Options(tensor_float_32=True))
        assert not rounded()
        assert not rounds_float32(Options(tensor_float_32=True), reduced=False), "a processor has none"
        monkeypatch.setattr(device, "on_gpu", lambda: True)
        for asked, reduced, expected in ((True, False, True), (True, True, False), (False, False, False)):
            assert rounds_float32(Options(tensor_float_32=asked), reduced=reduced) == expected == rounded()

    @pytest.mark.usefixtures("uncompiled_once")
    def test_a_painting_leaves_the_next_one_nothing_rounded(
        self, model_dir: Path, thin: Vgg, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rounded: dict[str, bool] = {}

        def note(what: str) -> None:
            rounded[what] = tf.config.experimental.tensor_float_32_execution_enabled()

        def rescaled(network: Vgg, _: object) -> Vgg:
            note("filters, which are kept")
            return network

        class Fast:
            def paint(self, content: np.ndarray, *_: object) -> np.ndarray:
                note("fast")
                return content

        monkeypatch.setattr(device, "on_gpu", lambda: True)
        monkeypatch.setattr(weights, "load", lambda *_: thin)
        monkeypatch.setattr(painter, "sample_pictures", list)
        monkeypatch.setattr(Vgg, "rescaled", rescaled)
        monkeypatch.setattr(Engine, "load_fast", lambda _: Fast())
        engine = Engine(model_dir, options=Options(tensor_float_32=True))
        small = np.full((1, 16, 16, 3), 0.5, np.float32)
        device.rounds_float32(Options(tensor_float_32=True), reduced=False)
        for recipe in (OptimizeRecipe(network="vgg16", preset="gatys-2016", steps=1), FastRecipe()):
            for _ in engine.paint(small, [(small, 1.0)], resolve(recipe)):
                note(recipe.method)
        assert rounded == {"filters, which are kept": False, "optimize": True, "fast": False}


def test_the_limit_of_the_gpu_is_the_plans(thin: Vgg, monkeypatch: pytest.MonkeyPatch, uncompiled_once: None) -> None:
    monkeypatch.setattr(painter, "on_gpu", lambda: True)
    recipe = resolve(OptimizeRecipe(network="vgg16", preset="tf-tutorial", optimizer="swift", steps=1))
    assert isinstance(recipe, ResolvedOptimizeRecipe)
    picture = np.full((1, 32, 32, 3), 0.5, np.float32)
    for limit, tile_px in ((None, None), (1, 64)):
        ours = painter.Painter(thin, Options(gpu_memory_bytes=limit, memory_bytes=1, precision="float32"))
        step = next(ours.paint(picture, [(picture, 1.0)], recipe))
        assert step.plan
        assert step.plan.tile_px == tile_px


@pytest.mark.parametrize(("limit_mb", "left_mb"), [(None, None), (300, 200), (100, 0), (50, 0)])
def test_the_limit_of_the_gpu_is_the_plans_less_what_is_loaded(
    thin: Vgg, monkeypatch: pytest.MonkeyPatch, limit_mb: int | None, left_mb: int | None
) -> None:
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", lambda _: {"current": 100 * MB, "peak": 200 * MB})
    for module in (device, painter):
        monkeypatch.setattr(module, "on_gpu", lambda: True)
    options = Options(gpu_memory_bytes=limit_mb and limit_mb * MB, memory_bytes=1)
    assert painter.Painter(thin, options)._budget_bytes() == (left_mb if left_mb is None else left_mb * MB)


class TestSizesToBeReadyFor:
    """They are painted before the first job."""

    @pytest.fixture
    def painted(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
        """The sides of what is painted."""
        painted: list[tuple[int, ...]] = []

        def paint(_: Engine, content: np.ndarray, *__: object) -> Iterator[None]:
            painted.append(look(content).shape[1:3])
            assert len(painted) < 20, "it starts over"
            if max(painted[-1]) == 64:
                raise Permanent(Code.OUT_OF_MEMORY, "others have it")
            return iter(())

        monkeypatch.setattr(Engine, "paint", paint)
        return painted

    def warm_up(self, model_dir: Path, *sizes_px: int) -> None:
        Engine(model_dir, options=Options(warm_up_px=sizes_px, memory_bytes=MB * 1000)).warm_up({"optimize"})

    def test_in_the_usual_shapes(self, model_dir: Path, painted: list[tuple[int, ...]]) -> None:
        self.warm_up(model_dir, 48)
        assert set(painted) == {(48, 48), (48, 36), (36, 48), (48, 32), (32, 48), (48, 27), (27, 48)}

    def test_no_side_is_too_short(self, model_dir: Path, painted: list[tuple[int, ...]]) -> None:
        self.warm_up(model_dir, 16, 24)
        assert set(painted) == {(16, 16), (24, 24), (24, 18), (18, 24), (24, 16), (16, 24)}

    def test_one_that_fails_is_passed_over(
        self, model_dir: Path, painted: list[tuple[int, ...]], caplog: pytest.LogCaptureFixture
    ) -> None:
        self.warm_up(model_dir, 64, 16)
        assert len(painted) == 2
        assert painted[1] == (16, 16)
        assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
            "pictures of 64 px cannot be painted ahead: [out_of_memory] others have it"
        ]


@pytest.mark.parametrize(
    ("cache", "before", "expected"),
    [
        (None, None, None),
        (None, "--of_others", "--of_others"),
        (Path("/cache"), None, "--tf_xla_persistent_cache_directory=/cache"),
        (Path("/cache"), "--of_others", "--of_others --tf_xla_persistent_cache_directory=/cache"),
    ],
)
def test_what_tensorflow_is_told_of_the_compilation_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path | None, before: str | None, expected: str | None
) -> None:
    monkeypatch.setenv("TF_XLA_FLAGS", before or "")  # so that it is as before behind the test
    if before is None:
        monkeypatch.delenv("TF_XLA_FLAGS")
    Engine(tmp_path, options=Options(compilation_cache_dir=cache)).warm_up([])
    assert os.environ.get("TF_XLA_FLAGS") == expected


COMPILES = """
import sys
from pathlib import Path
from stylequeue_worker.engine import Engine, Options

cache = Path(sys.argv[1])
Engine(cache, options=Options(compilation_cache_dir=cache)).warm_up([])

import tensorflow as tf

tf.function(lambda x: 2 * x, jit_compile=True, autograph=False)(tf.ones([8]))
"""


@pytest.mark.slow
def test_what_xla_compiles_is_kept(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    kept = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", COMPILES, str(tmp_path)], env=environment, check=True)
        kept.append({path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()})
    assert kept[0]
    assert kept[1] == kept[0], "the next process has nothing to add"
