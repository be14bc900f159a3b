"""Traces of a real gateway, worker and keeper, as a collector gets them. What kills do to them: tests/faults."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from stylequeue.local import Stack
from tests.support.processes import logged
from tests.support.traced import CALLER, PARENT, PRIVATE, TRACE, Traced, traced_deployment


@pytest.fixture(scope="module")
def traced(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with traced_deployment(stack, tmp_path_factory.mktemp("traced")) as traced:
        yield traced


def test_one_trace_leads_from_the_request_to_the_webhook(traced: Traced) -> None:
    job = traced.deployment.job(steps=3, labels={"whose": PRIVATE})
    assert traced.post(job, traceparent=CALLER).status_code == 202
    of_hook = traced.hooked(job.id)
    submit = traced.collector.one("submit", job_id=job.id)
    request = traced.collector.by_id(submit.parent)
    attempt = traced.collector.one("attempt", job_id=job.id)
    deliver = traced.collector.one("deliver", job_id=job.id)
    assert (request.name, request.attributes["http.response.status_code"]) == ("POST /v1/jobs", 202)
    assert {span.trace for span in (request, submit, attempt, deliver)} == {TRACE}
    assert [span.parent for span in (request, submit, attempt, deliver)] == [PARENT, request.id, submit.id, attempt.id]
    assert [span.service for span in (request, submit, attempt, deliver)] == [
        *("stylequeue-gateway", "stylequeue-gateway", "stylequeue-worker", "stylequeue-keeper"),
    ]
    assert {"wait", "fetch", "paint", "store"} <= traced.collector.below(attempt)
    [paint] = [span for span in traced.collector.named("paint") if span.parent == attempt.id]
    assert [(name, told["stylequeue.size_px"]) for name, told in paint.events] == [("scale", 64)]
    stages = {span.name: span for span in traced.collector.spans if span.parent == attempt.id}
    assert stages["wait"].took_s + paint.took_s <= attempt.took_s
    [store] = [span for span in traced.collector.named("store") if span.parent == attempt.id]
    assert "S3.PutObject" in traced.collector.below(store), "boto's own"

    # What is told elsewhere leads there, too.
    events = list(traced.queue.watch(job.id))
    assert {event.traceparent for event in events[:2]} == {f"00-{TRACE}-{submit.id}-01"}
    assert events[-1].traceparent == f"00-{TRACE}-{attempt.id}-01"
    assert of_hook.headers["traceparent"] == f"00-{TRACE}-{deliver.id}-01"
    assert json.loads(of_hook.body)["traceparent"] == events[-1].traceparent


def test_all_programs_log_by_one_chain(traced: Traced) -> None:
    """Each line is an object, Celery's and uvicorn's among them, and says of a job which attempt it is about."""
    job = traced.deployment.job(steps=6)
    traced.post(job, traceparent=CALLER)
    traced.hooked(job.id)
    programs = (traced.gateway.process, traced.worker, traced.keeper)
    assert all(logged(program) for program in programs)
    loggers = {line["logger"].split(".")[0] for line in logged(*programs)}
    assert loggers >= {"celery", "uvicorn", "stylequeue", "stylequeue_worker"}
    of_job = [line for line in logged(traced.worker) if line.get("job") == job.id]
    assert len(of_job) > 1
    for line in of_job:
        assert (line["run"], line["attempt"], line["fence"], line["trace"]) == (1, 1, 1, TRACE)
        assert line["worker"].startswith("traced@")


def test_what_jobs_say_is_not_told(traced: Traced) -> None:
    """Nor what stands behind the question mark, nor who may ask; nor what goes on all the time."""
    job = traced.deployment.job(steps=2, labels={"whose": PRIVATE}, output={"bucket": "nobodys", "key": PRIVATE})
    traced.post(job)
    traced.collector.one("attempt", job_id=job.id)
    assert traced.collector.one("attempt", job_id=job.id).attributes["error.type"] == "bucket_not_allowed"
    for private in (PRIVATE, traced.gateway.key, traced.deployment.photograph.key, "nobodys", "whsec_"):
        assert private.encode() not in traced.collector.text, private
    roots = {span.name for span in traced.collector.spans if not span.parent}
    assert roots <= {"attempt", "receive", "POST /v1/jobs"}
