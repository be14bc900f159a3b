"""What traces are told to: a receiver of OTLP by HTTP, which keeps every span that it is sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.processes import wait_for

HOST = "127.0.0.1"
_WAIT_S = 30


@dataclass(frozen=True)
class Span:
    """One span, its ids in hexadecimal digits."""

    name: str
    service: str
    trace: str
    id: str
    parent: str
    links: tuple[tuple[str, str], ...]
    """Trace and span."""
    attributes: dict[str, Any]
    events: tuple[tuple[str, dict[str, Any]], ...]
    failed: bool
    began_s: float
    took_s: float


class Collector:
    """Listens on a free port until the block ends."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.text = b""
        """All that came, as it came: what is told at all stands in it."""
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if collector.status == 200:
                    collector._take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def env(self) -> dict[str, str]:
        """What leads a process here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{self._server.server_address[1]}"}

    def named(self, name: str, **attributes: Any) -> list[Span]:
        """The spans of that name, and with these attributes of ours."""
        wanted = {f"stylequeue.{key}": value for key, value in attributes.items()}
        return [span for span in list(self.spans) if span.name == name and wanted.items() <= span.attributes.items()]

    def one(self, name: str, **attributes: Any) -> Span:
        """The only one, waited for."""
        found = wait_for(lambda: self.named(name, **attributes), _WAIT_S, f"a span {name} {attributes}")
        assert len(found) == 1, found
        return found[0]

    def by_id(self, span_id: str) -> Span:
        """That one, waited for."""
        found = wait_for(lambda: [span for span in list(self.spans) if span.id == span_id], _WAIT_S, f"span {span_id}")
        return found[0]

    def below(self, span: Span) -> set[str]:
        """The names of those of ours whose parent it is."""
        return {one.name for one in list(self.spans) if one.parent == span.id}

    def _take(self, body: bytes) -> None:
        self.text += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _plain(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_span(span, service) for span in scope.spans]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _span(span: Any, service: str) -> Span:
    return Span(
        name=span.name,
        service=service,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        attributes=_plain(span.attributes),
        events=tuple((event.name, _plain(event.attributes)) for event in span.events),
        failed=span.status.code == 2,
        began_s=span.start_time_unix_nano / 1e9,
        took_s=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _plain(attributes: Iterable[Any]) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
