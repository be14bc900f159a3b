"""What a backend pays for importing the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stylequeue
from stylequeue.contract import errors

INSIDE = {"Cancelled", "CannotServe", "DeadlinePassed", "Interrupted", "LeaseLost", "Preempted"}
"""Errors of a worker and of the command, which no backend meets; `stylequeue.Cancelled` is the event."""
HEAVY = {"tensorflow", "keras", "numpy", "PIL", "matplotlib", "boto3", "botocore", "celery", "kombu", "redis"}
NOT_WITHOUT_NEED = {"opentelemetry", "structlog"}
OF_TRACES = {"opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.instrumentation", "google.protobuf"}
"""What tells of them. FastAPI imports OpenTelemetry's interface, redis-py what measures, where that is installed."""


def loaded_after(code: str) -> set[str]:
    """Top-level modules that are loaded once `code` has run in a fresh interpreter."""
    return {name.split(".")[0] for name in all_loaded_after(code)}


def all_loaded_after(code: str) -> set[str]:
    """All modules, likewise."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import stylequeue",
        "from stylequeue import *",
        "import stylequeue.cli, stylequeue.local",
        "from stylequeue import StyleQueue; StyleQueue()",
        "from stylequeue import AsyncStyleQueue; AsyncStyleQueue()",
    ],
)
def test_importing_loads_nothing_heavy(code: str) -> None:
    assert not loaded_after(code) & (HEAVY | NOT_WITHOUT_NEED)


SETTING_UP = """
from stylequeue import tracing
from stylequeue.tracing import exporting
from stylequeue.settings import Settings
exporting.set_up("gateway", Settings())
with tracing.submitting(["a"]), tracing.span("fetch"), exporting.flushed():
    pass
"""
PROGRAMS = """
import stylequeue.gateway.server, stylequeue.gateway.listening, stylequeue.keeper, stylequeue.delivery.deliverer
import stylequeue_worker.process.app
"""


def test_where_nobody_asks_for_traces_nothing_that_tells_of_them_is_loaded() -> None:
    assert not all_loaded_after(PROGRAMS + SETTING_UP) & OF_TRACES
    wanted = "import os; os.environ['OTEL_EXPORTER_OTLP_ENDPOINT'] = 'http://127.0.0.1:9'\n"
    assert all_loaded_after(wanted + SETTING_UP) >= OF_TRACES, "else it could not be seen"


def test_a_producer_that_submits_never_meets_the_worker_side() -> None:
    loaded = loaded_after("import stylequeue.broker, stylequeue.ledger, stylequeue.store, celery, redis, boto3")
    assert not loaded & {"stylequeue_worker", "tensorflow", "numpy", "PIL"}


def test_every_public_name_is_there() -> None:
    loaded_after("import stylequeue\nfor name in stylequeue.__all__: getattr(stylequeue, name)")
    loaded_after("from stylequeue import *; StyleQueue, Job, Code, WaitTimeout, __version__")
    assert {"StyleQueue", "Job", "Code", "Permanent", "Retryable", "InvalidSettings"} <= set(dir(stylequeue))


def test_every_error_that_a_user_can_meet_is_public() -> None:
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.StyleQueueError):
            assert (getattr(stylequeue, name, None) is value) is (name not in INSIDE), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Stylequeue"):
        getattr(stylequeue, "Stylequeue")  # noqa: B009 - a type checker knows that it is not there
