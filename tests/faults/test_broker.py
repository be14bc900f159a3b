"""Faults 15 to 23: Redis restarts, forgets, is slow, full or unreachable."""

from __future__ import annotations

import sys
import time

import pytest

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.contract.errors import Code, ExitCode, JobNotFound, Unavailable
from stylequeue.contract.job import Job
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from tests.faults.conftest import Own
from tests.support.deployment import ENDLESS, HURRIED, UNLIMITED, WAIT_S, Deployment
from tests.support.fake_worker import START_TIMEOUT_S
from tests.support.processes import kill, wait_for, wait_gone
from tests.support.proxy import Proxy

STEPS = 150
"""Takes 1.5 s."""
CONSUMING_AGAIN_S = 5 * 60
BOUNDED_S = 30


@pytest.fixture
def deployment(deployment: Deployment) -> Deployment:
    """Where nothing takes long."""
    deployment.configure(**HURRIED)
    return deployment


def submit(deployment: Deployment, steps: int = STEPS) -> Job:
    job = deployment.job(steps)
    deployment.queue.submit(job)
    return job


def painting(deployment: Deployment, steps: int = STEPS) -> Job:
    """A job of which at least one step is made."""
    job = submit(deployment, steps)
    deployment.until_painting(job)
    return job


def works(deployment: Deployment, timeout_s: float = WAIT_S) -> Job:
    """A job that comes now is done."""
    job = submit(deployment, 3)
    assert deployment.queue.wait(job.id, timeout_s=timeout_s).report.steps == 3
    return job


@pytest.mark.slow
def test_15_restart_while_idle(own: Own) -> None:
    worker = own.deployment.worker()
    before = works(own.deployment)
    own.valkey.restart()
    after = works(own.deployment, CONSUMING_AGAIN_S)
    assert worker.running
    own.deployment.check(before, after)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_15_restart_while_painting(own: Own, end: str) -> None:
    """The job that is being painted is painted on."""
    own.deployment.configure(lease_s=30)
    worker = own.deployment.worker()
    job = painting(own.deployment)
    if end == "killed":
        kill(own.valkey.process.pid)
        wait_gone(own.valkey.process.pid, WAIT_S)
    own.valkey.restart()
    own.deployment.queue.wait(job.id, timeout_s=WAIT_S)
    assert own.deployment.queue.status(job.id).attempt == 1
    after = works(own.deployment, CONSUMING_AGAIN_S)
    assert worker.running
    own.deployment.check(job, after)


@pytest.mark.slow
def test_15_away_for_longer_than_a_lease(own: Own) -> None:
    """Nobody could renew a lease: who lives keeps the job, whatever another worker or a keeper sees first."""
    own.deployment.configure(**UNLIMITED)
    workers = [own.deployment.start(name) for name in ("one", "two", "three")]
    own.deployment.until_ready()
    jobs = [painting(own.deployment, ENDLESS), painting(own.deployment, ENDLESS - 1)]
    kill(own.valkey.process.pid)
    wait_gone(own.valkey.process.pid, WAIT_S)
    time.sleep(2 * own.deployment.settings.lease_s)
    own.valkey.restart()
    after = works(own.deployment, CONSUMING_AGAIN_S)
    time.sleep(2 * own.deployment.settings.lease_s)
    for job in jobs:
        own.deployment.queue.cancel(job.id, keep=True)
        own.deployment.queue.wait(job.id, timeout_s=WAIT_S)
        assert own.deployment.queue.status(job.id).attempt == 1
    assert all(worker.running for worker in workers)
    own.deployment.check(*jobs, after)


def test_16_redis_forgets_everything(deployment: Deployment) -> None:
    """Open jobs are unknown and say so; pictures stand; workers go on; what is submitted again is done."""
    queue = deployment.queue
    worker = deployment.worker()
    done = works(deployment)
    output = queue.wait(done.id).output
    running, waiting = painting(deployment), submit(deployment, 5)
    queue._ledger.redis.flushdb()
    for job in (done, running, waiting):
        with pytest.raises(JobNotFound):
            queue.status(job.id)
    with pytest.raises(JobNotFound):
        queue.wait(running.id, timeout_s=WAIT_S)
    worker.wait_for_line("is stale", WAIT_S)
    assert queue._store.exists(output.bucket, output.key)
    assert queue._store.exists(output.bucket, f"{output.key}.json")
    after = works(deployment)
    jobs = [done, running, waiting]
    queue.submit_many(jobs)
    for job in jobs:
        queue.wait(job.id, timeout_s=WAIT_S)
    assert queue.wait(done.id).output == output
    deployment.check(*jobs, after)


