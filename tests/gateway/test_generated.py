"""Whatever the document allows, and what it does not: generated requests, and what the answers must keep to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi

from stylequeue.client import StyleQueue
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from tests.conftest import empty_database
from tests.support.gate import ServedGate

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
"""What ends when its jobs do is tried elsewhere."""


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_answers_keep_to_the_document(gate: ServedGate) -> None:
    """Statuses, types and schemas are as documented; nothing without a key; no fault of ours."""
    api = schemathesis.openapi.from_url(f"http://{HOST}:{gate.port}/openapi.json").exclude(operation_id=list(_STREAMS))
    faults: list[str] = []
    tried = asked = 0
    for found in api.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # else it raises
        tried += 1
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @hypothesis_settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
                database=None,
            )
            def answers(case: Any) -> None:
                nonlocal asked
                asked += 1
                case.call_and_validate(headers={"Authorization": f"Bearer {gate.admin}"}, checks=_CHECKS)

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
    assert tried >= 20
    assert asked > 5 * tried
