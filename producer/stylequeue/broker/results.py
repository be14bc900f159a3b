"""Celery's result backend, but for what a producer does not need of it, and with errors under a name that lasts."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.backends.redis import RedisBackend, SentinelBackend

from ..contract import errors
from ..contract.plain_json import read_json

_PUBLIC = __name__.partition(".")[0]
"""The package, which exports every error that a result may hold: senders of any version find it there."""
_BEFORE = "stylequeue.errors"
"""Where they were looked for until 0.1."""


class Results(RedisBackend):
    """Results in Redis; whoever wants one subscribes when asking for it."""

    def on_task_call(self, producer: object, task_id: str) -> None:
        """Nothing. Celery would subscribe to every task that is sent, and a producer would hold more with each."""

    def store_refusal(self, task_id: str, error: Exception) -> None:
        """Store it unless something is stored there already."""
        self._store_first(task_id, self.encode_result(error, states.FAILURE), states.FAILURE)

    def store_begun(self, task_id: str, *, first: bool) -> None:
        """Store that a task is being worked on: by its `first` attempt, else if nothing is stored there already."""
        store = self.store_result if first else self._store_first
        store(task_id, None, states.STARTED)

    def _store_first(self, task_id: str, result: Any, state: str) -> None:
        key, text = self.get_key_for_task(task_id), self._text(task_id, result, state)
        if self.client.set(key, text, ex=self.expires, nx=True):
            self.client.publish(key, text)

    def _store_result(self, task_id: str, result: Any, state: str, traceback: Any = None, **_: Any) -> Any:
        """Whatever lies there: Celery would look first, and never replace a SUCCESS. Here the ledger knows better."""
        # Without the twenty tries that Celery makes in here: whoever calls this makes as many as there should be.
        self._set(self.get_key_for_task(task_id), self._text(task_id, result, state, traceback), self.expires)
        return result

    def _text(self, task_id: str, result: Any, state: str, traceback: Any = None) -> Any:
        meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=None)
        return self.encode({**meta, "task_id": task_id})

    _get_result_meta: Any
    _set: Any
    expires: int

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
