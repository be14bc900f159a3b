"""A machine that cannot paint is found before a job is: by a step that fails, on the processor in a GPU's place."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from stylequeue.contract.errors import CannotServe, Code, ExitCode, Permanent
from stylequeue_worker.engine import Engine, Step, Summary
from stylequeue_worker.engine.fitness import try_out


class Machine:
    """An engine with these networks, on a device that does what `paints` does."""

    device = "NVIDIA H100"

    def __init__(self, paints: Any = None, networks: tuple[str, ...] = ("vgg16", "fast")) -> None:
        self._paints, self._networks = paints, networks
        self.painted: list[str] = []

    def networks(self) -> dict[str, str]:
        return dict.fromkeys(self._networks, "a" * 64)

    def paint(self, content: np.ndarray, _styles: object, recipe: Any) -> Iterator[Any]:
        self.painted.append(recipe.method)
        if isinstance(self._paints, Exception):
            raise self._paints
        picture = content if self._paints is None else self._paints
        yield Step(1, 1, 64, {}, 1.0, picture, lambda: Summary({}, {}, 1.0, "float32", 1))


def tried(machine: Machine) -> None:
    engine: Any = machine
    try_out(engine, ["optimize", "fast"])


@pytest.mark.parametrize(
    ("paints", "code"),
    [
        (tf.errors.InternalError(None, None, "CUDA error: an illegal memory access"), Code.DEVICE_UNAVAILABLE),
        (tf.errors.UnimplementedError(None, None, "no kernel image is available"), Code.DEVICE_UNAVAILABLE),
        (Permanent(Code.NOT_FINITE, "the losses are not finite", ""), Code.DEVICE_UNAVAILABLE),
        (np.full((1, 64, 64, 3), np.nan, np.float32), Code.DEVICE_UNAVAILABLE),
        (Permanent(Code.OUT_OF_MEMORY, "a step does not fit", ""), Code.INSUFFICIENT_MEMORY),
    ],
)
def test_what_a_first_step_shows(paints: Any, code: Code) -> None:
    with pytest.raises(CannotServe, match="NVIDIA H100") as caught:
        tried(Machine(paints))
    assert (caught.value.code, caught.value.exit_code) == (code, ExitCode.CANNOT_SERVE)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("networks", "painted"), [(("vgg19", "fast"), ["optimize", "fast"]), (("fast",), ["fast"]), ((), [])]
)
def test_by_the_networks_that_are_there(networks: tuple[str, ...], painted: list[str]) -> None:
    machine = Machine(networks=networks)
    tried(machine)
    assert machine.painted == painted


def test_a_network_that_turns_out_broken_is_not_the_machines_fault() -> None:
    tried(Machine(Permanent(Code.NETWORK_UNAVAILABLE, "it cannot be loaded", "")))


WORKER = """
from stylequeue.settings import Settings
from stylequeue_worker import engine, main
from tests.engine.test_fitness import Machine

class Broken(Machine):
    def __init__(self, *_):
        super().__init__(RuntimeError("CUDA_ERROR_ECC_UNCORRECTABLE"))

    def warm_up(self, methods):
        pass

engine.Engine = Broken
main.load_engine(Settings())
"""


@pytest.mark.slow
def test_a_worker_tries_before_it_takes_a_job() -> None:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", WORKER], env=environment, capture_output=True, text=True, check=False)
    assert "a first step on NVIDIA H100 failed: CUDA_ERROR_ECC_UNCORRECTABLE" in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled_once")
def test_this_machine_can(model_dir: Path) -> None:
    try_out(Engine(model_dir), ["optimize", "fast"])
