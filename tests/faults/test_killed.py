"""Faults 1 to 4 and 9: workers that are killed, at any moment and by their pictures."""

from __future__ import annotations

import signal
import time
from functools import partial

import pytest

from stylequeue.contract.errors import Code, JobFailed
from stylequeue.contract.objects import work_keys
from stylequeue.local import Process
from tests.support import odd_worker
from tests.support.deployment import HURRIED, ODD_WORKER, WAIT_S, Deployment
from tests.support.painting import (
    STEPS,
    holder,
    is_gone,
    kill_part,
    painting,
    steps_of,
    submit,
    wait_for_checkpoint,
    works,
)
from tests.support.processes import child_of, kill, wait_for
from tests.support.proxy import Proxy

CHILD_BACK_S = 5 * 10
WORKER_BACK_S = 5 * 30
REFUSALS = 20
"""More than the broker's client tries again."""
ACKNOWLEDGE = b"ZREM\r\n$13\r\nunacked_index"
NOTE_AS_DELIVERED = b"ZADD\r\n$13\r\nunacked_index"


@pytest.fixture
def deployment(deployment: Deployment) -> Deployment:
    """Where nothing takes long."""
    deployment.configure(**HURRIED)
    return deployment


def test_01_killed_child(deployment: Deployment) -> None:
    """Its job is claimed again soon, and goes on from the checkpoint."""
    worker = deployment.worker(preview_interval_s=0.1)
    job = painting(deployment)
    saved_step = wait_for_checkpoint(deployment, job)
    killed_at = time.monotonic()
    kill(child_of(worker))
    deployment.until_painting(job, attempt=2)
    assert time.monotonic() - killed_at < CHILD_BACK_S
    assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == STEPS
    again = steps_of(deployment, job, attempt=2)
    assert again[0] > saved_step, "not from the beginning"
    assert again[-1] == STEPS
    for key in work_keys(job.id):
        # Its work is cleared away once its end is known.
        wait_for(partial(is_gone, deployment, key), WAIT_S, f"{key} cleared away")
    deployment.check(job)


@pytest.mark.slow
def test_02_killed_worker(deployment: Deployment, workers: dict[str, Process]) -> None:
    """Another one goes on with its job when the lease has run out; the broker's own timeout does not matter."""
    job = painting(deployment)
    saved_step = wait_for_checkpoint(deployment, job)
    killed, other = holder(deployment, workers, job)
    killed_at = time.monotonic()
    kill(killed.pid)
    deployment.until_painting(job, attempt=2)
    assert time.monotonic() - killed_at < WORKER_BACK_S
    assert deployment.queue._ledger.redis.hlen("unacked") == 2, "the dead worker's message is still where it was"
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    assert steps_of(deployment, job, attempt=2)[0] > saved_step
    deployment.check(job)
    assert other.running


@pytest.mark.slow
def test_02_killed_worker_and_no_other(deployment: Deployment) -> None:
    """A keeper by itself puts the job back, for whoever comes."""
    worker = deployment.worker()
    keeper = deployment.keeper()
    job = painting(deployment)
    kill(worker.pid)
    wait_for(lambda: deployment.queue.status(job.id).state == "queued", WORKER_BACK_S, "the job to be put back")
    assert "was not heard of" in str(deployment.queue.status(job.id).last_error)
    deployment.worker("next")
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)
    assert keeper.running


@pytest.mark.slow
def test_03_message_lost_on_its_way(deployment: Deployment, redis_proxy: Proxy) -> None:
    """A worker dies between taking a message and noting that it has it: a keeper misses it and sends another."""
    worker = deployment.worker(redis=redis_proxy)
    held = redis_proxy.hold(NOTE_AS_DELIVERED)
    job = submit(deployment)
    held.wait(WAIT_S)
    kill(worker.pid)
    held.drop()
    assert not deployment.queue._ledger.redis.exists("paint", "unacked"), "the broker knows nothing of it any more"
    deployment.worker("next")
    assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == STEPS
    assert deployment.queue.status(job.id).attempt == 1
    deployment.check(job)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["child", "worker"])
def test_04_killed_after_the_picture(deployment: Deployment, redis_proxy: Proxy, part: str) -> None:
    """The picture is stored, but not recorded."""
    worker = deployment.worker(redis=redis_proxy)
    held = redis_proxy.hold(deployment.move("finish"))
    job = submit(deployment)
    held.wait(WAIT_S)
    stored = deployment.queue._store.find(job.output.bucket, job.output_key)
    assert deployment.queue.status(job.id).state == "running"
    kill_part(worker, part)
    held.drop()
    if part == "worker":
        deployment.worker("next")
    done = deployment.queue.wait(job.id, timeout_s=WAIT_S)
    assert (done.output.etag, done.report.steps) == (stored and stored.etag, STEPS)
    assert steps_of(deployment, job, attempt=2) == [], "no second painting"
    assert deployment.queue._store.find(job.output.bucket, job.output_key) == stored
    deployment.check(job)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["child", "worker"])
