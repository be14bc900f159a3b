"""Which network paints, what is loaded when, and what the documentation promises."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stylequeue.contract.errors import Code, Permanent
from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, resolve
from stylequeue_worker import models
from stylequeue_worker.engine import Engine, Network
from tests.engine.conftest import Picture
from tests.support.vgg19 import make_vgg19_from_vgg16

DOCUMENT = Path(__file__).parents[2] / "docs" / "engine.md"


@pytest.fixture
def no_keras_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "none"))


@pytest.mark.usefixtures("no_keras_cache")
class TestNetwork:
    def test_auto_takes_vgg19_once_it_is_on_disk(self, model_dir: Path, tmp_path: Path) -> None:
        vgg16_path = models.find("vgg16", model_dir)
        assert vgg16_path
        shutil.copy(vgg16_path, tmp_path)
        own = {"vgg19": "of the file to come"}
        engine, recipe = Engine(tmp_path, network_sha256=own), resolve(OptimizeRecipe())
        assert engine.network(recipe) == Network("vgg16", models.digest(vgg16_path))
        vgg19_path = tmp_path / models.MODELS["vgg19"].filename
        make_vgg19_from_vgg16(vgg16_path, vgg19_path)
        own["vgg19"] = models.digest(vgg19_path)
        assert engine.network(recipe) == Network("vgg19", models.digest(vgg19_path))
        assert engine.network(resolve(OptimizeRecipe(network="vgg16"))).name == "vgg16"

    def test_fast_has_a_digest_of_its_own(self, engine: Engine, model_dir: Path) -> None:
        path = models.find("fast", model_dir)
        assert path
        assert engine.network(resolve(FastRecipe())) == Network("fast", models.digest(path))

    @pytest.mark.parametrize(
        ("recipe", "name"),
        [
            (OptimizeRecipe(), "vgg16"),
            (OptimizeRecipe(network="vgg19"), "vgg19"),
            (OptimizeRecipe(network="vgg16"), "vgg16"),
            (FastRecipe(), "fast"),
        ],
    )
    def test_what_is_not_there_is_named_with_its_cure(
        self, recipe: OptimizeRecipe | FastRecipe, name: str, tmp_path: Path, photo: Picture
    ) -> None:
        engine = Engine(tmp_path)
        with pytest.raises(Permanent) as first:
            engine.network(resolve(recipe))
        with pytest.raises(Permanent) as second:
            next(engine.paint(photo(), [(photo(), 1.0)], resolve(recipe)))
        for caught in (first, second):
            assert caught.value.code == Code.NETWORK_UNAVAILABLE
            assert f"stylequeue models pull {name}" in caught.value.hint

    def test_warming_up_passes_over_what_is_not_there(self, tmp_path: Path) -> None:
        engine = Engine(tmp_path)
        engine.warm_up({"optimize", "fast"})
        for recipe in (OptimizeRecipe(), FastRecipe()):
            with pytest.raises(Permanent) as caught:
                engine.network(resolve(recipe))
            assert caught.value.code == Code.NETWORK_UNAVAILABLE

    @pytest.mark.usefixtures("uncompiled_once")
    def test_after_warming_up_no_network_is_loaded_again(
        self, model_dir: Path, photo: Picture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = Engine(model_dir)
        engine.warm_up({"optimize", "fast"})
        monkeypatch.setattr("stylequeue_worker.engine.weights.load", pytest.fail)
        monkeypatch.setattr("tensorflow_hub.load", pytest.fail)
        for recipe in (resolve(OptimizeRecipe(steps=1)), resolve(FastRecipe())):
            [step] = engine.paint(photo(), [(photo("coffee"), 1.0)], recipe)
            assert not np.array_equal(step.picture, photo())


def test_a_style_is_needed_and_a_weight(engine: Engine, photo: Picture) -> None:
    for styles in ([], [(photo(), 0.0)], [(photo(), -1.0), (photo(), 2.0)]):
        with pytest.raises(ValueError, match="style"):
            next(engine.paint(photo(), styles, resolve(FastRecipe())))


def test_importing_the_engine_loads_no_tensorflow() -> None:
    code = "import sys, stylequeue_worker.engine; print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_documented_functions_exist() -> None:
    rows = re.findall(r"^\| (\d) \| [^|]+ \| ([^|]+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert [number for number, _ in rows] == [str(number) for number in range(1, 10)]
    for _, cell in rows:
        names = re.findall(r"`([\w.]+)`", cell)
        assert names
        for name in names:
            module, *attributes = name.split(".")
            found: object = importlib.import_module(f"stylequeue_worker.engine.{module}")
            for attribute in attributes:
                found = getattr(found, attribute)
            assert callable(found)
            assert found.__doc__
