"""Log lines that say what they are about, tell no secret, and hold nothing that a terminal would obey.

One chain for all that is logged in a program of ours, also by Celery, boto3 and others: JSON, an object a line, or at a
terminal lines for people.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from textwrap import indent
from typing import Any, Final

import structlog
from structlog.contextvars import bound_contextvars, get_contextvars

from .contract.text import printable, printable_lines

_Line = MutableMapping[str, Any]

MASK: Final = "***"
_SECRETS: Final = re.compile(
    r"(?P<before>://(?:[^\s/@:'\"]*:)?)[^\s/@'\"]+(?=@)"  # an address's password, or its user
    r"|sq_[0-9a-f]{12}_[0-9a-f]{64}_?[0-9a-f]*"  # a key of the gateway's
    r"|whsec_[A-Za-z0-9+/=]{16,}"  # a webhook's
    r"|(?P<named>(?i:bearer(?: |%20)|authorization.{1,9}(?:basic|aws)(?: |%20)"
    r"|signature=|x-amz-credential=|x-amz-security-token=))[^\s&'\"]+"
)
"""What looks like one, whoever says it."""
_CHATTY: Final = ("celery.app.trace", "celery.worker.strategy", "botocore", "boto3", "urllib3", "h5py", "matplotlib")
"""Each of their informational lines repeats what ours say with the job's id, or the job's own arguments."""


@contextmanager
def about(job_id: str, **more: str | int | None) -> Iterator[None]:
    """Everything logged inside carries this job's id, and what `more` is given, whoever logs it."""
    with bound_contextvars(job=job_id, **{name: value for name, value in more.items() if value is not None}):
        yield


def current() -> Mapping[str, Any]:
    """What is at hand, for threads that go on about it."""
    return get_contextvars()


def as_before(what: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Everything logged inside is about what was `current` elsewhere."""
    return bound_contextvars(**what)


def configure(level: str) -> None:
    """Log to standard error: lines for people where that is a terminal, else JSON."""
    for_people = sys.stderr.isatty()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                _with_pid,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                structlog.processors.EventRenamer("message"),
                _without_secrets,
                _in_order,
                _for_people if for_people else structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))


def _with_pid(_: object, __: str, line: _Line) -> _Line:
    line["pid"] = line["_record"].process
    return line


def _in_order(_: object, __: str, line: _Line) -> _Line:
    """What every line has comes first, what it is about behind that, its text last."""
    first, last = ("time", "level", "pid", "logger"), ("message", "exception", "stack")
    about = [name for name in line if name not in first + last]
    return {name: line[name] for name in (*first, *about, *last) if name in line}


def _without_secrets(_: object, __: str, line: _Line) -> _Line:
    return {name: _masked(value) if isinstance(value, str) else value for name, value in line.items()}


def _masked(text: str) -> str:
    return _SECRETS.sub(lambda found: (found["before"] or found["named"] or "") + MASK, text)


def _for_people(_: object, __: str, line: _Line) -> str:
    """`2026-11-26T13:00:00.000000Z INFO pid=7 job=a stylequeue.keeper: message`, and what is set off below it."""
    below = [line.pop(name) for name in ("exception", "stack") if line.get(name)]
    time, level, message = (line.pop(name) for name in ("time", "level", "message"))
    logger, pid = line.pop("logger"), line.pop("pid")
    job = line.pop("job", "-")
    more = "".join(f" {name}={value}" for name, value in line.items())
    first = printable(f"{time} {level.upper()} pid={pid} job={job}{more} {logger}: {message}")
    # So that a line of an error's text cannot pass for another record.
    return "\n".join([first, *(indent(printable_lines(text), "  ", lambda _: True) for text in below)])
