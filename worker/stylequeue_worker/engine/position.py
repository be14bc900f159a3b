"""How far a painting is, to be shown, saved and gone on from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import tensorflow as tf

from .descent import Moments
from .steps import Checkpoint, Cut, Step, Summary


@dataclass(frozen=True)
class Position:
    """How far a painting is: `taken` steps of stage `number`, `done` over all; the picture then, and Adam's memory."""

    number: int
    taken: int
    done: int
    picture: tf.Tensor | None
    moments: Moments | None
    spent_s: float
    best: float
    """The least loss at this stage; followed only where the preset keeps the picture that had it."""
    cut: Cut | None
    """What ended a stage early so far."""

    def step(
        self, steps: int, losses: Mapping[str, float], share: float, summarise: Callable[[np.ndarray], Summary]
    ) -> Step:
        """As it is shown, `share` of the arithmetic done."""
        shown = np.asarray(self.picture, np.float32)
        size_px = max(shown.shape[1:3])
        return Step(
            self.done,
            steps,
            size_px,
            losses,
            share,
            shown,
            save=self.state,
            cut=self.cut,
            summarise=partial(summarise, shown),
        )

    def state(self) -> Checkpoint:
        """As plain arrays."""
        plain = {name: getattr(self, name) for name in ("number", "taken", "done", "spent_s", "best")}
        parts = {name: np.array(value) for name, value in plain.items()}
        parts |= {"picture": np.asarray(self.picture), "cut": np.array(self.cut or "")}
        if self.moments:
            parts |= {f"adam_{name}": np.asarray(value) for name, value in self.moments._asdict().items()}
        return parts

    @classmethod
    def beginning(cls) -> Position:
        """Before the first step."""
        return cls(number=0, taken=0, done=0, picture=None, moments=None, spent_s=0, best=math.inf, cut=None)

    @classmethod
    def read(cls, state: Checkpoint, dtype: tf.DType) -> Position:
        """From `state`."""
        moments = None
        if "adam_step" in state:
            arrays = {name: tf.constant(state[f"adam_{name}"], dtype) for name in Moments._fields if name != "step"}
            moments = Moments(step=int(state["adam_step"]), **arrays)
        return cls(
            number=int(state["number"]),
            taken=int(state["taken"]),
            done=int(state["done"]),
            picture=tf.constant(state["picture"], dtype),
            moments=moments,
            spent_s=float(state["spent_s"]),
            best=float(state["best"]),
            cut=cast("Cut | None", str(state["cut"]) or None),
        )