def test_04_killed_after_the_record(deployment: Deployment, store_proxy: Proxy, part: str) -> None:
    """The job is recorded as done, but the event is not beside the picture, and the sender's result is not there."""
    worker = deployment.worker(store=store_proxy)
    job = deployment.job(2)
    key = f"{job.output_key}.json"
    held = store_proxy.hold(f"PUT /{job.output.bucket}/{key}".encode())
    deployment.queue.submit(job)
    held.wait(WAIT_S)
    assert deployment.queue.status(job.id).state == "succeeded"
    kill_part(worker, part)
    held.drop()
    if part == "worker":
        deployment.worker("next")
    wait_for(partial(deployment.queue._store.exists, job.output.bucket, key), WAIT_S, "the event beside the picture")
    result = deployment.queue._app.AsyncResult(job.id).get(timeout=WAIT_S)
    assert result["output"]["key"] == job.output_key
    deployment.check(job)
    assert deployment.queue.status(job.id).attempt == 1


@pytest.mark.slow
def test_04_killed_before_the_sender_is_told(deployment: Deployment, redis_proxy: Proxy) -> None:
    """The parent tells it at once; a keeper would leave the child a lease's time to do so."""
    worker = deployment.worker(redis=redis_proxy, lease_s=10 * WAIT_S)
    job = deployment.job(2)
    held = redis_proxy.hold(b'"status": "SUCCESS"')
    deployment.queue.submit(job)
    held.wait(WAIT_S)
    assert deployment.queue.status(job.id).state == "succeeded"
    kill_part(worker, "child")
    held.drop()
    result = deployment.queue._app.AsyncResult(job.id).get(timeout=WAIT_S)
    assert result["output"]["key"] == job.output_key


@pytest.mark.slow
def test_04_killed_before_the_message_is_acknowledged(deployment: Deployment, redis_proxy: Proxy) -> None:
    """All is done, but the broker hands the message out again."""
    worker = deployment.worker(redis=redis_proxy)
    held = redis_proxy.hold(ACKNOWLEDGE)
    job = submit(deployment, 2)
    held.wait(WAIT_S)
    kill_part(worker, "worker")
    held.drop()
    assert deployment.queue._ledger.redis.hlen("unacked") == 1
    following = deployment.worker("next")
    deployment.check(job)
    assert deployment.queue.status(job.id).attempt == 1
    assert "the job is succeeded already" in following.log_text()


@pytest.mark.slow
def test_09_picture_that_kills_its_child(deployment: Deployment) -> None:
    """A dead letter after so many attempts; its neighbours are unharmed."""
    deployment.configure(max_attempts=2)
    worker = deployment.start("poisoned", app=ODD_WORKER)
    before = submit(deployment, 2)
    poison = submit(deployment, odd_worker.KILLS_THE_CHILD, labels={"a": "b"})
    after = submit(deployment, 4)
    with pytest.raises(JobFailed) as caught:
        deployment.queue.wait(poison.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.ATTEMPTS_EXHAUSTED
    assert Code.WORKER_LOST in caught.value.hint
    with pytest.raises(JobFailed, match=Code.ATTEMPTS_EXHAUSTED):
        deployment.queue._app.AsyncResult(poison.id).get(timeout=WAIT_S)
    record = deployment.queue.status(poison.id)
    assert record.outcome is not None
    assert record.outcome.data.labels == {"a": "b"}
    assert record.attempt == 2
    assert [letter.id for letter in deployment.queue.dead_letters()] == [poison.id]
    for neighbour in (before, after):
        deployment.queue.wait(neighbour.id, timeout_s=WAIT_S)
    assert worker.running
    deployment.check(before, poison, after)


@pytest.mark.slow
def test_09_picture_that_kills_its_worker(deployment: Deployment) -> None:
    """Attempts count although nobody was left to count them."""
    deployment.configure(max_attempts=2)
    poison = submit(deployment, odd_worker.KILLS_THE_WORKER)
    for name in ("first", "second"):
        assert deployment.start(name, app=ODD_WORKER).wait(WAIT_S) == 128 + signal.SIGKILL
    third = deployment.start("third", app=ODD_WORKER)
    with pytest.raises(JobFailed) as caught:
        deployment.queue.wait(poison.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.ATTEMPTS_EXHAUSTED
    assert [letter.attempts for letter in deployment.queue.dead_letters()] == [2]
    deployment.check(poison, works(deployment))
    assert third.running


@pytest.mark.slow
def test_04_the_acknowledgement_is_refused(deployment: Deployment, redis_proxy: Proxy) -> None:
    """A worker that cannot say that it has done with a message takes the next one all the same."""
    worker = deployment.worker(redis=redis_proxy)
    for _ in range(REFUSALS):
        redis_proxy.answer_once(ACKNOWLEDGE, b"-ERR max number of clients reached\r\n")
    first = submit(deployment, 2)
    worker.wait_for_line("Connection to broker lost", WAIT_S)
    redis_proxy.heal()
    after = submit(deployment, 3)
    assert deployment.queue.wait(after.id, timeout_s=WAIT_S).report.steps == 3
    assert deployment.queue.wait(first.id, timeout_s=WAIT_S).report.steps == 2