@pytest.mark.slow
def test_17_connections_reset_while_painting(deployment: Deployment, redis_proxy: Proxy) -> None:
    """The broker hands the message out again at once; whoever takes it sees that the job is in good hands."""
    deployment.configure(**UNLIMITED, lease_s=30)
    deployment.worker("shaken", redis=redis_proxy)
    job = painting(deployment)
    other = deployment.worker("other")
    for _ in range(3):
        redis_proxy.reset()
        time.sleep(0.2)
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    record = deployment.queue.status(job.id)
    assert (record.attempt, str(record.worker).partition("@")[0]) == (1, "shaken")
    deployment.check(job)
    other.stop()
    deployment.check(job, works(deployment))


@pytest.mark.slow
def test_18_half_open_while_painting(deployment: Deployment, redis_proxy: Proxy) -> None:
    """Another worker takes over; producers hear of it in bounded time; the cut-off worker comes back by itself."""
    far = deployment.worker("far", redis=redis_proxy, redis_timeout_s=1)
    behind = deployment.client(redis=redis_proxy, redis_timeout_s=1)
    job = painting(deployment, STEPS * 2)
    redis_proxy.half_open()
    unheard = deployment.job(4)
    began_at = time.monotonic()
    with pytest.raises(Unavailable):
        behind.submit(unheard)
    assert time.monotonic() - began_at < BOUNDED_S
    near = deployment.worker("near")
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    assert deployment.queue.status(job.id).attempt == 2
    redis_proxy.heal()
    behind.submit(unheard)
    deployment.queue.wait(unheard.id, timeout_s=WAIT_S)
    near.stop()
    after = works(deployment)
    assert far.running
    deployment.check(job, unheard, after)


@pytest.mark.slow
def test_18_half_open_while_idle(deployment: Deployment, redis_proxy: Proxy) -> None:
    """What the dead link took with it is missed, and sent again."""
    deployment.worker("far", redis=redis_proxy, redis_timeout_s=1)
    redis_proxy.half_open()
    jobs = [submit(deployment, steps) for steps in (2, 3, 4)]
    deployment.worker("near")
    for job in jobs:
        deployment.queue.wait(job.id, timeout_s=WAIT_S)
    redis_proxy.heal()
    deployment.check(*jobs)


@pytest.mark.slow
def test_19_slow_redis(deployment: Deployment, redis_proxy: Proxy) -> None:
    """Half a second for each answer, and the painting does not wait for one."""
    deployment.configure(**UNLIMITED, lease_s=15, heartbeat_s=1)
    deployment.worker(redis=redis_proxy)
    before = submit(deployment)
    usual_s = deployment.queue.wait(before.id, timeout_s=WAIT_S).report.timings_s["paint"]
    redis_proxy.delay(0.25)
    slow = submit(deployment, STEPS + 1)
    done = deployment.queue.wait(slow.id, timeout_s=WAIT_S * 2)
    assert done.report.timings_s["paint"] < 5 * usual_s
    assert deployment.queue.status(slow.id).attempt == 1
    redis_proxy.heal()
    deployment.check(before, slow)


@pytest.mark.slow
def test_20_redis_out_of_memory(own: Own) -> None:
    """A job whose end Redis has no room for has not ended, whatever lies in the store; it ends when there is room."""
    queue = own.deployment.queue
    worker = own.deployment.worker(job_time_limit_s=60, visibility_timeout_s=120)
    job = painting(own.deployment, STEPS)
    queue._ledger.redis.config_set("maxmemory", 1)
    worker.wait_for_line("the job is not ended yet", WAIT_S)
    assert queue._store.exists(job.output.bucket, job.output_key)
    assert queue.status(job.id).state == "running"
    assert not queue._store.exists(job.output.bucket, f"{job.output_key}.json")
    refused = own.deployment.job(4)
    with pytest.raises(Unavailable) as caught:
        queue.submit(refused)
    assert caught.value.code == Code.BROKER_REFUSED
    queue._ledger.redis.config_set("maxmemory", 0)
    queue.wait(job.id, timeout_s=WAIT_S)
    queue.submit(refused)
    queue.wait(refused.id, timeout_s=WAIT_S)
    assert worker.running
    own.deployment.check(job, refused)


