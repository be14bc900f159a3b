"""Whatever the document allows, and what it does not: generated requests, and what the answers must keep to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from hypothesis.stateful import run_state_machine_as_test
from hypothesis.strategies import booleans, sampled_from
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import JobNotFound
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from tests.conftest import empty_database
from tests.support.gate import ServedGate
from tests.support.jobs import make_job

EXAMPLES = 8
"""Of each operation and kind: what is as documented, what is not."""
_CHECKS = [
    not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
    openapi.unsupported_method,
    openapi.ignored_auth,
]
_STREAMS = ("follow_job", "follow_jobs")
"""What ends when its jobs do is asked about ended ones."""
_WALKS, _STEPS = 30, 12
"""From answer to answer: how many, and how far."""
_BEFORE = ("job-0", "job-1", "job-2")
"""Jobs that are there when a walk begins."""
_OF_SEVERAL = [openapi.use_after_free, openapi.ensure_resource_availability]
"""What one answer alone cannot break."""


@pytest.fixture(scope="module")
def gate(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedGate]:
    directory: Path = tmp_path_factory.mktemp("keys")
    with (
        empty_database(stack) as settings,
        ServedGate(settings.model_copy(update={"gateway_wait_s": 0}), directory / "keys.json") as gate,
        StyleQueue(settings) as queue,
    ):
        yield gate
        queue._ledger.redis.flushdb()


@pytest.fixture
def ended(gate: ServedGate) -> list[str]:
    """Jobs of which all has been told."""
    with StyleQueue(gate.settings) as queue:
        jobs = [queue.submit(make_job()) for _ in range(8)]
        for job_id in jobs:
            queue.cancel(job_id)
    return jobs


def document_of(gate: ServedGate) -> Any:
    return schemathesis.openapi.from_url(f"http://{HOST}:{gate.port}/openapi.json")


def operation_of(case: Any) -> str:
    return str(case.operation.definition.raw["operationId"])


def key_of(gate: ServedGate) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {gate.admin}"}, "timeout": 30}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_answers_keep_to_the_document(gate: ServedGate, ended: list[str]) -> None:
    """Statuses, types and schemas are as documented; nothing without a key; no fault of ours."""
    faults: list[str] = []
    tried = asked = 0
    told: Counter[tuple[str, int]] = Counter()
    for found in document_of(gate).get_all_operations():
        operation: Any = found.ok()
        tried += 1
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode), job_id=sampled_from(ended), is_whole=booleans())
            @hypothesis_settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
                database=None,
            )
            def answers(case: Any, job_id: str, is_whole: bool) -> None:
                nonlocal asked
                asked += 1
                if operation_of(case) in _STREAMS:
                    _name(case, job_id, is_whole)
                response = case.call_and_validate(**key_of(gate), checks=_CHECKS)
                told[operation_of(case), response.status_code] += 1

            try:
                answers()
            except Unsatisfiable:
                pass  # nothing about it can be wrong
            except BaseExceptionGroup as group:
                faults.append(
                    f"{operation.label} {mode.name}: " + "; ".join(str(error)[:600] for error in group.exceptions)
                )
            except Exception as error:
                faults.append(f"{operation.label} {mode.name}: {type(error).__name__} {str(error)[:600]}")
    assert not faults, "\n\n".join(faults)
    assert tried >= 22
    assert asked > 5 * tried
    for stream in _STREAMS:
        assert told[stream, 200], told


def _name(case: Any, job_id: str, is_whole: bool) -> None:
    """Have a request for a stream be for a job that has ended: others' end is not waited for.

    is_whole: from the first event on.
    """
    if "job_id" in case.path_parameters:
        case.path_parameters["job_id"] = job_id
    else:
        case.query = {**(case.query or {}), "job": [job_id]}
    if is_whole:
        case.query = {**(case.query or {}), "after": "0"}
        case.headers = {}


def walk(gate: ServedGate) -> tuple[Counter[tuple[str, int]], list[str]]:
    """Ask about jobs what other answers said that could be asked: what was told how often, and what contradicts it."""
    faults: list[str] = []
    told: Counter[tuple[str, int]] = Counter()

    class Walk(document_of(gate).include(tag="jobs").as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            # Hypothesis wants each walk to be what it was, if it takes it again.
            with StyleQueue(gate.settings) as queue:
                queue._ledger.redis.flushdb()
                for job_id in _BEFORE:
                    queue.cancel(queue.submit(make_job(id=job_id)))
            self.there = set(_BEFORE)

        def get_call_kwargs(self, _case: Any) -> dict[str, Any]:
            return key_of(gate)

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            told[operation_of(case), response.status_code] += 1
            self.compare(response, case)
            checks = [*_CHECKS, *_OF_SEVERAL]
            case.validate_response(response, checks=checks, transport_kwargs=key_of(gate), recorder=self.recorder)

        def compare(self, response: Any, case: Any) -> None:
            """With what answers before have said: of routes that take a key, the library's own check sees nothing."""
            job_id = (case.path_parameters or {}).get("job_id")
            match response.status_code:
                case 404 if job_id in self.there:
                    faults.append(f"{job_id} is not there, by {operation_of(case)}")
                case 204:
                    self.there.discard(job_id)
                case 200 | 201 | 202:
                    body = response.json()
                    self.there |= {view["id"] for view in body.get("jobs", [body])}

    run_state_machine_as_test(
        Walk,
        settings=hypothesis_settings(
            max_examples=_WALKS,
            stateful_step_count=_STEPS,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
    return told, faults


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_follows_from_answers_keeps_to_the_document(gate: ServedGate) -> None:
    """What was made is there, and what was deleted is not."""
    told, faults = walk(gate)
    assert not faults
    for answer in (("get_job", 200), ("cancel_job", 200), ("delete_job", 204)):
        assert told[answer], sorted(told.items())


async def _not_there(_queue: AsyncStyleQueue, job_id: str, **_: Any) -> None:
    raise JobNotFound(job_id)


async def _stays(_queue: AsyncStyleQueue, _job_id: str) -> None:
    pass


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_walk_sees_that_what_was_made_is_not_there(gate: ServedGate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AsyncStyleQueue, "cancel", _not_there)
    _, faults = walk(gate)
    assert any("is not there, by cancel_job" in fault for fault in faults)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_walk_sees_that_what_was_deleted_is_there(gate: ServedGate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AsyncStyleQueue, "delete", _stays)
    with pytest.raises(FailureGroup, match="Deleted resource still available"):
        walk(gate)
