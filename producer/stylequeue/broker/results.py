"""Celery's result backend, but for what a producer does not need of it, and with errors under a name that lasts."""

from __future__ import annotations

import logging
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend, SentinelBackend

from ..contract import errors
from ..contract.plain_json import read_json

log = logging.getLogger(__name__)

_PUBLIC = __name__.partition(".")[0]
"""The package, which exports every error that a result may hold: senders of any version find it there."""
_BEFORE = "stylequeue.errors"
"""Where they were looked for until 0.1."""


class Results(RedisBackend):
    """Results in Redis; whoever wants one subscribes when asking for it."""

    def on_task_call(self, producer: object, task_id: str) -> None:
        """Nothing. Celery would subscribe to every task that is sent, and a producer would hold more with each."""

    def store_result(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        """Store it. That a task has begun is told if that is possible: it would not begin otherwise."""
        try:
            return super().store_result(task_id, result, state, *args, **kwargs)
        except Exception as error:
            if state != states.STARTED:
                raise
            log.warning("not told that task %s has begun: %s", task_id, error)
            return result

    def decode(self, payload: Any) -> Any:
        """What lies there, whoever put it there: plain JSON, of which no object is made."""
        return read_json(payload)

    def prepare_exception(self, exc: Exception, serializer: str | None = None) -> Any:
        """An exception as it is stored."""
        stored = super().prepare_exception(exc, serializer)
        return {**stored, "exc_module": _PUBLIC} if isinstance(exc, errors.JobEnded) else stored

    def exception_to_python(self, exc: Any) -> Any:
        """An exception from what was stored, by this version or an older one."""
        if isinstance(exc, dict) and exc.get("exc_module") in (_PUBLIC, _BEFORE):
            exc = {**exc, "exc_module": errors.__name__}
        return super().exception_to_python(exc)


class SentinelResults(Results, SentinelBackend):
    """The same where sentinels know which Redis it is."""
