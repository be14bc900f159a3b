"""With the engine that ships: a picture painted on by another worker is as good as one that is painted at once."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest

from stylequeue.contract.events import Progress, SucceededData
from stylequeue.contract.job import Job
from stylequeue.contract.objects import checkpoint_key
from stylequeue.contract.recipe import ResolvedOptimizeRecipe
from tests.support.deployment import WAIT_S, Deployment
from tests.support.processes import kill, wait_for

STEPS = 120
TOLERANCE = 0.01
ENGINE_WORKER = "tests.support.engine_worker"


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


def saved_steps(deployment: Deployment, job: Job) -> int:
    """How many its newest checkpoint holds."""
    store, key = deployment.queue._store, checkpoint_key(job.id)
    if not store.exists(deployment.settings.work_bucket, key):
        return 0
    checkpoint = store._client.get_object(Bucket=deployment.settings.work_bucket, Key=key)["Body"].read()
    with np.load(io.BytesIO(checkpoint)) as saved:
        return int(saved["done"])


@pytest.mark.slow
def test_02_killed_while_the_engine_paints(deployment: Deployment, model_dir: Path) -> None:
    deployment.configure(model_dir=model_dir, checkpoint_interval_s=0.2, lease_s=6, heartbeat_s=2)
    workers = {name: deployment.start(name, app=ENGINE_WORKER) for name in ("one", "two")}
    deployment.until_ready()
    queue = deployment.queue
    recipe = {"method": "optimize", "preset": "painterly", "size": 96, "steps": STEPS, "network": "vgg16"}
    whole, broken = deployment.job(recipe=recipe), deployment.job(recipe=recipe)
    queue.submit(whole)
    at_once = queue.wait(whole.id, timeout_s=WAIT_S)
    # Else its picture would be reused.
    queue.delete(whole.id)

    queue.submit(broken)
    saved = wait_for(lambda: saved_steps(deployment, broken), WAIT_S, "a checkpoint")
    kill(workers[str(queue.status(broken.id).worker).partition("@")[0]].pid)
    resumed = queue.wait(broken.id, timeout_s=WAIT_S)
    assert queue.status(broken.id).attempt == 2
    progress = [event.data for event in queue.watch(broken.id) if isinstance(event, Progress) and event.data.step]
    assert min(data.step for data in progress if data.attempt == 2) > saved, "not from the beginning"
    assert resumed.report.steps == at_once.report.steps == STEPS
    assert loss(resumed) == pytest.approx(loss(at_once), rel=TOLERANCE)
