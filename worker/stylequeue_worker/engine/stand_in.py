"""An engine that hands the content back, for tests of what is around the painting."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from stylequeue.contract.recipe import FAST_NETWORK, VGG_NETWORKS, ResolvedOptimizeRecipe, ResolvedRecipe

from .steps import BadCheckpoint, Checkpoint, Network, Step, Summary

if TYPE_CHECKING:
    import numpy as np

_NO_WEIGHTS = "0" * 64


class StandIn:
    """Takes the recipe's steps and paints nothing, with any network; needs neither networks nor TensorFlow."""

    device = "no device"
    precision = "float32"
    step_s = 0.0
    """Seconds a step."""

    def networks(self) -> dict[str, str]:
        """All there are."""
        return dict.fromkeys((*VGG_NETWORKS, FAST_NETWORK), _NO_WEIGHTS)

    def network(self, recipe: ResolvedRecipe) -> Network:  # noqa: ARG002 - it is the same for all
        """None that is real."""
        return Network("stand-in", _NO_WEIGHTS)

    def paint(
        self,
        content: np.ndarray,
        styles: Sequence[tuple[np.ndarray, float]],  # noqa: ARG002 - as the real engine has it
        recipe: ResolvedRecipe,
        resume: Checkpoint | None = None,
        start: np.ndarray | None = None,  # noqa: ARG002
        masks: Sequence[np.ndarray | None] | None = None,  # noqa: ARG002
        kept: np.ndarray | None = None,  # noqa: ARG002
    ) -> Iterator[Step]:
        """The content, float32 [1, H, W, 3], after each step; the loss falls."""
        import numpy as np

        steps = recipe.steps if isinstance(recipe, ResolvedOptimizeRecipe) else 1
        began = _began(resume) if resume else 0
        # One at least, also of a recipe of none.
        for step in range(min(began + 1, steps), steps + 1):
            if steps > 1 and self.step_s:
                time.sleep(self.step_s)
            losses: Mapping[str, float] = {"style": 1 / max(step, 1)}
            yield Step(
                step,
                steps,
                max(content.shape[1:3]),
                losses,
                step / steps if steps else 1,
                content,
                partial(Summary, losses, {}, 1.0, self.precision, 1),
                {"step": np.array(step)}.copy,
            )


def _began(state: Checkpoint) -> int:
    if "step" not in state or state["step"].shape != () or state["step"].dtype.kind != "i":
        raise BadCheckpoint("it has no step")
    return int(state["step"])
