"""Jobs that come too often, too late, or from another version."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stylequeue.broker.messages import Message
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, JobCancelled, JobConflict, JobExpired, JobFailed, Permanent
from stylequeue.contract.events import Started
from stylequeue.contract.job import SCHEMA_VERSION, TASK_NAME, Job
from stylequeue.contract.status import DeadLetter
from stylequeue.ledger.names import DEADLINES_KEY, WAITING_KEY, record_key
from stylequeue.local import Stack, environment
from tests.faults.conftest import CREW
from tests.support import pictures
from tests.support.deployment import ENDLESS, WAIT_S, Deployment
from tests.support.fake_worker import START_TIMEOUT_S
from tests.support.invariants import check
from tests.support.processes import wait_for

VISIBILITY_S = 30
OLD_JOBS = Path(__file__).parent / "jobs"


@pytest.fixture
def queue(crew: Deployment) -> StyleQueue:
    return crew.queue


def attempts(queue: StyleQueue, job: Job) -> int:
    return sum(isinstance(event, Started) for event in queue._ledger.job_events(job.id))


def checked(queue: StyleQueue, *jobs: Job) -> None:
    check(queue, [job.id for job in jobs], visibility_timeout_s=VISIBILITY_S)


def test_25_a_hundred_copies_of_one_message(crew: Deployment, queue: StyleQueue) -> None:
    job = crew.job(steps=30)
    queue._ledger.accept([job])
    for number in range(100):
        # As sent again by a producer, and as sent by a hundred plain senders.
        queue._messages.send([Message.of(job, task_id=job.id if number % 2 else f"{job.id}-{number}")])
    done = queue.wait(job.id, timeout_s=WAIT_S)
    checked(queue, job)
    assert attempts(queue, job) == 1
    assert done.report.steps == 30
    assert queue.wait(job.id) == done


def test_26_two_jobs_with_one_fingerprint_in_flight(crew: Deployment, queue: StyleQueue) -> None:
    first, second, third = crew.job(steps=101), crew.job(steps=101, labels={"mine": "too"}), crew.job(steps=101)
    queue.submit(first)
    crew.until_painting(first)
    queue.submit(second)
    painted, waited = queue.wait(first.id, timeout_s=WAIT_S), queue.wait(second.id, timeout_s=WAIT_S)
    queue.submit(third)
    late = queue.wait(third.id, timeout_s=WAIT_S)
    assert [done.reused for done in (painted, waited, late)] == [False, True, True]
    assert {done.output.sha256 for done in (painted, waited, late)} == {painted.output.sha256}
    assert {done.output.key for done in (painted, waited, late)} == {job.output_key for job in (first, second, third)}
    assert waited.labels == {"mine": "too"}
    checked(queue, first, second, third)


def test_26_the_one_that_paints_is_cancelled(crew: Deployment, queue: StyleQueue) -> None:
    first, second = crew.job(), crew.job()
    queue.submit(first)
    crew.until_painting(first)
    queue.submit(second)
    wait_for(lambda: queue._ledger.redis.zscore(WAITING_KEY, second.id), WAIT_S, "the second to wait")
    queue.cancel(first.id)
    with pytest.raises(JobCancelled):
        queue.wait(first.id, timeout_s=WAIT_S)
    crew.until_painting(second, attempt=2)
    queue.cancel(second.id, keep=True)
    assert not queue.wait(second.id, timeout_s=WAIT_S).reused
    checked(queue, first, second)


def test_26_the_painted_picture_was_replaced(crew: Deployment, queue: StyleQueue) -> None:
    """It is not what others would reuse: the picture is painted anew, unless it lies where it is wanted."""
    first, second, third, fourth = (crew.job(steps=7) for _ in range(4))
    for job in (first, second):
        queue.submit(job)
        painted = queue.wait(job.id, timeout_s=WAIT_S)
    client: Any = queue._store._client
    client.put_object(Bucket=first.output.bucket, Key=first.output_key, Body=b"something else")
    there = fourth.model_copy(update={"output": first.output.model_copy(update={"key": second.output_key})})
    queue.submit(there)
    assert queue.wait(there.id, timeout_s=WAIT_S).output == painted.output
    queue.submit(third)
    done = queue.wait(third.id, timeout_s=WAIT_S)
    assert not done.reused
    assert (done.output.key, done.output.sha256) == (third.output_key, painted.output.sha256)
    with pytest.raises(Permanent) as caught:
        queue.download(first.id, "nowhere")
    assert caught.value.code == Code.OBJECT_CHANGED
    for job in (first, second, third, there):
        queue.delete(job.id)


def test_27_an_id_that_belongs_to_another_job(crew: Deployment, queue: StyleQueue) -> None:
    job = crew.job(steps=4)
    queue.submit(job)
    other = job.model_copy(update={"labels": {"other": "content"}})
    with pytest.raises(JobConflict):
        queue.submit(other)
    # Past the client as well.
    queue._messages.send([Message.of(other, task_id="another-sender")])
    with pytest.raises(JobFailed, match=Code.JOB_CONFLICT):
        queue._app.AsyncResult("another-sender").get(timeout=WAIT_S)
    assert queue.wait(job.id, timeout_s=WAIT_S).labels == {}
    checked(queue, job)


def test_28_the_deadline_passes_in_the_queue(crew: Deployment, queue: StyleQueue) -> None:
    busy = [crew.job(steps=ENDLESS - number) for number in range(CREW)]
    queue.submit_many(busy)
    for job in busy:
        crew.until_painting(job)
    late = crew.job(steps=2)
    queue.submit(late)
    queue._ledger.redis.hset(record_key(late.id), "deadline_ms", 1)
    queue._ledger.redis.zadd(DEADLINES_KEY, {late.id: 1})
    with pytest.raises(JobExpired) as caught:
        queue.wait(late.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.DEADLINE_PASSED
    with pytest.raises(JobExpired):
        queue._app.AsyncResult(late.id).get(timeout=WAIT_S)
    for job in busy:
        queue.cancel(job.id)
    checked(queue, late, *busy)
    assert attempts(queue, late) == 0


def test_28_the_deadline_has_passed_when_a_worker_takes_it(crew: Deployment, queue: StyleQueue) -> None:
    late = crew.job(steps=2, deadline="2020-01-01T00:00:00Z")
    fields = late.model_dump(mode="json", exclude_none=True)
    queue._app.send_task(TASK_NAME, kwargs={"job": fields}, queue="paint", task_id=late.id)
    with pytest.raises(JobExpired):
        queue._app.AsyncResult(late.id).get(timeout=WAIT_S)
    checked(queue, late)
    assert attempts(queue, late) == 0


def test_28_the_deadline_passes_while_it_is_painted(crew: Deployment, queue: StyleQueue) -> None:
    late = crew.job()
    queue.submit(late)
    crew.until_painting(late)
    queue._ledger.redis.hset(record_key(late.id), "deadline_ms", 1)
    with pytest.raises(JobExpired):
        queue.wait(late.id, timeout_s=WAIT_S)
    checked(queue, late)


@pytest.mark.slow
@pytest.mark.parametrize("sender", ["client", "plain Celery"])
def test_29_an_old_worker_and_a_newer_job(stack: Stack, deployment: Deployment, sender: str) -> None:
    from tests.support.newer_worker import NewerJob, command

    old, queue = deployment.worker("old", keeper_interval_s=0.1), deployment.queue
    job = NewerJob(**deployment.job(steps=2).model_dump(exclude={"schema_version"}))
    if sender == "client":
        queue.submit(job)
    else:
        fields = job.model_dump(mode="json", exclude_none=True, exclude={"id"})
        queue._app.send_task(TASK_NAME, kwargs={"job": fields}, queue="paint", task_id=job.id)
    for _ in range(2):
        with pytest.raises(JobFailed) as caught:
            queue._app.AsyncResult(job.id).get(timeout=WAIT_S)
        assert caught.value.code == Code.SCHEMA_TOO_NEW
        [letter] = queue.dead_letters()
        assert (letter.id, letter.code) == (job.id, Code.SCHEMA_TOO_NEW)
        assert str(job.varnish) in letter.message
        # Too early: the worker is the same.
        queue.replay(letter.id)
        wait_for(partial(_gone, queue, letter), WAIT_S, "the worker to look at it again")
    wait_for(queue.dead_letters, WAIT_S, "the letter to come back")
    # Other jobs are not held up, and the keeper can bear it.
    after = deployment.job(steps=3)
    queue.submit(after)
    queue.wait(after.id, timeout_s=WAIT_S)
    old.stop()
    assert "broken off" not in old.log_text()

    env = {"PYTHONPATH": str(Path(__file__).parents[2]), **environment(deployment.settings)}
    newer = stack.process("newer", command("newer"), env=env)
    newer.wait_for_line("ready for jobs", START_TIMEOUT_S)
    queue.replay(job.id)
    done: Any = queue._app.AsyncResult(job.id).get(timeout=WAIT_S)
    assert (done["report"]["steps"], queue.wait(job.id).report.steps) == (2, 2)
    assert queue.dead_letters() == []
    checked(queue, job, after)
    newer.stop()


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_29_an_old_producer_and_a_newer_worker(crew: Deployment, queue: StyleQueue, version: int) -> None:
    fields: dict[str, Any] = json.loads((OLD_JOBS / f"schema-{version}.json").read_text())
    for image in (fields["content"], fields["styles"][0]["image"]):
        queue._store._client.put_object(Bucket=image["bucket"], Key=image["key"], Body=pictures.jpeg())
    job = Job.model_validate(fields)
    task_id = f"an-old-producer-{version}"
    queue._app.send_task(TASK_NAME, kwargs={"job": fields}, queue="paint", task_id=task_id)
    done: Any = queue._app.AsyncResult(task_id).get(timeout=WAIT_S)
    assert done["output"]["key"] == fields["output"]["key"]
    assert done["labels"] == fields["labels"]
    assert done["report"]["steps"] == fields["recipe"]["steps"]
    assert fields["schema_version"] == version
    checked(queue, job)


def _gone(queue: StyleQueue, letter: DeadLetter) -> bool:
    return letter not in queue.dead_letters()
