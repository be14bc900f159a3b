"""An upgrade while it goes on: programs of this code beside such of older code, over one Redis and one store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.contract.errors import JobFailed
from stylequeue.local import Process, environment
from tests.support.deployment import WAIT_S, Deployment
from tests.support.fake_worker import START_TIMEOUT_S, command
from tests.support.jobs import make_job
from tests.support.processes import kill

OLDER = Path(__file__).with_name("older.zip")
SUBMIT_AND_WAIT = """
import sys
from stylequeue.client import StyleQueue
from stylequeue.job import Job
job = Job.model_validate_json(sys.argv[1])
with StyleQueue() as queue:
    queue.submit(job)
    print(queue.wait(job.id, timeout_s=60).output.key)
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The older code, unpacked."""
    directory = tmp_path_factory.mktemp("older")
    with ZipFile(OLDER) as archive:
        archive.extractall(directory)
    return directory


def known_to_both(deployment: Deployment) -> dict[str, str]:
    """Variables for older code: where Redis and the store are, and no setting that came later."""
    names = ("REDIS_URL", "S3_", "LEASE_S", "HEARTBEAT_S", "CHECKPOINT_", "PROGRESS_", "KEEPER_")
    given = environment(deployment.settings)
    return {name: value for name, value in given.items() if name.removeprefix("STYLEQUEUE_").startswith(names)}


def older_worker(deployment: Deployment, packages: Path) -> Process:
    """One that is ready for jobs."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STYLEQUEUE_")}
    worker = Process(
        "older",
        [*command("older", "older_worker"), "--without-gossip", "--without-mingle"],
        directory=packages,
        log=packages / f"{len(deployment.workers)}.log",
        env={**inherited, "PYTHONPATH": str(packages), **known_to_both(deployment)},
    )
    deployment.workers.append(worker)
    worker.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
    return worker


def older_fields(deployment: Deployment, steps: int) -> dict[str, Any]:
    """A job as older producers write it. What newer ones may say besides, older workers do not know, and refuse."""
    image = {"bucket": deployment.photograph.bucket, "key": deployment.photograph.key}
    recipe = {"method": "optimize", "preset": "painterly", "size": 64, "steps": steps}
    return {"content": image, "styles": [{"image": image}], "recipe": recipe, "output": {"bucket": "results"}}


@pytest.mark.slow
def test_an_older_producer_and_a_worker_of_now(deployment: Deployment, packages: Path) -> None:
    deployment.worker()
    job_id = uuid.uuid4().hex
    fields = json.dumps({"id": job_id, **older_fields(deployment, 3)})
    done = subprocess.run(
        [sys.executable, "-c", SUBMIT_AND_WAIT, fields],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(packages), **known_to_both(deployment)},
        capture_output=True,
        text=True,
        timeout=WAIT_S * 2,
        check=False,
    )
    assert done.stdout.strip() == f"{job_id}.jpg", done.stdout + done.stderr
    assert deployment.queue.status(job_id).state == "succeeded"


@pytest.mark.slow
def test_workers_are_replaced_while_they_paint(deployment: Deployment, packages: Path) -> None:
    """What an older one has half done when it is killed, and what it refuses, one of now paints."""
    deployment.configure(lease_s=4, heartbeat_s=0.5, keeper_interval_s=0.3, checkpoint_interval_s=0.2)
    older = older_worker(deployment, packages)
    queue = deployment.queue
    newer, half_done = deployment.job(3), make_job(**older_fields(deployment, 1500))
    queue.submit(newer)
    with pytest.raises(JobFailed, match="schema_too_new"):
        queue.wait(newer.id, timeout_s=WAIT_S)
    queue.submit(half_done)
    deployment.until_painting(half_done)
    kill(older.pid)
    deployment.worker()
    [letter] = queue.dead_letters()
    queue.replay(letter.id)
    for job in (newer, half_done):
        assert queue.wait(job.id, timeout_s=WAIT_S).output.key == job.output_key
    assert queue.dead_letters() == []
