"""What the engine can paint with: networks, the device, memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stylequeue.contract.errors import CannotServe, Code, ExitCode, Permanent
from stylequeue.contract.recipe import OptimizeRecipe, resolve
from stylequeue_worker import models
from stylequeue_worker.engine import Engine, Options
from stylequeue_worker.engine.device import describe, on_gpu, require_gpu
from tests.engine.conftest import Picture
from tests.support.vgg19 import make_vgg19_from_vgg16

VGG19 = models.MODELS["vgg19"].filename
VGG16 = models.MODELS["vgg16"].filename
LISTED = """\
GPU 0: NVIDIA A100 (UUID: GPU-5d5ba0d6-d33d)
  MIG 1g.5gb Device 0: (UUID: MIG-c6d4f1ef-42e4)
GPU 1: NVIDIA L4 (UUID: GPU-77b1)
"""
"""As `nvidia-smi -L` has it."""


@pytest.fixture
def directory(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model directory of the test's own with vgg16 and fast."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    shutil.copytree(model_dir / "fast", tmp_path / "models" / "fast")
    found = models.find("vgg16", model_dir)
    assert found is not None
    shutil.copyfile(found, tmp_path / "models" / VGG16)
    return tmp_path / "models"


class TestNetworks:
    def test_those_on_disk_with_their_digests(self, directory: Path) -> None:
        engine = Engine(directory)
        assert engine.networks() == {
            name: models.digest(directory / file) for name, file in (("vgg16", VGG16), ("fast", "fast"))
        }
        (directory / VGG16).unlink()
        assert set(engine.networks()) == {"fast"}, "as the disk is now"
        assert Engine(directory / "none").networks() == {}

    def test_one_that_cannot_be_loaded_is_not_at_hand(self, directory: Path, photo: Picture) -> None:
        (directory / VGG19).write_bytes(b"half a download")
        own = {"vgg19": models.digest(directory / VGG19)}
        engine = Engine(directory, network_sha256=own)
        assert "vgg19" in engine.networks(), "who knows"
        engine.warm_up({"optimize"})
        assert set(engine.networks()) == {"vgg16", "fast"}
        assert engine.network(resolve(OptimizeRecipe())).name == "vgg16", "the next best"
        with pytest.raises(Permanent) as caught:
            next(engine.paint(photo(), [(photo(), 1.0)], resolve(OptimizeRecipe(network="vgg19", steps=1))))
        assert caught.value.code == Code.NETWORK_UNAVAILABLE
        make_vgg19_from_vgg16(directory / VGG16, directory / VGG19)
        own["vgg19"] = models.digest(directory / VGG19)
        assert "vgg19" in engine.networks(), "another file, another chance"

    def test_a_fast_network_that_cannot_be_loaded(self, directory: Path) -> None:
        (directory / "fast" / "saved_model.pb").write_bytes(b"nonsense")
        engine = Engine(directory)
        engine.warm_up({"fast"})
        assert set(engine.networks()) == {"vgg16"}

    def test_a_hub_handle_takes_the_place_of_ours(self, directory: Path, tmp_path: Path) -> None:
        for handle, has in ((directory / "fast", {"vgg16", "fast"}), (tmp_path / "absent", {"vgg16"})):
            own = {"fast": models.digest(directory / "fast")}
            engine = Engine(directory, hub_handle=str(handle), network_sha256=own)
            engine.warm_up({"fast"})
            assert set(engine.networks()) == has


class TestMemory:
    def test_too_little_for_the_smallest_painting(self, directory: Path) -> None:
        with pytest.raises(CannotServe) as caught:
            Engine(directory, options=Options(memory_bytes=1_000_000)).warm_up({"optimize"})
        assert caught.value.code == Code.INSUFFICIENT_MEMORY
        assert caught.value.exit_code == ExitCode.CANNOT_SERVE
        assert "1 MB are left" in caught.value.message
        Engine(directory, options=Options(memory_bytes=200_000_000)).warm_up({"optimize"})


@pytest.mark.skipif(on_gpu(), reason="here is a GPU")
class TestGpu:
    @pytest.mark.parametrize("visible", [None, "", "-1", "NoDevFiles"])
    def test_none_was_asked_for(self, monkeypatch: pytest.MonkeyPatch, visible: str | None) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        require_gpu()
        assert describe().startswith("CPU, ")

    def refused(self, monkeypatch: pytest.MonkeyPatch, visible: str) -> CannotServe:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with pytest.raises(CannotServe) as caught:
            require_gpu()
        assert (caught.value.code, caught.value.exit_code) == (Code.DEVICE_UNAVAILABLE, ExitCode.CANNOT_SERVE)
        return caught.value

    @pytest.mark.parametrize("visible", ["0", "3", "GPU-8a1b", "MIG-8a1b"])
    def test_there_is_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert self.refused(monkeypatch, visible).message == (
            f"there is no GPU {visible} on this machine; there is none"
        )

    def test_there_are_others(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<END\n{LISTED}END\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        for absent in "2", "11", "GPU-5d5ba0d7", "MIG-5d5ba0d6":
            assert self.refused(monkeypatch, absent).message == (
                f"there is no GPU {absent} on this machine; there is GPU 0: NVIDIA A100 (UUID: GPU-5d5ba0d6-d33d); "
                "MIG 1g.5gb Device 0: (UUID: MIG-c6d4f1ef-42e4); GPU 1: NVIDIA L4 (UUID: GPU-77b1)"
            )
        for present in "1", "1,0", "GPU-77b1", "GPU-5d5ba0d6", "MIG-c6d4f1ef-42e4":
            there = self.refused(monkeypatch, present)
            assert there.message == f"GPU {present.partition(',')[0]} is on this machine, but TensorFlow cannot use it"
            assert 'pip install ".[gpu]" in a checkout' in there.hint
