"""Networks that are not what they are taken for: in the model directory, in Keras's cache, behind a Hub handle."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from stylequeue.contract.errors import Code, InvalidSettings, Permanent
from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, resolve
from stylequeue.settings import Settings
from stylequeue_worker import models
from stylequeue_worker.engine import Engine

RECIPES = {
    "vgg16": resolve(OptimizeRecipe(network="vgg16")),
    "vgg19": resolve(OptimizeRecipe(network="vgg19")),
    "fast": resolve(FastRecipe()),
}


def flip_a_byte(file: Path) -> None:
    """The last one; size and time of change stay as they were."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        last = opened.read(1)[0]
        opened.seek(-1, os.SEEK_END)
        opened.write(bytes([last ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def keras_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "models"


def refused(engine: Engine, name: str, path: Path) -> None:
    assert name not in engine.networks()
    with pytest.raises(Permanent) as caught:
        engine.network(RECIPES[name])
    assert caught.value.code == Code.NETWORK_UNAVAILABLE
    assert models.digest(path) in caught.value.message
    assert f"stylequeue models pull {name}" in caught.value.hint


@pytest.mark.parametrize("name", ["vgg16", "fast"])
def test_one_byte_that_differs(model_dir: Path, tmp_path: Path, keras_cache: Path, name: str) -> None:
    """Seen whenever it comes about, also after the network was looked at and found good."""
    source, directory = models.find(name, model_dir), tmp_path / "models"
    assert source
    directory.mkdir()
    path = directory / source.name
    shutil.copytree(source, path) if source.is_dir() else shutil.copyfile(source, path)
    engine = Engine(directory)
    assert set(engine.networks()) == {name}
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        flip_a_byte(file)
        refused(engine, name, path)
        with pytest.raises(Permanent):
            models.pull(name, directory)
        assert not next(entry for entry in models.listing(directory, {}) if entry.model.name == name).known
        flip_a_byte(file)
    engine = Engine(directory)
    assert engine.network(RECIPES[name]).digest == models.digest(source)
    assert models.pull(name, directory) == path


def test_a_file_more_in_a_saved_model(model_dir: Path, tmp_path: Path, keras_cache: Path) -> None:
    shutil.copytree(model_dir / "fast", tmp_path / "fast")
    (tmp_path / "fast" / "more").touch()
    refused(Engine(tmp_path), "fast", tmp_path / "fast")


@pytest.mark.parametrize("name", ["vgg19", "vgg16"])
def test_what_lies_in_the_cache_of_keras_is_looked_at_as_well(tmp_path: Path, keras_cache: Path, name: str) -> None:
    keras_cache.mkdir(parents=True)
    laid = keras_cache / models.MODELS[name].filename
    laid.write_bytes(b"other weights")
    refused(Engine(tmp_path), name, laid)


def test_what_a_download_brought_is_looked_at(
    tmp_path: Path, keras_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stylequeue_worker.models import vgg19

    monkeypatch.setattr(vgg19, "download", lambda target: target.write_bytes(b"other weights"))
    with pytest.raises(Permanent) as caught:
        models.pull("vgg19", tmp_path)
    assert caught.value.code == Code.NETWORK_UNAVAILABLE
    assert [*tmp_path.iterdir()] == []


def test_every_network_has_digests_that_are_published() -> None:
    for model in models.MODELS.values():
        assert model.published
        for known in model.published:
            assert len(known.removeprefix("md5:")) == (32 if known.startswith("md5:") else 64)
            assert int(known.removeprefix("md5:"), 16)


def test_a_published_md5_is_compared(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"weights")
    md5 = hashlib.md5(b"weights", usedforsecurity=False).hexdigest()
    models.require("what it is", tmp_path / "file", (f"md5:{md5}",), "")
    flip_a_byte(tmp_path / "file")
    with pytest.raises(Permanent):
        models.require("what it is", tmp_path / "file", (f"md5:{md5}",), "")


def test_a_network_of_ones_own_has_the_digest_that_the_operator_named(tmp_path: Path, keras_cache: Path) -> None:
    own = tmp_path / models.MODELS["vgg16"].filename
    own.write_bytes(b"weights of our own")
    engine = Engine(tmp_path, network_sha256={"vgg16": models.digest(own)})
    assert engine.networks() == {"vgg16": models.digest(own)}
    flip_a_byte(own)
    refused(engine, "vgg16", own)


def test_a_pinned_network_is_that_one_and_not_the_published(model_dir: Path) -> None:
    refused(Engine(model_dir, network_sha256={"fast": "0" * 64}), "fast", model_dir / "fast")


@pytest.mark.parametrize(
    "handle",
    [
        "http://models.example/fast/2",
        "HTTPS://models.example/fast/2",
        "https://",
        "https:///etc",
        "https://user@models.example/fast/2",
        "https://models.example/fast 2",
        "gs://bucket/fast",
        "s3://bucket/fast",
        "file:///srv/fast",
        "hdfs://host/fast",
        "ram://fast",
        "ftp://models.example/fast",
        "models/fast",
        "./fast",
        "~/fast",
    ],
)
def test_a_hub_handle_is_https_or_a_whole_path(handle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLEQUEUE_HUB_HANDLE", handle)
    with pytest.raises(InvalidSettings, match="STYLEQUEUE_HUB_HANDLE") as caught:
        Settings.load()
    assert handle == "https://" or handle not in str(caught.value)
    for good in ("https://models.example/fast/2", "https://models.example:8443/fast.tar.gz?a=b", "/srv/a b/fast"):
        monkeypatch.setenv("STYLEQUEUE_HUB_HANDLE", good)
        assert Settings.load().hub_handle == good


@pytest.mark.parametrize(
    "value", ["{}x", "[]", '"fast"', '{"vgg17": "%s"}', '{"fast": "%s0"}', '{"fast": ""}', '{"fast": "md5:abc"}']
)
def test_digests_are_sha256_of_networks_that_there_are(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = "0123456789abcdef" * 4
    monkeypatch.setenv("STYLEQUEUE_NETWORK_SHA256", value.replace("%s", sha256))
    with pytest.raises(InvalidSettings, match="STYLEQUEUE_NETWORK_SHA256"):
        Settings.load()
    monkeypatch.setenv("STYLEQUEUE_NETWORK_SHA256", f'{{"fast": "{sha256}"}}')
    assert Settings.load().network_sha256 == {"fast": sha256}
