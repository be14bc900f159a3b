"""Traces where workers' children come and go, by themselves or killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stylequeue.local import Stack
from tests.support.deployment import WAIT_S
from tests.support.processes import child_of, children_of, kill, wait_for
from tests.support.traced import CALLER, TRACE, Traced, traced_deployment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def traced(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """A child makes way for the next after each job."""
    with traced_deployment(stack, tmp_path_factory.mktemp("traced"), child_memory_mb=1) as traced:
        yield traced


def test_an_attempt_after_a_kill_is_linked_to_the_trace_of_the_first(traced: Traced) -> None:
    job = traced.deployment.job(steps=150)
    traced.post(job, traceparent=CALLER)
    traced.deployment.until_painting(job)
    kill(child_of(traced.worker))
    traced.queue.wait(job.id, timeout_s=WAIT_S)
    submit = traced.collector.one("submit", job_id=job.id)
    lost = traced.collector.one("attempt", job_id=job.id, attempt=1)
    second = traced.collector.one("attempt", job_id=job.id, attempt=2)
    assert (lost.trace, lost.parent, lost.failed) == (TRACE, submit.id, True)
    assert lost.attributes["error.type"] == "worker_lost"
    assert (second.trace != TRACE, second.parent, second.failed) == (True, "", False)
    assert second.links == ((TRACE, submit.id),)
    traced.hooked(job.id)
    deliver = traced.collector.one("deliver", job_id=job.id)
    assert (deliver.trace, deliver.parent) == (second.trace, second.id)


def test_what_came_without_a_trace_begins_one_and_no_child_loses_a_span(traced: Traced) -> None:
    """By a backend that is not traced: one job after the other, each by a child of its own."""
    before = len(children_of(traced.worker))
    jobs = [traced.deployment.job(steps=steps) for steps in (4, 5)]
    for job in jobs:
        traced.queue.submit(job)
        traced.queue.wait(job.id, timeout_s=WAIT_S)
    for job in jobs:
        receive = traced.collector.one("receive", job_id=job.id)
        attempt = traced.collector.one("attempt", job_id=job.id)
        assert (receive.parent, attempt.parent, attempt.trace) == ("", receive.id, receive.trace)
        assert {"wait", "fetch", "paint", "store"} <= traced.collector.below(attempt)
    wait_for(lambda: len(children_of(traced.worker)) > before, WAIT_S, "another child")
