"""What of spans leaves this process: imported only where OpenTelemetry is wanted.

Official instrumentations put into spans what they know: addresses with what stands behind the question mark, texts of
errors in which there is a command with all its arguments, and so a job. Who looks at traces need not be one who may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status

_OURS = "stylequeue."
_TOLD = frozenset(
    {
        *("http.method", "http.request.method", "http.route", "http.status_code", "http.response.status_code"),
        *("http.scheme", "url.scheme", "http.flavor", "network.protocol.version", "error.type", "exception.type"),
        *("server.address", "server.port", "net.peer.name", "net.peer.port", "net.transport", "network.transport"),
        *("db.system", "db.system.name", "db.redis.database_index", "db.namespace", "db.redis.pipeline_length"),
        *("db.statement", "db.query.text"),  # command names alone: arguments are question marks
        *("rpc.system", "rpc.service", "rpc.method", "cloud.region", "aws.request_id", "aws.region", "retry_attempts"),
        *("messaging.system", "messaging.operation", "messaging.message.id"),
    }
)
"""Attributes that are told as they are; beside those that begin with `_OURS`."""
_MAX_NAME_CHARS = 64
_MAX_TEXT_CHARS = 200
"""Of an attribute."""


class Discreet(SpanExporter):
    """Hands spans on without what is nobody's business, and without those of requests that are part of no trace.

    The latter are what goes on all the time: heartbeats, keepers' rounds, a look for messages.
    """

    def __init__(self, to: SpanExporter) -> None:
        self._to = to

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As `to` does."""
        told = [_discreet(span) for span in spans if span.parent or span.kind is not SpanKind.CLIENT]
        return self._to.export(told) if told else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """As `to` does."""
        self._to.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """As `to` does."""
        return self._to.force_flush(timeout_millis)


def _discreet(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=_name(span),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_told(span.attributes),
        events=[Event(event.name, _told(event.attributes), event.timestamp) for event in span.events],
        links=span.links,
        kind=span.kind,
        # Its description is the text of an error.
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _name(span: ReadableSpan) -> str:
    """A pipeline is named by all its commands: thousands, and never twice the same."""
    is_redis = (span.attributes or {}).keys() & {"db.system", "db.system.name"}
    return (span.name.partition(" ")[0] if is_redis else span.name)[:_MAX_NAME_CHARS]


def _told(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        name: value[:_MAX_TEXT_CHARS] if isinstance(value, str) else value
        for name, value in (attributes or {}).items()
        if name in _TOLD or name.startswith(_OURS)
    }
