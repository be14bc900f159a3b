"""What of spans leaves a process, and that a program whose traces cannot be told does its work."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from types import ModuleType

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stylequeue import tracing
from stylequeue.settings import Settings
from stylequeue.tracing import exporting
from stylequeue.tracing.discreet import Discreet
from tests.support.traced import CALLER

SETTING_UP = """
import logging, os
logging.basicConfig(level="INFO", format="%(message)s")
from stylequeue.settings import Settings
from stylequeue.tracing import exporting
exporting.set_up("worker", Settings())
os._exit(0)
"""


def test_a_setting_that_is_refused_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "256")
    with caplog.at_level(logging.INFO):
        exporting.set_up("worker", Settings())
    [said] = caplog.messages
    assert said.startswith("no traces: ValueError: ")
    exporting.flush()


def test_what_another_thread_is_about_to_import_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", ModuleType("opentelemetry.trace"))
    with tracing.handed(CALLER), tracing.span("fetch"):
        assert tracing.traceparent() == CALLER


def test_where_traces_go_is_said_without_what_lets_one_in() -> None:
    env = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:hunter22@127.0.0.1:9/x?key=hunter22"}
    command = [sys.executable, "-c", SETTING_UP]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.splitlines() == ["traces go to http://127.0.0.1:9"]


def test_what_leaves_is_short() -> None:
    """Pipelines are named by all their commands."""
    exported = InMemorySpanExporter()
    statement = "HGET ? ?\n" * 1000
    of_redis: dict[str, str | int] = {"db.system": "redis", "db.statement": statement, "db.redis.pipeline_length": 1000}
    spans = [ReadableSpan("HGET " * 1000, attributes=of_redis), ReadableSpan("x" * 1000), ReadableSpan("POST /v1/jobs")]
    Discreet(exported).export(spans)
    pipeline, long, request = exported.get_finished_spans()
    assert (pipeline.name, long.name, request.name) == ("HGET", "x" * 64, "POST /v1/jobs")
    assert pipeline.attributes == {**of_redis, "db.statement": statement[:200]}
