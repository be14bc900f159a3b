"""Spans of a job's way, where OpenTelemetry is at hand in this process; without it, trace contexts are handed on.

OpenTelemetry is never imported here: a program of ours that is to tell of traces has (`exporting`), or the backend that
uses this package. What spans hold are ids, names, numbers and codes, and nothing of what a job says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from .._version import __version__
from ..contract.errors import StyleQueueError
from ..contract.trace import traceparent_of

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanContext

Kind = Literal["INTERNAL", "SERVER", "PRODUCER", "CONSUMER"]

_handed: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""What came along with what is done now."""


def _api() -> Any:
    """OpenTelemetry's, where somebody has imported it and told it what to do with spans."""
    api: Any = sys.modules.get("opentelemetry.trace")
    # Another thread may be importing it just now.
    provider = getattr(api, "get_tracer_provider", None)
    return None if provider is None or isinstance(provider(), api.ProxyTracerProvider) else api


def traceparent() -> str | None:
    """The trace context of what is done now, as W3C has it, if there is one."""
    api = _api()
    return _traceparent_of(api.get_current_span()) if api else _handed.get()


@contextmanager
def handed(given: str | None) -> Iterator[None]:
    """What is done inside came with the trace context `given`, or with none."""
    token = _handed.set(given)
    try:
        yield
    finally:
        _handed.reset(token)


@contextmanager
def span(
    name: str,
    *,
    kind: Kind = "INTERNAL",
    of: str | None = None,
    linked: bool = False,
    began_at: float | None = None,
    unless: type[Exception] | tuple[()] = (),
    **attributes: str | float | None,
) -> Iterator[None]:
    """A span of what is done inside, which is a part of what goes on now or, if given, `of` that trace context.

    `linked`: it begins a trace of its own, linked to that. `began_at` is in seconds since the epoch; left out: now.
    Attributes are named `stylequeue.` and what they are called here; those that are None are left out. What is raised
    inside makes the span one that failed, with the error's code or, for what is none of ours, its class; `unless` it is
    such, by which nothing failed.
    """
    api = _api()
    if api is None:
        with handed(of or _handed.get()):
            yield
        return
    context, links = _whose(of, linked)
    with (
        handed(of or _handed.get()),
        api.get_tracer("stylequeue", __version__).start_as_current_span(
            name,
            context=context,
            kind=api.SpanKind[kind],
            links=links,
            start_time=None if began_at is None else _ns(began_at),
            attributes=_named(attributes),
            # Their texts are for logs, which tell fewer people.
            record_exception=False,
            set_status_on_exception=False,
        ),
    ):
        try:
            yield
        except unless:
            raise
        except Exception as error:
            fail(_code_of(error))
            raise


def note(**attributes: str | float | None) -> None:
    """Say more of the span that is current, if one is, named as in `span`."""
    if api := _api():
        api.get_current_span().set_attributes(_named(attributes))


def fail(code: str) -> None:
    """What the span is of came to no good."""
    if api := _api():
        _fail(api.get_current_span(), code)


def event(name: str, **attributes: str | float | None) -> None:
    """Say that something happened within the span that is current, if one is."""
    if api := _api():
        api.get_current_span().add_event(name, _named(attributes))


@contextmanager
def submitting(job_ids: Sequence[str]) -> Iterator[list[str | None]]:
    """Around handing in these jobs: the trace context that each is to have on record.

    One alone is a part of what goes on now. Of several each has a trace of its own, linked to that: together they would
    be too many for one.
    """
    api = _api()
    if api is None:
        yield [_handed.get()] * len(job_ids)
        return
    tracer = api.get_tracer("stylequeue", __version__)
    context, links = (None, []) if len(job_ids) == 1 else _whose(traceparent(), True)
    spans = [
        tracer.start_span(
            "submit",
            context=context,
            links=links,
            kind=api.SpanKind.PRODUCER,
            attributes=_named({"job_id": job_id}),
        )
        for job_id in job_ids
    ]
    try:
        yield [_traceparent_of(one) for one in spans]
    except Exception as error:
        for one in spans:
            _fail(one, _code_of(error))
        raise
    finally:
        for one in spans:
            one.end()


def _whose(of: str | None, linked: bool) -> tuple[Context | None, list[Any]]:
    """The parent's context, and links, for what is `of` a trace context; None: what goes on now is the parent."""
    api = _api()
    origin = traceparent_of(of)
    if origin is None:
        return (api.set_span_in_context(api.INVALID_SPAN), []) if linked else (None, [])
    _, trace_id, span_id, flags = origin.split("-")
    context = api.SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=api.TraceFlags(int(flags, 16))
    )
    if linked:
        return api.set_span_in_context(api.INVALID_SPAN), [api.Link(context)]
    return api.set_span_in_context(api.NonRecordingSpan(context)), []


def _traceparent_of(span: Any) -> str | None:
    context: SpanContext = span.get_span_context()
    if not context.is_valid:
        return _handed.get()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 0xFF:02x}"


def _fail(span: Any, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(_api().StatusCode.ERROR)


def _code_of(error: Exception) -> str:
    return error.code if isinstance(error, StyleQueueError) else type(error).__name__


def _named(attributes: Mapping[str, str | float | None]) -> dict[str, str | float]:
    return {f"stylequeue.{name}": value for name, value in attributes.items() if value is not None}


def _ns(at: float) -> int:
    return int(at * 1e9)
