"""Tells of traces to whatever takes OTLP by HTTP, where OTEL_EXPORTER_OTLP_ENDPOINT is set: to a collector, say.

Elsewhere nothing of OpenTelemetry is imported. Its own variables say the rest: OTEL_EXPORTER_OTLP_HEADERS,
OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_SDK_DISABLED, ...
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .._version import __version__
from ..contract.errors import with_extra
from ..settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FLUSH_S = 1.0
"""The longest that a job waits for its spans to be sent. Those that are not are sent later, if the process lives."""
END_S = 3.0
"""The same where a process ends."""

_provider: TracerProvider | None = None
_flushing: threading.Thread | None = None


def set_up(program: str, settings: Settings) -> None:
    """Have this process tell of traces, if that is wanted: once, before what is traced begins.

    Where that cannot be, the log says why, and the program does its work without.
    """
    global _provider
    if _provider is not None or not _is_wanted():
        return
    try:
        _provider = _made(program, settings)
        log.info("traces go to %s", _without_secrets(os.environ[_endpoint()]))
    except ImportError as error:
        log.warning("no traces: %s is set, but: %s; %s", _endpoint(), error, with_extra("otel"))
    except Exception as error:
        log.warning("no traces: %s: %s", type(error).__name__, error)


def _made(program: str, settings: Settings) -> TracerProvider:
    """What tells of them. Raises ImportError, and whatever OpenTelemetry does where it refuses a setting."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from .discreet import Discreet

    said = OTELResourceDetector().detect().attributes
    ours = {
        "service.namespace": "stylequeue",
        "service.name": f"stylequeue-{program}",
        "service.version": __version__,
        "stylequeue.deployment": settings.deployment,
    }
    resource = Resource.create({name: value for name, value in ours.items() if name not in said})
    # Ended by `flushed` and `flush`, in bounds; its own way at exit would wait for long.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Discreet(OTLPSpanExporter())))
    trace.set_tracer_provider(provider)
    RedisInstrumentor().instrument()
    BotocoreInstrumentor().instrument()  # type: ignore[no-untyped-call]
    return provider


def _without_secrets(address: str) -> str:
    """Scheme, host and port: before and behind them there may be what lets one in."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _endpoint() -> str:
    """The variable that says where traces go; "": none does."""
    return next((name for name in _ENDPOINTS if os.environ.get(name)), "")


def _is_wanted() -> bool:
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return bool(_endpoint()) and not is_off and os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"


@contextmanager
def flushed() -> Iterator[None]:
    """Around a job: when it is over, its spans are sent, for the process may be over, too. Waits a second at most, and
    not at all while what was sent for the job before is not taken yet.
    """
    try:
        yield
    finally:
        if _flushing is None or not _flushing.is_alive():
            flush(_FLUSH_S)


def flush(within_s: float = END_S) -> None:
    """Send what there is to tell, and wait for that, but for no longer."""
    global _flushing
    if _provider is None:
        return
    _flushing = threading.Thread(target=_provider.force_flush, name="traces", daemon=True)
    _flushing.start()
    _flushing.join(within_s)
