"""The fake worker after an upgrade: it knows one schema version more, in which jobs have a varnish."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Literal

from stylequeue.contract.base import parse
from stylequeue.contract.job import Job, parse_job
from stylequeue_worker.work import stylist as task
from tests.support.fake_worker import app

NEWER_VERSION = 3


class NewerJob(Job):
    """A job as a newer producer writes it."""

    schema_version: Literal[3] = NEWER_VERSION  # type: ignore[assignment]
    varnish: float = 0.5


def command(name: str) -> list[str]:
    """What starts this worker."""
    return [sys.executable, "-m", "celery", "-A", __name__, "worker", f"--hostname={name}@%h"]


def _parse_newer(data: Any, *, default_id: str) -> Job:
    if isinstance(data, Mapping) and data.get("schema_version") == NEWER_VERSION:
        return parse(NewerJob, {"id": default_id, **data})
    return parse_job(data, default_id=default_id)


# The child imports this module too.
app.conf.include = [*app.conf.include, __name__]
setattr(task, parse_job.__name__, _parse_newer)
