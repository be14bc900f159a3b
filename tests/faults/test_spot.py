"""A machine that is taken away, with the time that GKE's spot pods have, while it paints as large as it can."""

from __future__ import annotations

import io
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from stylequeue.contract.errors import Code
from stylequeue.contract.events import Progress
from stylequeue.contract.job import Job
from stylequeue.contract.memory import plan_of
from stylequeue.contract.objects import checkpoint_key
from stylequeue.contract.recipe import OptimizeRecipe, resolve
from tests.kubernetes.conftest import container_of, overlay
from tests.support import pictures
from tests.support.deployment import Deployment

SIDES_PX = 256, 2048
MEMORY_MB = 700
"""In which it fits only in tiles."""
RECIPE = {
    "method": "optimize",
    "preset": "tf-tutorial",
    "size": max(SIDES_PX),
    "network": "vgg16",
    # A step is no more than it must be.
    "content_layers": {"block3_conv1": 1.0},
    "style_layers": {"block1_conv1": 1.0},
    "steps": 100,
}
STEP_WAIT_S = 900
TIMES = 3


def until_step(deployment: Deployment, job: Job, attempt: int) -> None:
    """Return when this attempt has made a step, however long that takes."""
    for event in deployment.queue.watch(job.id, timeout_s=STEP_WAIT_S):
        if isinstance(event, Progress) and event.data.step and event.data.attempt == attempt:
            return


def saved_steps(deployment: Deployment, job: Job) -> int:
    store, bucket = deployment.queue._store, deployment.settings.work_bucket
    saved = store._client.get_object(Bucket=bucket, Key=checkpoint_key(job.id))["Body"].read()
    with np.load(io.BytesIO(saved)) as state:
        return int(state["done"])


@pytest.mark.slow
@pytest.mark.timeout(TIMES * (STEP_WAIT_S + 300))
def test_what_is_painted_when_a_spot_machine_goes(deployment: Deployment, model_dir: Path, tmp_path: Path) -> None:
    """It has ended in time, three times, with a checkpoint of the step before, though nothing was saved until then."""
    pod = overlay("gke-spot").workers()["stylequeue-worker-paint"]
    [grace_s] = (each["value"] for each in container_of(pod)["env"] if each["name"] == "STYLEQUEUE_GRACE_S")
    assert float(grace_s) < pod["spec"]["terminationGracePeriodSeconds"]
    deployment.configure(
        model_dir=model_dir, memory_mb=MEMORY_MB, grace_s=float(grace_s), checkpoint_interval_s=3600, max_attempts=1
    )
    photograph = tmp_path / "large.jpg"
    photograph.write_bytes(pictures.saved(pictures.quarters(*reversed(SIDES_PX)), "JPEG"))
    image = deployment.queue.upload(photograph).model_dump()
    assert plan_of(
        resolve(OptimizeRecipe.model_validate(RECIPE)),
        SIDES_PX,
        1,
        "vgg16",
        on_gpu=False,
        halved=False,
        budget_bytes=MEMORY_MB * 2**20,
    ).tile_px
    job = deployment.job(content=image, recipe=RECIPE)
    deployment.queue.submit(job)
    done = 0
    for attempt in range(1, TIMES + 1):
        worker = deployment.start(f"spot-{attempt}", app="stylequeue_worker.main")
        until_step(deployment, job, attempt)
        told_at = time.monotonic()
        os.kill(worker.pid, signal.SIGTERM)
        worker.wait(STEP_WAIT_S)
        took_s = time.monotonic() - told_at
        assert took_s < float(grace_s)
        record = deployment.queue._ledger.record(job.id)
        assert (record.state, record.attempt, record.spared) == ("queued", attempt, attempt)
        assert Code.PREEMPTED in str(record.last_error)
        before, done = done, saved_steps(deployment, job)
        print(f"attempt {attempt}: {took_s:.1f} s, {done} steps saved")
        assert done > before, "it went on from what was saved"
