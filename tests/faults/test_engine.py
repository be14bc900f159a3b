"""With the engine that ships: a picture painted on by another worker is as good as one that is painted at once."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from stylequeue.events import Progress, SucceededData
from stylequeue.job import Job, ResolvedOptimizeRecipe
from tests.support.deployment import WAIT_S, Deployment
from tests.support.processes import kill

STEPS = 120
TOLERANCE = 0.01
ENGINE_WORKER = "stylequeue_worker.main"


def loss(done: SucceededData) -> float:
    """Of the picture, as the recipe weighs it."""
    recipe, losses = done.recipe, done.report.losses
    assert isinstance(recipe, ResolvedOptimizeRecipe)
    weights = {
        "content": recipe.content_weight,
        "style": recipe.style_weight,
        "variation": recipe.variation_weight,
    }
    return math.fsum(weight * losses[term] for term, weight in weights.items())


def painted_to(deployment: Deployment, job: Job, share: float) -> None:
    """Return when so much of it is painted."""
    for event in deployment.queue.watch(job.id, timeout_s=WAIT_S):
        if isinstance(event, Progress) and event.data.step >= share * STEPS:
            return
    raise AssertionError("it ended before")


@pytest.mark.slow
def test_02_killed_while_the_engine_paints(deployment: Deployment, model_dir: Path) -> None:
    deployment.configure(model_dir=model_dir, checkpoint_interval_s=0.2, lease_s=6, heartbeat_s=2)
    workers = {name: deployment.start(name, app=ENGINE_WORKER) for name in ("one", "two")}
    deployment.until_ready()
    queue = deployment.queue
    recipe = {"method": "optimize", "size": 96, "steps": STEPS, "network": "vgg16"}
    whole, broken = deployment.job(recipe=recipe), deployment.job(recipe=recipe)
    queue.submit(whole)
    at_once = queue.wait(whole.id, timeout_s=WAIT_S)
    # Else its picture would be reused.
    queue.delete(whole.id)

    queue.submit(broken)
    painted_to(deployment, broken, 0.5)
    kill(workers[str(queue.status(broken.id).worker).partition("@")[0]].pid)
    resumed = queue.wait(broken.id, timeout_s=WAIT_S)
    assert queue.status(broken.id).attempt == 2
    progress = [event.data for event in queue.watch(broken.id) if isinstance(event, Progress) and event.data.step]
    assert min(data.step for data in progress if data.attempt == 2) > STEPS // 10, "not from the beginning"
    assert resumed.report.steps == at_once.report.steps == STEPS
    assert loss(resumed) == pytest.approx(loss(at_once), rel=TOLERANCE)
