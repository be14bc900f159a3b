"""Log lines that say which job they are about, and hold nothing that a terminal would obey."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from textwrap import indent

from .contract.text import printable, printable_lines

_job_id: ContextVar[str] = ContextVar("job_id", default="-")

_FORMAT = "%(asctime)s %(levelname)s pid=%(process)d job=%(job_id)s %(name)s: %(message)s"


@contextmanager
def about(job_id: str) -> Iterator[None]:
    """Everything logged inside carries this job's id, whoever logs it."""
    token = _job_id.set(job_id)
    try:
        yield
    finally:
        _job_id.reset(token)


def current_job_id() -> str:
    """The job at hand, for threads that go on about it."""
    return _job_id.get()


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # As another handler would show it, in which nothing is escaped.
        record.exc_text = None
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return printable(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's own name
        return _set_off(super().formatException(ei))  # type: ignore[arg-type]

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's own name
        return _set_off(super().formatStack(stack_info))


def _set_off(trace: str) -> str:
    """So that a line of an error's text cannot pass for another record."""
    return indent(printable_lines(trace), "  ", lambda _: True)


def configure(level: str) -> None:
    """Log to standard error, each line with the id of the job at hand."""

    def add_job_id(record: logging.LogRecord) -> bool:
        record.job_id = _job_id.get()
        return True

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(_FORMAT))
    handler.addFilter(add_job_id)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Each of their informational lines repeats what ours say with the job's id, or the job's own arguments.
    for chatty in ("celery.app.trace", "celery.worker.strategy", "botocore", "boto3", "urllib3", "h5py", "matplotlib"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
