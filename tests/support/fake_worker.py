"""A worker that is real but for its painter, which hands the content back after the steps asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stylequeue.broker import READY_FOR_JOBS
from stylequeue.job import ResolvedOptimizeRecipe
from stylequeue.local import Process, Stack
from stylequeue.settings import Settings
from stylequeue_worker.app import make_worker_app
from tests.support.messages import NOTHING_TASK

STEP_S = 0.01
START_TIMEOUT_S = 120


def command(name: str, app: str = "tests.support.fake_worker") -> list[str]:
    """What starts this worker, or that of another module."""
    celery = [sys.executable, "-m", "celery", "-A", app, "worker"]
    return [*celery, f"--hostname={name}@%h", "--without-gossip", "--without-mingle"]


def start_fake_worker(stack: Stack, name: str, **env: str) -> Process:
    """A worker whose painter is fake; `env` are further settings."""
    process = stack.process(name, command(name), env={"PYTHONPATH": str(Path(__file__).parents[2]), **env})
    process.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
    return process


class FakePainter:
    """Takes `STEP_S` a step and paints nothing."""

    def network(self, _recipe: object) -> Any:
        from stylequeue_worker.engine import Network

        return Network("fake", "0" * 64)

    def paint(self, content: Any, _styles: object, recipe: object, resume: Any = None, **_more: Any) -> Iterator[Any]:
        import numpy as np

        from stylequeue_worker.engine import Step

        steps = recipe.steps if isinstance(recipe, ResolvedOptimizeRecipe) else 1
        began = int(resume["step"]) if resume else 0
        for step in range(began + 1, steps + 1):
            if steps > 1:
                time.sleep(STEP_S)
            state = {"step": np.array(step)}
            losses = {"style": 1 / step}
            yield Step(step, steps, max(content.shape[1:3]), losses, step / steps, content, state.copy)


def load_painter(settings: Settings) -> FakePainter:
    return FakePainter()


app = make_worker_app(Settings.load(), module="tests.support.fake_worker", load_painter=load_painter)


@app.task(name=NOTHING_TASK, shared=False)
def nothing() -> float:
    """A bare Celery task, to compare with: when it began."""
    return time.time()
