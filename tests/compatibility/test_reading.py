"""Today's client reads, and goes on with, what older code left behind."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from stylequeue.broker.app import make_app
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import (
    Code,
    JobCancelled,
    JobEnded,
    JobExpired,
    JobFailed,
    JobNotFound,
    JobOpen,
    JobSucceeded,
    Permanent,
    StyleQueueError,
)
from stylequeue.contract.job import TASK_NAME
from stylequeue.contract.objects import ImageRef
from tests.compatibility.recording import Recording

STATES = {
    "succeeded": "succeeded",
    "succeeded_plain": "succeeded",
    "reused": "succeeded",
    "partial": "succeeded",
    "failed": "failed",
    "exhausted": "failed",
    "exhausted_too": "failed",
    "refused_newer": "failed",
    "refused_invalid": "failed",
    "cancelled_queued": "cancelled",
    "cancelled_running": "cancelled",
    "waiter": "cancelled",
    "delayed_and_cancelled": "cancelled",
    "expired": "expired",
    "running": "running",
    "cancel_asked": "running",
    "stored_unrecorded": "running",
    "retried": "queued",
    "delayed": "queued",
    "preempted": "queued",
    "parked": "queued",
    "delivered_unclaimed": "queued",
    "message_lost": "queued",
    "overdue": "queued",
    "queued": "queued",
    "queued_bulk": "queued",
    "queued_fast": "queued",
}
"""Of all that have a record: messages by plain Celery have none until a worker takes them."""
ENDS = {
    "failed": (JobFailed, Code.OBJECT_NOT_FOUND),
    "exhausted": (JobFailed, Code.ATTEMPTS_EXHAUSTED),
    "refused_newer": (JobFailed, Code.SCHEMA_TOO_NEW),
    "refused_invalid": (JobFailed, Code.INVALID_JOB),
    "cancelled_queued": (JobCancelled, Code.CANCELLED),
    "cancelled_running": (JobCancelled, Code.CANCELLED),
    "expired": (JobExpired, Code.DEADLINE_PASSED),
}
PICTURES = ("succeeded", "succeeded_plain", "reused", "partial")
TOLD_BY_CELERY = {**ENDS, "waiter": (JobCancelled, Code.CANCELLED)}


def messages(queue: StyleQueue, name: str = "paint") -> list[bytes]:
    """What lies on a list of the broker, the newest first."""
    with Redis.from_url(queue.settings.redis_url.get_secret_value()) as redis:
        found: Any = redis.lrange(name, 0, -1)
    return list(found)


def test_the_state_of_every_job(queue: StyleQueue, killed: Recording) -> None:
    assert {name: queue.status(killed.jobs[name]).state for name in STATES} == STATES
    with pytest.raises(JobNotFound):
        queue.status(killed.jobs["deleted"])


def test_what_is_known_of_a_job(queue: StyleQueue, killed: Recording) -> None:
    running, retried = queue.status(killed.jobs["running"]), queue.status(killed.jobs["retried"])
    assert (running.run, running.attempt, running.queue) == (1, 1, "paint")
    assert running.worker in ("one@host", "two@host")
    assert running.progress is not None
    assert running.progress == killed.events("running")[-1]
    assert (retried.run, retried.attempt, retried.outcome) == (2, 0, None)
    assert running.job == json.loads(killed.fields("running")["job"])
    assert running.labels == {"customer": "44"}
    assert Code.PREEMPTED in str(queue.status(killed.jobs["preempted"]).last_error)
    assert queue.status(killed.jobs["refused_invalid"]).job is None
    assert queue.status(killed.jobs["exhausted"]).labels == {"customer": "43"}
    for name in ("overdue", "expired"):
        status = queue.status(killed.jobs[name])
        assert status.created_at < status.deadline_at < queue.status(killed.jobs["queued"]).deadline_at


@pytest.mark.parametrize("name", [name for name, state in STATES.items() if state in ("succeeded", "failed")])
def test_watching_a_job_that_has_ended(queue: StyleQueue, killed: Recording, name: str) -> None:
    assert list(queue.watch(killed.jobs[name], timeout_s=1)) == killed.events(name)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture(queue: StyleQueue, killed: Recording, name: str, tmp_path: Path) -> None:
    done = queue.wait(killed.jobs[name], timeout_s=1)
    assert (done.reused, done.partial) == (name == "reused", name == "partial")
    path = tmp_path / "picture"
    queue.download(killed.jobs[name], path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == done.output.sha256


@pytest.mark.parametrize("name", ENDS)
def test_waiting_for_a_job_that_made_no_picture(queue: StyleQueue, killed: Recording, name: str) -> None:
    kind, code = ENDS[name]
    with pytest.raises(kind) as caught:
        queue.wait(killed.jobs[name], timeout_s=1)
    assert caught.value.code == code


def test_the_events_of_the_deployment(queue: StyleQueue, killed: Recording) -> None:
    told = list(queue.events(follow=False))
    assert [event for _, event in told] == killed.deployment_events()
    position, _ = told[10]
    assert list(queue.events(after=position, follow=False)) == told[11:]


@pytest.mark.parametrize("name", [*TOLD_BY_CELERY, *PICTURES])
def test_results_by_celery(queue: StyleQueue, killed: Recording, name: str) -> None:
    with make_app(queue.settings) as app:
        result: Any = app.AsyncResult(killed.jobs[name])
        if name in PICTURES:
            assert result.get(timeout=1) == queue.wait(killed.jobs[name]).model_dump(
                mode="json", exclude={"id", "tenant"}, exclude_unset=True
            )
        else:
            kind, code = TOLD_BY_CELERY[name]
            with pytest.raises(kind) as caught:
                result.get(timeout=1)
            assert isinstance(caught.value, JobEnded)
            assert caught.value.code == code


def test_dead_letters(queue: StyleQueue, killed: Recording) -> None:
    letters = list(queue.dead_letters())
    ids = {killed.jobs[name] for name in ("exhausted", "exhausted_too", "refused_newer", "refused_invalid")}
    assert ids < {letter.id for letter in letters}
    assert sorted(letter.code for letter in letters) == sorted(
        [
            *[Code.ATTEMPTS_EXHAUSTED] * 2,
            Code.SCHEMA_TOO_NEW,
            Code.INVALID_JOB,
            Code.MESSAGE_MALFORMED,
            Code.UNKNOWN_TASK,
        ]
    )
    assert [letter.buried_at for letter in letters] == sorted((letter.buried_at for letter in letters), reverse=True)
    assert all(letter.reason for letter in letters)
    [exhausted] = [letter for letter in letters if letter.id == killed.jobs["exhausted"]]
    assert (exhausted.attempts, exhausted.queue) == (1, "paint")
    assert json.loads(exhausted.message) == json.loads(killed.fields("exhausted")["job"])


@pytest.mark.parametrize("name", ["failed", "cancelled_running", "expired", "exhausted"])
def test_another_run(queue: StyleQueue, killed: Recording, name: str) -> None:
    job_id, before = killed.jobs[name], messages(queue)
    queue.retry(job_id)
    status = queue.status(job_id)
    assert (status.state, status.run, status.attempt, status.outcome) == ("queued", 2, 0, None)
    [sent] = [json.loads(raw) for raw in messages(queue) if raw not in before]
    assert (sent["headers"]["task"], sent["headers"]["id"]) == (TASK_NAME, job_id)
    assert job_id not in {letter.id for letter in queue.dead_letters()}


@pytest.mark.parametrize(
    ("name", "error"), [("succeeded", JobSucceeded), ("running", JobOpen), ("parked", JobOpen), ("delayed", JobOpen)]
)
def test_no_other_run(queue: StyleQueue, killed: Recording, name: str, error: type[StyleQueueError]) -> None:
    with pytest.raises(error):
        queue.retry(killed.jobs[name])
    assert queue.status(killed.jobs[name]).state == STATES[name]
    assert queue.status(killed.jobs[name]).run == 1


@pytest.mark.parametrize("name", ["exhausted", "exhausted_too"])
def test_replaying_a_job(queue: StyleQueue, killed: Recording, name: str) -> None:
    queue.replay(killed.jobs[name])
    assert (queue.status(killed.jobs[name]).state, queue.status(killed.jobs[name]).run) == ("queued", 2)
    assert killed.jobs[name] not in {letter.id for letter in queue.dead_letters()}


def test_replaying_a_message_that_was_no_task(queue: StyleQueue) -> None:
    [letter] = [letter for letter in queue.dead_letters() if letter.code == Code.UNKNOWN_TASK]
    queue.replay(letter.id)
    newest, *_ = messages(queue)
    assert newest.decode() == letter.message
    assert json.loads(newest)["headers"]["task"] == "stylequeue.sculpt"
    assert letter.id not in {letter.id for letter in queue.dead_letters()}


@pytest.mark.parametrize("name", ["refused_newer", "refused_invalid"])
def test_replaying_a_task_that_held_no_job(queue: StyleQueue, killed: Recording, name: str) -> None:
    queue.replay(killed.jobs[name])
    newest, *_ = messages(queue)
    assert json.loads(newest)["headers"]["id"] == killed.jobs[name]


def test_dropping_a_letter(queue: StyleQueue, killed: Recording) -> None:
    for letter in queue.dead_letters():
        queue.drop(letter.id)
    assert list(queue.dead_letters()) == []
    with pytest.raises(JobNotFound):
        queue.status(killed.jobs["exhausted"])


@pytest.mark.parametrize("name", ["succeeded", "reused", "partial", "failed", "cancelled_running", "expired"])
def test_deleting_a_job(queue: StyleQueue, killed: Recording, name: str, tmp_path: Path) -> None:
    job_id, job = killed.jobs[name], killed.job(name)
    queue.delete(job_id)
    with pytest.raises(JobNotFound):
        queue.status(job_id)
    for key in (job.output_key, f"{job.output_key}.json"):
        with pytest.raises(Permanent):
            queue.download(ImageRef(bucket=job.output.bucket, key=key), tmp_path / "picture")


@pytest.mark.parametrize("name", ["queued", "running", "parked", "delayed"])
def test_an_open_job_is_not_deleted(queue: StyleQueue, killed: Recording, name: str) -> None:
    with pytest.raises(JobOpen):
        queue.delete(killed.jobs[name])


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("queued", "cancelled"),
        ("delayed", "cancelled"),
        ("preempted", "cancelled"),
        ("parked", "cancelled"),
        ("running", "running"),
        ("succeeded", "succeeded"),
        ("expired", "expired"),
    ],
)
def test_cancelling(queue: StyleQueue, killed: Recording, name: str, state: str) -> None:
    assert queue.cancel(killed.jobs[name]) == state
    assert queue.status(killed.jobs[name]).state == state


@pytest.mark.parametrize("name", ["queued", "queued_bulk", "delayed", "running", "succeeded", "cancelled_queued"])
def test_a_job_that_is_submitted_once_more_is_the_same_job(queue: StyleQueue, killed: Recording, name: str) -> None:
    assert queue.submit(killed.job(name)) == killed.jobs[name]
    assert queue.status(killed.jobs[name]).state == STATES[name]
    assert queue.status(killed.jobs[name]).run == 1
