"""Without a fault, through all instruments: nothing is broken, and nothing is left running."""

from __future__ import annotations

import pytest

from stylequeue.contract.errors import JobCancelled
from tests.support.deployment import WAIT_S, Deployment
from tests.support.invariants import check
from tests.support.processes import child_of, kill, living_group, pause, resume, wait_gone
from tests.support.proxy import Proxy


def test_a_healthy_run(deployment: Deployment, redis_proxy: Proxy, store_proxy: Proxy) -> None:
    worker = deployment.worker(redis=redis_proxy, store=store_proxy)
    behind = deployment.client(redis=redis_proxy, store=store_proxy)
    jobs = [deployment.job(steps=2), deployment.job(steps=3), deployment.job(steps=3), deployment.job()]
    behind.submit_many(jobs)
    assert [behind.wait(job.id, timeout_s=WAIT_S).report.steps for job in jobs[:3]] == [2, 3, 3]
    deployment.until_painting(jobs[3])
    behind.cancel(jobs[3].id)
    with pytest.raises(JobCancelled):
        behind.wait(jobs[3].id, timeout_s=WAIT_S)
    check(deployment.queue, [job.id for job in jobs], visibility_timeout_s=30)
    assert worker.running


def test_what_is_done_to_a_worker(deployment: Deployment, redis_proxy: Proxy) -> None:
    worker = deployment.worker(redis=redis_proxy)
    child = child_of(worker)
    assert {worker.pid, child} <= set(living_group(worker.pid))
    held = redis_proxy.hold(deployment.move("claim"))
    job = deployment.job()
    deployment.queue.submit(job)
    held.wait(WAIT_S)
    pause(child)
    assert deployment.queue.status(job.id).state == "queued"
    held.release()
    resume(child)
    deployment.until_painting(job)
    kill(worker.pid)
    wait_gone(worker.pid, WAIT_S)
    wait_gone(child, WAIT_S)
    assert deployment.queue.status(job.id).state == "running"