def test_21_visibility_timeout_too_short(stack: Stack) -> None:
    wrong = {"STYLEQUEUE_VISIBILITY_TIMEOUT_S": "60", "STYLEQUEUE_JOB_TIME_LIMIT_S": "60"}
    worker = stack.process("hasty", [sys.executable, "-m", "stylequeue_worker"], env=wrong)
    assert worker.wait(START_TIMEOUT_S) == ExitCode.BAD_INPUT
    assert "STYLEQUEUE_VISIBILITY_TIMEOUT_S must be at least twice STYLEQUEUE_JOB_TIME_LIMIT_S" in worker.log_text()
    worker.stop()


@pytest.mark.slow
def test_22_no_redis_at_start(deployment: Deployment, redis_proxy: Proxy) -> None:
    """A worker that came too early tries again, and is there when Redis is."""
    deployment.configure(**UNLIMITED)
    redis_proxy.refuse()
    worker = deployment.start("early", redis=redis_proxy)
    wait_for(lambda: worker.log_text().count("Trying again in") >= 2, WAIT_S, "the worker to try again")
    assert worker.running
    assert deployment.queue.workers() == [], "nobody is ready"
    redis_proxy.heal()
    deployment.check(works(deployment))
    assert worker.log_text().count(READY_FOR_JOBS) == 1


@pytest.mark.slow
def test_22_unsafe_redis_that_comes_late(own: Own) -> None:
    """What could not be checked at the start is checked before the first job."""
    own.deployment.queue._ledger.redis.config_set("maxmemory-policy", "allkeys-lru")
    job = submit(own.deployment, 2)
    with Proxy(HOST, own.valkey.port) as proxy:
        proxy.refuse()
        worker = own.deployment.start("early", redis=proxy)
        worker.wait_for_line("Trying again in", WAIT_S)
        proxy.heal()
        assert worker.wait(WAIT_S) == ExitCode.BAD_INPUT
    assert "set maxmemory-policy noeviction" in worker.log_text()
    assert own.deployment.queue.status(job.id).state == "queued"


def test_23_submitted_while_redis_is_down(deployment: Deployment, redis_proxy: Proxy) -> None:
    """A typed error in bounded time, and nothing half made; the same again is one job."""
    deployment.configure(**UNLIMITED, lease_s=30)
    behind = deployment.client(redis=redis_proxy)
    job = deployment.job(2)
    redis_proxy.refuse()
    began_at = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        behind.submit(job)
    assert time.monotonic() - began_at < BOUNDED_S
    assert caught.value.code == Code.BROKER_UNAVAILABLE
    with pytest.raises(JobNotFound):
        deployment.queue.status(job.id)
    redis_proxy.heal()
    behind.submit(job)
    behind.submit(job)
    deployment.worker()
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)
    assert deployment.queue.status(job.id).attempt == 1


@pytest.mark.slow
def test_23_redis_goes_down_between_record_and_message(deployment: Deployment, redis_proxy: Proxy) -> None:
    """The error says that the job is recorded. Submitted again or not, it is done once."""
    behind = deployment.client(redis=redis_proxy)
    again, left = deployment.job(2), deployment.job(3)
    for job in (again, left):
        held = redis_proxy.hold(b"LPUSH")
        with deployment.elsewhere(behind.submit, job) as submitting:
            held.wait(WAIT_S)
            redis_proxy.refuse()
            with pytest.raises(Unavailable, match="the job is recorded"):
                submitting.result(WAIT_S)
        assert deployment.queue.status(job.id).state == "queued"
        redis_proxy.heal()
    behind.submit(again)
    deployment.worker()
    for job in (again, left):
        deployment.queue.wait(job.id, timeout_s=WAIT_S)
        assert deployment.queue.status(job.id).attempt == 1
    deployment.check(again, left)


@pytest.mark.slow
def test_23_answer_lost(deployment: Deployment, redis_proxy: Proxy) -> None:
    """Redis has recorded the job, but the producer does not hear of it, and asks again."""
    behind = deployment.client(redis=redis_proxy)
    job = deployment.job(2)
    held = redis_proxy.hold_answer(deployment.move("accept"))
    with deployment.elsewhere(behind.submit, job) as submitting:
        held.wait(WAIT_S)
        assert deployment.queue.status(job.id).state == "queued"
        held.drop()
        assert submitting.result(WAIT_S) == job.id
    assert deployment.queue._ledger.redis.llen("paint") == 1
    deployment.worker()
    deployment.queue.wait(job.id, timeout_s=WAIT_S)
    deployment.check(job)
