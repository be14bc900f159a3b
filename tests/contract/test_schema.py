"""The JSON Schemas, as consumers in other languages hold what they read against them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator

from stylequeue.contract.schema import text
from stylequeue.contract.status import JobStatus
from stylequeue.testing import JobEvents, make_job

JOB = make_job(recipe={"method": "optimize", "steps": 3}, labels={"user": "42"})
EVENTS = JobEvents(JOB)
LIFE: list[Any] = [
    event.model_dump(mode="json")
    for event in (
        EVENTS.accepted(),
        EVENTS.started(),
        EVENTS.progress(),
        EVENTS.succeeded(),
        EVENTS.failed(),
        EVENTS.cancelled(),
        EVENTS.expired(),
    )
]


def validator(what: Literal["job", "event", "status"]) -> Draft202012Validator:
    schema = json.loads(text(what))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("event", LIFE, ids=lambda event: event["type"].split(".")[3])
def test_every_event_fits(event: dict[str, Any]) -> None:
    assert validator("event").is_valid(event)


def test_what_newer_workers_tell_fits_too() -> None:
    events = validator("event")
    assert events.is_valid({**LIFE[1], "type": "io.stylequeue.job.varnished.v1", "data": {"coats": 2}})
    assert events.is_valid({**LIFE[1], "specversion": "1.1", "data": {**LIFE[1]["data"], "varnish": True}})
    assert events.is_valid({**LIFE[2], "data": {**LIFE[2]["data"], "stage": "varnishing"}})
    report = {**LIFE[3]["data"]["report"], "ended_by": "varnish"}
    recipe = {**LIFE[3]["data"]["recipe"], "network": "vgg22", "varnish": 2}
    assert events.is_valid({**LIFE[3], "data": {**LIFE[3]["data"], "report": report, "recipe": recipe}})


def test_what_a_known_event_must_tell_is_asked_for() -> None:
    events = validator("event")
    assert not events.is_valid({**LIFE[1], "data": {}})
    assert not events.is_valid({**LIFE[3], "data": {**LIFE[3]["data"], "output": {}}})


def test_a_status_fits_whatever_its_state() -> None:
    now = datetime.now(UTC)
    moments = {"created_at": now, "updated_at": now, "deadline_at": now}
    status = JobStatus(
        id=JOB.id,
        state="succeeded",
        run=1,
        attempt=1,
        queue="paint",
        labels=JOB.labels,
        job=json.loads(JOB.canonical_json()),
        outcome=LIFE[3],
        **moments,
    )
    told = status.model_dump(mode="json")
    assert validator("status").is_valid(told)
    assert validator("status").is_valid({**told, "state": "framed", "frame": "gilded"})
    assert not validator("status").is_valid({**told, "attempt": "first"})


def test_a_job_fits_and_a_misspelt_one_does_not() -> None:
    job = json.loads(JOB.canonical_json())
    assert validator("job").is_valid(job)
    assert not validator("job").is_valid({**job, "stlyes": []})
