"""Jobs that are no longer wanted, wherever they are."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import Any

import pytest

from stylequeue.contract.errors import Code, JobCancelled, JobFailed, JobNotFound
from stylequeue.contract.events import Progress, Started
from stylequeue.contract.job import Job
from stylequeue.contract.objects import checkpoint_key
from stylequeue.ledger.names import WAITING_KEY
from tests.faults.conftest import CREW
from tests.support.deployment import ENDLESS, WAIT_S, Deployment
from tests.support.invariants import check
from tests.support.processes import child_of, kill, wait_for, wait_gone
from tests.support.proxy import Proxy

# Celery's own way of storing a result, in our process where the client tells of a cancelled job.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

VISIBILITY_S = 30
SHORT: dict[str, Any] = {"lease_s": 3, "heartbeat_s": 1, "keeper_interval_s": 0.2}


def attempts(deployment: Deployment, job: Job) -> int:
    return sum(isinstance(event, Started) for event in deployment.queue._ledger.job_events(job.id))


def checked(deployment: Deployment, *jobs: Job) -> None:
    check(deployment.queue, [job.id for job in jobs], visibility_timeout_s=VISIBILITY_S)


def assert_cancelled(deployment: Deployment, job: Job) -> None:
    queue = deployment.queue
    with pytest.raises(JobCancelled):
        queue.wait(job.id, timeout_s=WAIT_S)
    with pytest.raises(JobCancelled):
        queue._app.AsyncResult(job.id).get(timeout=WAIT_S)


def test_30_cancelled_anywhere(crew: Deployment) -> None:
    queue = crew.queue
    busy = [crew.job(steps=ENDLESS - number) for number in range(CREW)]
    running, queued, done = busy[0], crew.job(steps=77), crew.job(steps=2)
    queue.submit(done)
    queue.wait(done.id, timeout_s=WAIT_S)
    queue.submit_many(busy)
    for job in busy:
        crew.until_painting(job)
    queue.submit(queued)

    assert queue.cancel(queued.id) == "cancelled"
    assert queue.cancel(queued.id) == "cancelled", "asked twice, answered twice"
    assert queue.cancel(done.id) == "succeeded", "too late is said truthfully"
    assert queue.cancel(running.id) in ("running", "cancelled")
    with pytest.raises(JobNotFound):
        queue.cancel("nobody")
    for job in busy:
        queue.cancel(job.id)
    for job in (*busy, queued):
        assert_cancelled(crew, job)
    assert attempts(crew, queued) == 0
    checked(crew, *busy, queued, done)


def test_30_cancelled_when_the_picture_is_just_finished(deployment: Deployment, redis_proxy: Proxy) -> None:
    deployment.worker(redis=redis_proxy)
    queue, job = deployment.queue, deployment.job(steps=2)
    committing = redis_proxy.hold(deployment.move("finish"))
    queue.submit(job)
    committing.wait(WAIT_S)
    assert queue.cancel(job.id) == "running"
    committing.release()
    assert queue.wait(job.id, timeout_s=WAIT_S).report.steps == 2
    assert queue.cancel(job.id) == "succeeded"
    checked(deployment, job)


@pytest.mark.slow
def test_30_cancelled_while_no_worker_lives(deployment: Deployment) -> None:
    first, queue = deployment.worker("first", **SHORT), deployment.queue
    running, queued = deployment.job(), deployment.job(steps=77)
    queue.submit(running)
    deployment.until_painting(running)
    queue.submit(queued)
    child = child_of(first)
    kill(first.pid)
    wait_gone(child, WAIT_S)
    assert queue.cancel(queued.id) == "cancelled"
    assert queue.cancel(running.id) == "running", "nobody can know yet that its worker is gone"

    deployment.worker("second", visibility_timeout_s=VISIBILITY_S, job_time_limit_s=VISIBILITY_S // 2, **SHORT)
    for job in (queued, running):
        assert_cancelled(deployment, job)
    assert attempts(deployment, running) == 1
    checked(deployment, running, queued)


def test_30_a_job_that_waits_for_another_is_cancelled(crew: Deployment) -> None:
    queue, first, second = crew.queue, crew.job(), crew.job()
    queue.submit(first)
    crew.until_painting(first)
    queue.submit(second)
    wait_for(lambda: queue._ledger.redis.zscore(WAITING_KEY, second.id), WAIT_S, "the second to wait")
    assert queue.cancel(second.id) == "cancelled"
    assert queue.status(first.id).state == "running"
    queue.cancel(first.id)
    for job in (first, second):
        assert_cancelled(crew, job)
    checked(crew, first, second)


def test_31_stopped_and_kept(crew: Deployment) -> None:
    queue, job, same = crew.queue, crew.job(), crew.job()
    queue.submit(job)
    crew.until_painting(job)
    queue.cancel(job.id, keep=True)
    done = queue.wait(job.id, timeout_s=WAIT_S)
    assert done.partial
    assert 0 < done.report.steps < 10_000
    assert queue._store.exists(done.output.bucket, done.output.key)

    # What is not finished is no picture for others.
    queue.submit(same)
    crew.until_painting(same)
    queue.cancel(same.id)
    assert_cancelled(crew, same)
    checked(crew, job, same)


def test_31_a_kept_picture_never_stands_for_the_whole(crew: Deployment) -> None:
    where = {"bucket": "results", "key": f"kept/{crew.photograph.key}.{crew.job().id}.jpg"}
    queue, job, whole = crew.queue, crew.job(300, output=where), crew.job(300, output=where)
    queue.submit(job)
    crew.until_painting(job)
    queue.cancel(job.id, keep=True)
    assert queue.wait(job.id, timeout_s=WAIT_S).partial
    queue.submit(whole)
    with pytest.raises(JobFailed) as caught:
        queue.wait(whole.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.OUTPUT_EXISTS
    checked(crew, job, whole)


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint_interval_s", [0.1, 1000])
def test_31_kept_though_its_worker_is_gone(deployment: Deployment, checkpoint_interval_s: float) -> None:
    """What it had saved is kept; where that is nothing, the job is cancelled."""
    first = deployment.worker("first", checkpoint_interval_s=checkpoint_interval_s, **SHORT)
    queue, job = deployment.queue, deployment.job()
    queue.submit(job)
    deployment.until_painting(job)
    saved = checkpoint_interval_s < 1
    if saved:
        there = partial(queue._store.exists, deployment.settings.work_bucket, checkpoint_key(job.id))
        wait_for(there, WAIT_S, "a checkpoint")
    child = child_of(first)
    kill(first.pid)
    wait_gone(child, WAIT_S)
    queue.cancel(job.id, keep=True)
    deployment.worker("second", visibility_timeout_s=VISIBILITY_S, job_time_limit_s=VISIBILITY_S // 2, **SHORT)
    if saved:
        assert queue.wait(job.id, timeout_s=WAIT_S).partial
    else:
        assert_cancelled(deployment, job)
    checked(deployment, job)


@pytest.mark.slow
def test_31_kept_while_it_waits_for_its_next_attempt(deployment: Deployment) -> None:
    first, queue = deployment.worker("first"), deployment.queue
    job = deployment.job()
    queue.submit(job)
    deployment.until_painting(job)
    os.kill(first.pid, signal.SIGTERM)
    assert first.wait(WAIT_S) == 0
    assert queue.cancel(job.id, keep=True) == "queued"
    deployment.worker("second")
    done = queue.wait(job.id, timeout_s=WAIT_S)
    assert done.partial
    progress = [event.data for event in queue.watch(job.id) if isinstance(event, Progress)]
    assert done.report.steps > max(data.step for data in progress if data.attempt == 1), "it goes on from there"
    checked(deployment, job)
