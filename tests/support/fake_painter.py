"""A painter that hands the content back after the steps asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from stylequeue.contract.recipe import ResolvedOptimizeRecipe

STEP_S = 0.01


class FakePainter:
    """Takes `STEP_S` a step and paints nothing, with any network."""

    device = "no device"
    precision = "float32"

    def networks(self) -> dict[str, str]:
        return dict.fromkeys(("vgg19", "vgg16", "fast"), "0" * 64)

    def network(self, _recipe: object) -> Any:
        from stylequeue_worker.engine import Network

        return Network("fake", "0" * 64)

    def paint(
        self,
        content: Any,
        _styles: object,
        recipe: object,
        resume: Any = None,
        start: object = None,  # noqa: ARG002 - given by name
        masks: object = None,  # noqa: ARG002 - given by name
    ) -> Iterator[Any]:
        import numpy as np

        from stylequeue_worker.engine import Step, Summary

        steps = recipe.steps if isinstance(recipe, ResolvedOptimizeRecipe) else 1
        began = int(resume["step"]) if resume else 0
        for step in range(began + 1, steps + 1):
            if steps > 1:
                time.sleep(STEP_S)
            state = {"step": np.array(step)}
            losses = {"style": 1 / step}
            summarise = partial(Summary, losses, {}, 1.0, "float32", 1)
            yield Step(
                step,
                steps,
                max(content.shape[1:3]),
                losses,
                step / steps,
                content,
                summarise,
                state.copy,
            )
