"""Workers that are drained and queues that are paused while jobs are painted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stylequeue.client import StyleQueue
from tests.faults.conftest import Own
from tests.support.deployment import HURRIED, UNLIMITED, WAIT_S, Deployment
from tests.support.processes import wait_for

STEPS = 150
"""Takes 1.5 s."""


def name_of(queue: StyleQueue, short: str) -> str:
    """Of a worker, as the registry has it."""

    def found() -> str | None:
        return next((worker for worker in queue.workers() if worker.startswith(f"{short}@")), None)

    return str(wait_for(found, WAIT_S, f"worker {short} to be on record"))


@pytest.mark.slow
def test_a_drained_worker_leaves_its_job_to_another_or_finishes_it(deployment: Deployment) -> None:
    deployment.configure(**{**HURRIED, **UNLIMITED})
    one, queue = deployment.worker("one"), deployment.queue
    name = name_of(queue, "one")
    left = deployment.job(400)
    queue.submit(left)
    deployment.until_painting(left)
    before = datetime.now(UTC)
    wait_for(lambda: queue.fleet()[0].job == left.id, WAIT_S, "the registry to say what it paints")
    since = queue.fleet()[0].job_since
    assert since
    assert before - timedelta(seconds=WAIT_S) < since <= datetime.now(UTC)
    queue.drain(name, checkpoint=True)
    wait_for(lambda: queue.status(left.id).state == "queued", WAIT_S, "the job to be put back")
    wait_for(lambda: "Canceling queue" in one.log_text(), WAIT_S, "the worker to listen no more")
    wait_for(lambda: queue.fleet()[0].job_since is None, WAIT_S, "the registry to say that it is idle")
    waits = deployment.job(3)
    queue.submit(waits)
    two = deployment.worker("two")
    assert queue.wait(left.id, timeout_s=WAIT_S).report.steps == 400
    queue.wait(waits.id, timeout_s=WAIT_S)
    record = queue._ledger.record(left.id)
    assert (record.attempt, record.spared, record.worker) == (2, 1, name_of(queue, "two"))
    assert "going on from the checkpoint" in two.log_text()
    assert queue.status(waits.id).worker == name_of(queue, "two")
    # The other way round, and to its end.
    queue.undrain(name)
    wait_for(lambda: "Started consuming" in one.log_text(), WAIT_S, "the worker to listen again")
    finished = deployment.job(STEPS + 1)
    queue.drain(name_of(queue, "two"))
    wait_for(lambda: "Canceling queue" in two.log_text(), WAIT_S, "the other to listen no more")
    queue.submit(finished)
    deployment.until_painting(finished)
    queue.drain(name)
    assert queue.wait(finished.id, timeout_s=WAIT_S).report.steps == STEPS + 1
    assert queue.status(finished.id).worker == name
    assert queue._ledger.record(finished.id).spared == 0
    deployment.check(left, waits, finished)


@pytest.mark.slow
def test_a_pause_outlives_a_restart_of_redis(own: Own) -> None:
    queue = own.deployment.queue
    worker = own.deployment.worker("one")
    queue.pause("paint")
    wait_for(lambda: "Canceling queue paint" in worker.log_text(), WAIT_S, "the worker to listen no more")
    waits, bulk = own.deployment.job(3), own.deployment.job(4, queue="bulk")
    queue.submit_many([waits, bulk])
    queue.wait(bulk.id, timeout_s=WAIT_S)
    own.valkey.restart()
    wait_for(lambda: worker.log_text().count("Connected to redis") > 1, WAIT_S, "the worker to connect again")
    again = own.deployment.job(5, queue="bulk")
    queue.submit(again)
    queue.wait(again.id, timeout_s=5 * WAIT_S)
    assert queue.status(waits.id).state == "queued"
    assert queue.load("paint").paused
    queue.resume("paint")
    queue.wait(waits.id, timeout_s=WAIT_S)
    own.deployment.check(waits, bulk, again)
