"""A job's attempts in traces: told by the worker that makes one, or by whoever finds that it is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from . import logs, tracing
from .contract.trace import trace_id_of
from .ledger import Record


@contextmanager
def made(record: Record, *, waited_s: float, unless: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Around an attempt that was due `waited_s` ago, up to now; what is raised of the kind `unless` is no failure."""
    due_at = time.time() - waited_s
    with _attempt(record, began_at=due_at, unless=unless), about(record):
        with tracing.span("wait", began_at=due_at):
            pass
        yield


def about(record: Record) -> AbstractContextManager[None]:
    """Everything logged inside is about this attempt."""
    return logs.about(
        record.id,
        run=record.run,
        attempt=record.attempt,
        fence=record.fence,
        tenant=record.tenant,
        worker=record.worker,
        trace=record.traceparent and trace_id_of(record.traceparent),
    )


def came_to_harm(error: str) -> None:
    """The attempt that is made now gives the job back; `error` begins with a code in brackets."""
    tracing.fail(_code(error))


def lost(record: Record, error: str) -> None:
    """An attempt whose worker did not live to tell of it; `record` is of when it had the job."""
    with _attempt(record, began_at=record.updated_at.timestamp()):
        came_to_harm(error)


def _attempt(
    record: Record, *, began_at: float, unless: type[Exception] | tuple[()] = ()
) -> AbstractContextManager[None]:
    return tracing.span(
        "attempt",
        kind="CONSUMER",
        of=record.traceparent,
        # It may come hours later, and a trace is of what goes on together.
        linked=(record.run, record.attempt) != (1, 1),
        began_at=began_at,
        unless=unless,
        job_id=record.id,
        queue=record.queue,
        tenant=record.tenant,
        worker=record.worker,
        run=record.run,
        attempt=record.attempt,
    )


def _code(error: str) -> str:
    return error[1:].partition("]")[0] if error.startswith("[") else "unknown"
