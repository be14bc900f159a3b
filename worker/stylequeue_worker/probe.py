"""`python -m stylequeue_worker.probe`: what `stylequeue doctor` says of a machine that paints, as JSON findings."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from stylequeue.contract.errors import ExitCode, StyleQueueError
from stylequeue.contract.recipe import FAST_NETWORK, VGG_NETWORKS
from stylequeue.finding import Finding
from stylequeue.ledger.registry import named
from stylequeue.settings import Settings

from .work.options import options_of

if TYPE_CHECKING:
    from .engine import Engine


def findings() -> list[Finding]:
    """What can be painted with here, and on what."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from .engine import Engine

    settings = Settings.load()
    engine = Engine(settings.models, settings.hub_handle, options_of(settings), settings.network_sha256)
    at_hand = engine.networks()
    found = [
        _models(
            "models: optimize",
            {n: d for n, d in at_hand.items() if n in VGG_NETWORKS},
            "vgg19` (or vgg16, which needs no internet)",
        ),
        _hub(engine, settings.hub_handle)
        if settings.hub_handle
        else _models("models: fast", {n: d for n, d in at_hand.items() if n == FAST_NETWORK}, f"{FAST_NETWORK}`"),
    ]
    found.append(Finding("device", "ok", f"{engine.device}, {engine.precision}; TensorFlow {tf.__version__}"))
    return found


def _models(what: str, at_hand: dict[str, str], wanted: str) -> Finding:
    if at_hand:
        return Finding(what, "ok", named(at_hand))
    hint = f"run `stylequeue models pull {wanted}: a worker here could not take such jobs"
    return Finding(what, "bad", "none on this disk", hint, ExitCode.CANNOT_SERVE)


def _hub(engine: Engine, handle: str) -> Finding:
    """The fast network's place is taken by a Hub module: whether that can be had here."""
    try:
        engine.load_fast()
    except StyleQueueError as error:
        return Finding("models: fast", "bad", error.message, error.hint, ExitCode.CANNOT_SERVE)
    return Finding("models: fast", "ok", f"{handle}, by STYLEQUEUE_HUB_HANDLE")


if __name__ == "__main__":
    json.dump([asdict(finding) for finding in findings()], sys.stdout)
