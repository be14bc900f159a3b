"""Log lines that say which job they are about."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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


def configure(level: str) -> None:
    """Log to standard error, each line with the id of the job at hand."""

    def add_job_id(record: logging.LogRecord) -> bool:
        record.job_id = _job_id.get()
        return True

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.addFilter(add_job_id)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Each of their informational lines repeats what ours say with the job's id, or the job's own arguments.
    for chatty in ("celery.app.trace", "celery.worker.strategy", "botocore", "boto3", "urllib3", "h5py", "matplotlib"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
