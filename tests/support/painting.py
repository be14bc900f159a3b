"""Jobs that are being painted, when something is done to those who paint them."""

from __future__ import annotations

import io
import itertools
from functools import partial

import numpy as np

from stylequeue.contract.events import Progress
from stylequeue.contract.job import Job
from stylequeue.contract.objects import checkpoint_key
from stylequeue.local import Process
from tests.support.deployment import WAIT_S, Deployment
from tests.support.processes import child_of, kill, wait_for, wait_gone

STEPS = 150
"""Takes 1.5 s."""
_small_numbers = itertools.count(3)


def submit(deployment: Deployment, steps: int = STEPS, **fields: object) -> Job:
    job = deployment.job(steps, **fields)
    deployment.queue.submit(job)
    return job


def painting(deployment: Deployment, steps: int = STEPS) -> Job:
    """A job of which at least one step is made."""
    job = submit(deployment, steps)
    deployment.until_painting(job)
    return job


def holder(deployment: Deployment, workers: dict[str, Process], job: Job) -> tuple[Process, Process]:
    """The worker that has the job, and the other one."""
    name = str(deployment.queue.status(job.id).worker).partition("@")[0]
    [other] = set(workers) - {name}
    return workers[name], workers[other]


def wait_for_checkpoint(deployment: Deployment, job: Job) -> int:
    """The step that it was saved at."""
    store, key = deployment.queue._store, checkpoint_key(job.id)
    wait_for(partial(store.exists, deployment.settings.work_bucket, key), WAIT_S, "a checkpoint")
    saved_bytes = store._client.get_object(Bucket=deployment.settings.work_bucket, Key=key)["Body"].read()
    with np.load(io.BytesIO(saved_bytes)) as saved:
        return int(saved["step"])


def is_gone(deployment: Deployment, key: str) -> bool:
    """Whether nothing lies under this key in the work bucket."""
    return not deployment.queue._store.exists(deployment.settings.work_bucket, key)


def steps_of(deployment: Deployment, job: Job, attempt: int) -> list[int]:
    """The steps that an attempt told of."""
    progress = [event.data for event in deployment.queue.watch(job.id) if isinstance(event, Progress)]
    return [data.step for data in progress if data.attempt == attempt and data.step]


def works(deployment: Deployment) -> Job:
    """A job that comes now is done."""
    steps = next(_small_numbers)  # a picture that nobody has painted before
    job = submit(deployment, steps)
    assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == steps
    return job


def kill_part(worker: Process, part: str) -> None:
    child = child_of(worker)
    kill(worker.pid if part == "worker" else child)
    wait_gone(child, WAIT_S)
