"""Today's workers, and the keepers in them, finish what older code left behind."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stylequeue.broker.app import make_app
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, JobFailed, JobNotFound
from stylequeue.contract.events import Progress, SucceededData
from stylequeue.contract.objects import checkpoint_key
from stylequeue_worker.engine import ENGINE_VERSION
from tests.compatibility.recording import Recording
from tests.compatibility.test_reading import STATES
from tests.support.deployment import HURRIED, WAIT_S, Deployment
from tests.support.processes import wait_for

ENGINE_WORKER = "tests.support.engine_worker"
AGE_S = 120
"""Leases have run out, put-backs are due, what nobody acknowledged is handed out again."""
CUSTOMERS = {"exhausted": "43", "running": "44"}
OPEN_STATES = ("queued", "running")
PLAIN = (
    "queued_plain",
    "queued_plain_bulk",
    "queued_plain_urgent",
    "queued_plain_later",
    "queued_plain_expires",
)
ENDED_ELSE = {"retried": "failed", "overdue": "expired", "cancel_asked": "cancelled"}
"""Of the jobs that are open: where not with a picture."""


def of_this_engine(recorded: SucceededData) -> bool:
    """Whether what older code has half done is still worth something: another engine paints other pictures."""
    return recorded.engine_version == ENGINE_VERSION


def ended(queue: StyleQueue, job_id: str) -> bool:
    try:
        return queue.status(job_id).ended
    except JobNotFound:  # a message by plain Celery, until a worker takes it
        return False


def steps_of(queue: StyleQueue, job_id: str, attempt: int) -> list[int]:
    progress = [event.data for event in queue.watch(job_id, timeout_s=1) if isinstance(event, Progress)]
    return [data.step for data in progress if data.attempt == attempt and data.step]


def saved_step(recording: Recording, name: str, field: str) -> int:
    with np.load(io.BytesIO(recording.body("work", checkpoint_key(recording.jobs[name])))) as saved:
        return int(saved[field])


def test_everything_is_finished(deployment: Deployment, killed: Recording) -> None:
    deployment.configure(**{**HURRIED, "job_time_limit_s": 30, "visibility_timeout_s": 60})
    killed.load(deployment.settings, age_s=AGE_S)
    for name in ("today", "today-too"):
        deployment.start(name)
    queue, jobs = deployment.queue, killed.jobs
    here = of_this_engine(queue.wait(jobs["succeeded"]))
    opened = [name for name, state in STATES.items() if state in OPEN_STATES]
    for name in (*opened, *PLAIN, "queued_invalid"):
        wait_for(partial(ended, queue, jobs[name]), WAIT_S, f"{name} to end")

    expected = {
        **STATES,
        **dict.fromkeys((*opened, *PLAIN), "succeeded"),
        **ENDED_ELSE,
        "queued_invalid": "failed",
        "stored_unrecorded": "succeeded" if here else "failed",
    }
    assert {name: queue.status(jobs[name]).state for name in expected} == expected
    deployment.check(*map(killed.job, opened))
    with pytest.raises(JobNotFound):
        queue.status(jobs["deleted"])
    assert {name: queue.status(jobs[name]).labels["customer"] for name in CUSTOMERS} == CUSTOMERS
    assert {name: queue.status(jobs[name]).run for name in ("retried", "queued")} == {"retried": 2, "queued": 1}

    # Nothing was painted that had been painted before.
    assert queue.wait(jobs["running"]).reused != queue.wait(jobs["parked"]).reused
    if here:
        [holder] = [name for name in ("running", "parked") if not queue.wait(jobs[name]).reused]
        first_step = steps_of(queue, jobs[holder], attempt=2)[0]
        assert (first_step > saved_step(killed, "running", "step")) == (holder == "running")
        assert steps_of(queue, jobs["preempted"], attempt=2)[0] > saved_step(killed, "preempted", "step")
        assert steps_of(queue, jobs["stored_unrecorded"], attempt=2) == []
    codes = sorted(letter.code for letter in queue.dead_letters())
    assert codes == sorted(
        [
            *[Code.ATTEMPTS_EXHAUSTED, Code.UNKNOWN_TASK, Code.INVALID_JOB] * 2,
            Code.SCHEMA_TOO_NEW,
            Code.MESSAGE_MALFORMED,
        ]
    )

    with make_app(deployment.settings) as app:
        for name in PLAIN:
            done: Any = app.AsyncResult(jobs[name]).get(timeout=WAIT_S)
            assert done["output"]["key"].startswith(jobs[name])
        other_sender: Any = app.AsyncResult("another-sender-of-running").get(timeout=WAIT_S)
        assert other_sender["labels"] == {"customer": "44"}
        with pytest.raises(JobFailed, match=Code.INVALID_JOB):
            app.AsyncResult(jobs["queued_invalid"]).get(timeout=WAIT_S)


@pytest.mark.slow
def test_what_is_replayed_ends_as_it_should(deployment: Deployment, killed: Recording) -> None:
    deployment.configure(**{**HURRIED, "job_time_limit_s": 30, "visibility_timeout_s": 60})
    killed.load(deployment.settings, age_s=AGE_S)
    queue, jobs = deployment.queue, killed.jobs
    for letter in queue.dead_letters():
        queue.replay(letter.id)
    for name in ("failed", "cancelled_queued", "expired"):
        queue.retry(jobs[name])
    deployment.worker("today")
    for name in ("exhausted", "exhausted_too", "cancelled_queued", "expired"):
        assert queue.wait(jobs[name], timeout_s=WAIT_S).output.key.startswith(jobs[name])
        assert queue.status(jobs[name]).run == 2
    wait_for(partial(ended, queue, jobs["failed"]), WAIT_S, "a job without content to fail again")
    # What was no job is none now.
    wait_for(lambda: len(queue.dead_letters()) == 6, WAIT_S, "four letters to come back, and two that lay on the list")
    assert {jobs["refused_newer"], jobs["refused_invalid"]} < {letter.id for letter in queue.dead_letters()}


@pytest.mark.slow
def test_the_engine_goes_on_with_a_half_painted_picture(deployment: Deployment, model_dir: Path) -> None:
    recording = Recording.read("half_painted")
    deployment.configure(job_time_limit_s=60, visibility_timeout_s=120, model_dir=model_dir)
    recording.load(deployment.settings, age_s=AGE_S)
    deployment.worker("engine", app=ENGINE_WORKER)
    queue, job_id = deployment.queue, recording.jobs["half_painted"]
    done = queue.wait(job_id, timeout_s=WAIT_S)
    assert done.report.steps == 120
    first_step = steps_of(queue, job_id, attempt=2)[0]
    assert (first_step > saved_step(recording, "half_painted", "done")) == (ENGINE_VERSION == "3")
    deployment.check(recording.job("half_painted"))
