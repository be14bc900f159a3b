"""Where this process has no OpenTelemetry: a trace context that comes along goes on, and only one that is one."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stylequeue import tracing
from stylequeue.client import StyleQueue
from stylequeue.contract.trace import trace_id_of, traceparent_of
from stylequeue.ledger import names
from stylequeue.settings import Settings
from stylequeue.tracing import exporting
from stylequeue_worker.process.message import read_message
from tests.support.deliveries import Operator, delivering
from tests.support.jobs import make_job
from tests.support.ledger import claim
from tests.support.messages import NOTHING_TASK, message
from tests.support.processes import wait_for
from tests.support.receiver import Receiver
from tests.support.traced import CALLER, TRACE

OTHER = CALLER.replace("0a", "1b")


def headers_of(queue: StyleQueue) -> list[Any]:
    """Of all messages that wait."""
    return [json.loads(raw)["headers"].get("traceparent") for raw in queue._ledger.redis.lrange("paint", 0, -1)]


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (CALLER, CALLER),
        (CALLER.replace("00-", "01-", 1) + "-of-later", CALLER),
        (CALLER.replace("-01", "-00"), CALLER.replace("-01", "-00")),
        (CALLER + "-more", None),
        (CALLER.replace("00-", "ff-", 1), None),
        (CALLER.upper(), None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (CALLER + "\n", None),
        ("\n" + CALLER, None),
        ("", None),
        (None, None),
        (7, None),
        ([CALLER], None),
    ],
)
def test_only_what_is_one_is_taken(given: object, taken: str | None) -> None:
    assert traceparent_of(given) == taken
    assert taken is None or trace_id_of(taken) == TRACE


def test_record_message_event_and_the_message_after_a_put_back_have_it(queue: StyleQueue) -> None:
    ledger, plain, traced = queue._ledger, make_job(), make_job()
    queue.submit(plain)
    with tracing.handed(CALLER):
        queue.submit(traced)
    assert (ledger.record(plain.id).traceparent, ledger.record(traced.id).traceparent) == (None, CALLER)
    assert headers_of(queue) == [CALLER, None]
    ledger.redis.delete("paint")
    for job in (plain, traced):
        assert ledger.put_back(claim(ledger, job).record, error="[x] y", charged=False) == "queued"
    queue._access.send_due()
    assert sorted(headers_of(queue), key=str) == [CALLER, None]
    for job, context in ((plain, None), (traced, CALLER)):
        assert [event.traceparent for event in ledger.job_events(job.id)] == [context, context]


def test_what_is_told_of_jobs_without_one_is_as_it_was(queue: StyleQueue) -> None:
    """Records, events, messages: whoever compares, or digests, finds no difference."""
    queue.submit(job := make_job())
    claim(queue._ledger, job)
    redis: Any = queue._ledger.redis
    assert "traceparent" not in redis.hgetall(names.record_key(job.id))
    assert [
        text for _, entry in redis.xrange(names.EVENTS_KEY) for text in entry.values() if "traceparent" in text
    ] == []
    assert "traceparent" not in redis.lrange("paint", 0, -1)[0]
    with tracing.handed(CALLER):
        assert queue.submit(job) == job.id, "the same job, whoever asks"


def test_a_plain_sender_hands_it_in_as_a_header(queue: StyleQueue) -> None:
    """As OpenTelemetry's instrumentation of Celery has it; what is none is passed over, and so is one of later."""
    for given, taken in ((CALLER, CALLER), ("\x1b[2J", None), (7, None)):
        sent = message(headers={"traceparent": given})
        handed_on = json.loads(read_message(json.dumps(sent).encode(), {NOTHING_TASK}).as_message("paint"))
        assert handed_on["headers"].get("traceparent") == taken
    ledger, job = queue._ledger, make_job()
    assert ledger.claim(job, task_id=job.id, worker="w", traceparent=CALLER).record.traceparent == CALLER
    again = ledger.claim(job, task_id=job.id, worker="w", traceparent=OTHER)
    assert again.record.traceparent == CALLER, "the first"
    assert {event.traceparent for event in ledger.job_events(job.id)} == {CALLER}


def test_a_webhook_is_sent_with_it(settings: Settings, tmp_path: Path) -> None:
    with Receiver() as receiver:
        operator = Operator(settings, tmp_path, crm=receiver.endpoint(events=["accepted"]))
        with StyleQueue(operator.settings) as queue, delivering(operator.settings):
            for context in (CALLER, None):
                with tracing.handed(context):
                    queue.submit(make_job(), notify=["crm"])
            wait_for(lambda: len(receiver.received) == 2, 30, "both")
    assert sorted((one.headers.get("traceparent") for one in receiver.received), key=str) == [CALLER, None]


def test_that_the_extra_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    exporting.set_up("worker", Settings())
    assert caplog.messages == []
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        exporting.set_up("worker", Settings())
    [said] = caplog.messages
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in said
    assert 'pip install ".[otel]" in a checkout' in said
    for name, off in (("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")):
        monkeypatch.setenv(name, off)
        exporting.set_up("worker", Settings())
        monkeypatch.delenv(name)
    assert caplog.messages == [said]


SILENT = """
import os, socket, time
with socket.socket() as silent:
    silent.bind(("127.0.0.1", 0))
    silent.listen()
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
    from stylequeue import tracing
    from stylequeue.settings import Settings
    from stylequeue.tracing import exporting
    exporting.set_up("worker", Settings())
    for _ in range(3):
        began_s = time.monotonic()
        with exporting.flushed(), tracing.span("fetch"):
            pass
        print(time.monotonic() - began_s, flush=True)
    os._exit(0)
"""


def test_a_collector_that_does_not_answer_holds_up_one_job_for_a_moment() -> None:
    done = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True, check=True, timeout=60)
    first, *others = map(float, done.stdout.split())
    assert first >= 1, "else it would not have waited, and a child that is recycled would lose its spans"
    assert max(others) < first, "what is on its way already is not waited for"
