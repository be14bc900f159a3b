"""Whether this machine can paint: a step is made before the first job is taken."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

import numpy as np

from stylequeue.contract.errors import CannotServe, Code, Permanent
from stylequeue.contract.recipe import FastRecipe, OptimizeRecipe, networks_of, resolve

if TYPE_CHECKING:
    from .engine import Engine

_SIDE_PX = 64
_RECIPES: dict[str, OptimizeRecipe | FastRecipe] = {
    # The preset that is compiled soonest: the network forth and back, and a step of Adam's, as in all others.
    "optimize": OptimizeRecipe(preset="tf-tutorial", steps=1),
    "fast": FastRecipe(),
}


def try_out(engine: Engine, methods: Collection[Literal["optimize", "fast"]]) -> None:
    """Paint a small picture by each of `methods` whose network is at hand.

    Raises CannotServe where the device does not compute (`device_unavailable`), or has no memory for it
    (`insufficient_memory`).
    """
    at_hand = engine.networks()
    picture = np.random.default_rng(0).random((1, _SIDE_PX, _SIDE_PX, 3), np.float32)
    for method in methods:
        recipe = _RECIPES[method]
        if at_hand.keys().isdisjoint(networks_of(recipe)):
            continue
        try:
            *_, last = engine.paint(picture, [(picture, 1.0)], resolve(recipe))
        except Exception as error:  # as TensorFlow, CUDA and their libraries raise it
            if isinstance(error, Permanent) and error.code == Code.NETWORK_UNAVAILABLE:
                continue  # which is then not at hand, and others may be
            raise _unfit(engine, error) from error
        if not np.isfinite(last.picture).all():
            raise _unfit(engine, ArithmeticError("its picture has values that are no numbers"))


def _unfit(engine: Engine, error: Exception) -> CannotServe:
    what = f"a first step on {engine.device} failed: {error}"
    if isinstance(error, Permanent) and error.code == Code.OUT_OF_MEMORY:
        hint = "another process may have the memory; give this one more, or less to take: STYLEQUEUE_GPU_MEMORY_MB"
        return CannotServe(Code.INSUFFICIENT_MEMORY, what, hint)
    hint = "look at the driver, CUDA and the card's own errors (`nvidia-smi -q`); `--gpu -1` paints on the processor"
    return CannotServe(Code.DEVICE_UNAVAILABLE, what, hint)
