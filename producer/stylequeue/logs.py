"""Log lines that say which job they are about, and hold nothing that a terminal would obey."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from unicodedata import category

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


def printable(text: str) -> str:
    """`text` in one line, with escapes such as `\\x1b` for all that a terminal obeys instead of showing it.

    Names, labels and errors come from strangers: their control characters could forge lines, those that turn the
    direction of writing could show another name than there is.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or category(character) == "Zs"  # wide and unbroken spaces
        else character.encode("unicode_escape").decode()
        for character in text
    )


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return printable(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's own name
        # Set off: a line of an error's text cannot pass for another record.
        trace = super().formatException(ei)  # type: ignore[arg-type]
        return "\n".join(f"  {printable(line)}" for line in trace.split("\n"))


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
