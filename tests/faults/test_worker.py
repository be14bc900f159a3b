"""Faults 7, 8 and 10 to 14: workers that stand still, are stuck, or out of what they need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.contract.errors import Code, JobFailed
from stylequeue.local import Process, Stack
from stylequeue.settings import Settings
from tests.support import odd_worker
from tests.support.deployment import ENDLESS, HURRIED, ODD_WORKER, UNLIMITED, WAIT_S, Deployment
from tests.support.fake_worker import START_TIMEOUT_S
from tests.support.painting import (
    holder,
    painting,
    submit,
    works,
)
from tests.support.processes import children_of, living_group, pause, resume
from tests.support.proxy import Proxy


@pytest.fixture
def deployment(deployment: Deployment) -> Deployment:
    """Where nothing takes long."""
    deployment.configure(**HURRIED)
    return deployment


@pytest.fixture(scope="module")
def odd(stack: Stack, module_settings: Settings) -> Iterator[Deployment]:
    """With a worker that comes to harm, but not so that it ends."""
    with Deployment(stack, module_settings, **HURRIED) as deployment:
        deployment.start("odd", app=ODD_WORKER)
        deployment.until_ready()
        yield deployment


def stand_still(worker: Process) -> list[int]:
    pids = living_group(worker.pid)
    for pid in pids:
        pause(pid)
    return pids


def test_07_paused_past_the_lease(deployment: Deployment) -> None:
    """The other worker's result stands; the attempt that wakes up late stops, and its worker goes on to other jobs."""
    deployment.configure(**UNLIMITED)
    workers = {name: deployment.start(name) for name in ("one", "two")}
    deployment.until_ready()
    job = painting(deployment)
    paused, other = holder(deployment, workers, job)
    pids = stand_still(paused)
    done = deployment.queue.wait(job.id, timeout_s=WAIT_S)
    for pid in pids:
        resume(pid)
    paused.wait_for_line("is stale", WAIT_S)
    other.stop()
    after = works(deployment)
    record = deployment.queue.status(job.id)
    assert record.attempt == 2
    assert record.outcome is not None
    assert dict(done) == {"id": job.id, **dict(record.outcome.data)}
    deployment.check(job, after)


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
def test_07_paused_on_the_way_to_the_store(deployment: Deployment, store_proxy: Proxy, overwrite: bool) -> None:
    """The picture of the attempt that wakes up late does not take the place of the one that is recorded."""
    paused = deployment.start("paused", app=ODD_WORKER, store=store_proxy)
    job = deployment.job(odd_worker.PAINTS_BY_CHANCE, output={"bucket": "results", "overwrite": overwrite})
    held = store_proxy.hold(f"PUT /{job.output.bucket}/{job.output_key}".encode())
    deployment.queue.submit(job)
    held.wait(WAIT_S)
    pids = stand_still(paused)
    deployment.start("other", app=ODD_WORKER)
    done = deployment.queue.wait(job.id, timeout_s=WAIT_S)
    stored = deployment.queue._store.find(job.output.bucket, job.output_key)
    for pid in pids:
        resume(pid)
    held.release()
    paused.wait_for_line("stopped at the end", WAIT_S)
    assert deployment.queue._store.find(job.output.bucket, job.output_key) == stored
    assert stored
    assert stored.etag == done.output.etag
    assert deployment.queue.status(job.id).attempt == 2
    deployment.check(job)


@pytest.mark.slow
def test_08_too_slow(deployment: Deployment) -> None:
    """An attempt that runs into the hard time limit ends, and the sender hears why."""
    deployment.worker(max_attempts=1)
    job = submit(deployment, ENDLESS)
    with pytest.raises(JobFailed) as caught:
        deployment.queue.wait(job.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.ATTEMPTS_EXHAUSTED
    assert Code.TIME_LIMIT in caught.value.hint
    with pytest.raises(JobFailed, match=Code.TIME_LIMIT):
        deployment.queue._app.AsyncResult(job.id).get(timeout=WAIT_S)
    deployment.check(job, works(deployment))


@pytest.mark.slow
def test_08_stuck_in_native_code(deployment: Deployment) -> None:
    """No thread of the child runs any more: the lease runs out, and the hard limit ends the child."""
    worker = deployment.start("stuck", app=ODD_WORKER, max_attempts=1)
    stuck = submit(deployment, odd_worker.HANGS)
    with pytest.raises(JobFailed) as caught:
        deployment.queue.wait(stuck.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.ATTEMPTS_EXHAUSTED
    after = works(deployment)
    assert len(children_of(worker)) == 2
    deployment.check(stuck, after)


def test_10_out_of_memory(odd: Deployment) -> None:
    job = submit(odd, odd_worker.EATS_THE_MEMORY)
    with pytest.raises(JobFailed) as caught:
        odd.queue.wait(job.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.OUT_OF_MEMORY
    assert "smaller size" in caught.value.hint
    after = works(odd)
    assert len(children_of(odd.workers[0])) == 1, "the same child does the next job"
    odd.check(job, after)


def test_11_not_a_number(odd: Deployment) -> None:
    job = submit(odd, odd_worker.LEAVES_THE_NUMBERS)
    with pytest.raises(JobFailed) as caught:
        odd.queue.wait(job.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.NOT_FINITE
    assert not odd.queue._store.exists(job.output.bucket, job.output_key), "nothing is uploaded"
    odd.check(job, works(odd))


@pytest.mark.slow
def test_12_disk_full_while_painting(odd: Deployment) -> None:
    """Tried again: there may be room by then."""
    job = submit(odd, odd_worker.FILLS_THE_DISK)
    odd.queue.wait(job.id, timeout_s=WAIT_S)
    record = odd.queue.status(job.id)
    assert record.attempt == 2
    assert "No space left" in str(record.last_error)
    odd.check(job)


@pytest.mark.slow
@pytest.mark.parametrize("hours", [1, -1])
def test_13_clock_off_by_an_hour(deployment: Deployment, tmp_path: Path, hours: int) -> None:
    """A worker whose clock is wrong takes no job from one that has it: leases go by Redis's clock."""
    deployment.configure(job_time_limit_s=60, visibility_timeout_s=120, lease_s=5)
    right = deployment.worker("right")
    job = painting(deployment, ENDLESS)
    (tmp_path / "sitecustomize.py").write_text(
        f"import time\n_right = time.time\ntime.time = lambda: _right() + {hours} * 3600\n"
    )
    wrong = deployment.start("wrong", python_path=tmp_path)
    wrong.wait_for_line(READY_FOR_JOBS, START_TIMEOUT_S)
    others = [works(deployment), works(deployment)]
    if hours > 0:
        # By its clock the broker's timeout has passed, and it hands the message out again: to itself, who else.
        wrong.wait_for_line("another attempt has the job", WAIT_S)
    deployment.queue.cancel(job.id, keep=True)
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    record = deployment.queue.status(job.id)
    assert (record.attempt, str(record.worker).partition("@")[0]) == (1, "right")
    right.stop()
    deployment.check(job, *others, works(deployment))


@pytest.mark.slow
def test_14_children_that_are_replaced(deployment: Deployment) -> None:
    """Each job's child makes way for a new one: nothing is lost or doubled."""
    worker = deployment.worker(child_memory_mb=1)
    jobs = [submit(deployment, steps) for steps in range(2, 8)]
    for job in jobs:
        assert deployment.queue.wait(job.id, timeout_s=WAIT_S).report.steps == job.recipe.model_dump()["steps"]
        assert deployment.queue.status(job.id).attempt == 1
    deployment.check(*jobs)
    assert len(children_of(worker)) >= len(jobs)
