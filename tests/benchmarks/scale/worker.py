"""A worker that is real but for its engine, which takes its time without using the processor, as a GPU lets it.

A step is done `STEP_S` after the one before was to be done, whenever this process comes to look: what the machine is
busy with meanwhile slows nothing but the service around the painting. A job by `fast` takes `FAST_S`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stylequeue.contract.recipe import ResolvedOptimizeRecipe, ResolvedRecipe
from stylequeue.settings import Settings
from stylequeue_worker.engine.stand_in import StandIn
from stylequeue_worker.engine.steps import Step
from stylequeue_worker.process.app import make_worker_app

if TYPE_CHECKING:
    import numpy as np

MODULE = "tests.benchmarks.scale.worker"
STEP_S = 0.01
FAST_S = 0.2


class Sleeper(StandIn):
    """Hands the content back after the time that a GPU would take."""

    def paint(
        self,
        content: np.ndarray,
        styles: Sequence[tuple[np.ndarray, float]],
        recipe: ResolvedRecipe,
        *more: Any,
        **named: Any,
    ) -> Iterator[Step]:
        """As the stand-in, which does not sleep itself."""
        step_s = STEP_S if isinstance(recipe, ResolvedOptimizeRecipe) else FAST_S
        due_s = time.monotonic()
        for step in super().paint(content, styles, recipe, *more, **named):
            due_s += step_s
            time.sleep(max(0.0, due_s - time.monotonic()))
            yield step


def load_engine(_settings: Settings) -> Sleeper:
    """In the child."""
    return Sleeper()


app = make_worker_app(Settings.load(), module=MODULE, load_engine=load_engine)
