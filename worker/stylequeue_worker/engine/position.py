"""How far a painting is, to be shown, saved and gone on from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast, get_args

import numpy as np
import tensorflow as tf

from stylequeue.contract.cost import Stage, scaled_sides

from .descent import Moments
from .safety import Standstill
from .steps import BadCheckpoint, Checkpoint, Cut, Step, Summary


@dataclass(frozen=True)
class Position:
    """How far a painting is: `taken` steps of stage `number`, `done` over all; the picture then, and Adam's memory.

    Pictures are [1, H, W, 3] in [0, 1], in the dtype of the losses, as is Adam's memory.
    """

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
    begun: tf.Tensor | None = None
    """What the stage before came to; kept only where the preset has terms that may look at it."""
    rate: float = 1.0
    """Share of its rule's at which Adam goes on."""
    totals: tuple[float, ...] = ()
    """The stage's losses that tell whether it stands still."""

    def step(
        self, steps: int, losses: Mapping[str, float], share: float, summarise: Callable[[np.ndarray], Summary]
    ) -> Step:
        """As it is shown, `share` of the arithmetic done. summarise: of a picture float32 [1, H, W, 3]."""
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
        if self.begun is not None:
            parts["begun"] = np.asarray(self.begun)
        # What most paintings have not is left out, and what checkpoints of before have not may be missing.
        if self.rate != 1:
            parts["rate"] = np.array(self.rate)
        if self.totals:
            parts["totals"] = np.array(self.totals)
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
            begun=tf.constant(state["begun"], dtype) if "begun" in state else None,
            rate=float(state["rate"]) if "rate" in state else 1.0,
            totals=tuple(map(float, state["totals"])) if "totals" in state else (),
        )


def check(state: Checkpoint, stages: Sequence[Stage], sides_px: Sequence[int]) -> None:
    """Return if a painting in float32 in these stages, `sides_px` in the last, may go on from `state`.

    Raises BadCheckpoint otherwise: it may be damaged, or somebody else's work.
    """
    try:
        steps = sum(stage.steps for stage in stages)
        stage = stages[int(_number(state, "number", 0, len(stages) - 1))]
        _number(state, "taken", 0, stage.steps)
        _number(state, "done", 0, steps)
        _number(state, "spent_s", 0, _MAX_SPENT_S)
        _number(state, "best", 0, math.inf)
        if str(state["cut"]) not in ("", *get_args(Cut)):
            raise BadCheckpoint("cut")
        shape = (1, *scaled_sides(sides_px, stage.scale), 3)
        _array(state, "picture", shape, 0, 1)
        if "begun" in state:
            before = stages[int(state["number"]) - 1]
            _array(state, "begun", (1, *scaled_sides(sides_px, before.scale), 3), 0, 1)
        if "rate" in state:
            _number(state, "rate", np.finfo(np.float64).tiny, 1)
        if "totals" in state:
            _totals(state["totals"])
        if "adam_step" in state:
            _number(state, "adam_step", 0, steps)
            for name in Moments._fields[1:]:
                _array(state, f"adam_{name}", shape, 0 if name == "second" else -_FINITE, _FINITE)
    except (KeyError, TypeError) as error:
        raise BadCheckpoint(str(error)) from error


_MAX_SPENT_S = 1e9
_FINITE = float(np.finfo(np.float32).max)


def _number(state: Checkpoint, name: str, least: float, most: float) -> float:
    value = state[name]
    # Written so that NaN fails, too.
    if value.shape != () or value.dtype.kind not in "iuf" or not least <= value <= most:
        raise BadCheckpoint(f"{name}: {value!r:.40}")
    return float(value)


def _totals(value: np.ndarray) -> None:
    if (
        value.dtype != np.float64
        or value.ndim != 1
        or not 0 < len(value) <= Standstill.WINDOW
        or not np.isfinite(value).all()
    ):
        raise BadCheckpoint(f"totals: {value.dtype} {value.shape}")


def _array(state: Checkpoint, name: str, shape: tuple[int, ...], least: float, most: float) -> None:
    value = state[name]
    if value.dtype != np.float32 or value.shape != shape or not (value.min() >= least and value.max() <= most):
        raise BadCheckpoint(f"{name}: {value.dtype} {value.shape}")
