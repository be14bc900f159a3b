"""Celery's pool of child processes, which notices at once that a child has died."""

from __future__ import annotations

import logging
from typing import Any

from celery.concurrency import asynpool, prefork
from celery.worker import state

from stylequeue.contract.errors import ExitCode

from .stopping import kept_from_children

log = logging.getLogger(__name__)

_REAPED_WITHIN_S = 1.0
_TRIES = 3
"""Children that may end in a row before one is ready."""
_FOR_WANT_OF_MEMORY = ": they were killed, perhaps for want of memory"


class _Pool(asynpool.AsynPool):
    def _create_worker_process(self, i: int) -> Any:
        with kept_from_children():
            return super()._create_worker_process(i)  # type: ignore[misc]

    def _event_process_exit(self, hub: Any, proc: Any) -> None:
        # A process's files are closed a moment before it can be waited for: Celery looks in between, finds it alive,
        # and notices with its next poll, which comes every 5 s.
        proc.join(_REAPED_WITHIN_S)
        if proc in self._waiting_to_start:
            self._died_at_start(proc)
        super()._event_process_exit(hub, proc)  # type: ignore[misc]

    def _died_at_start(self, proc: Any) -> None:
        """Celery would start the next child, and the next, for ever."""
        self._deaths_at_start += 1
        log.error("the child ended with status %s while it loaded its models", proc.exitcode)
        if self._deaths_at_start < _TRIES or state.should_stop is not None:
            return
        killed = (proc.exitcode or 0) < 0
        log.critical("%d children ended so, the worker stops%s", _TRIES, _FOR_WANT_OF_MEMORY if killed else "")
        # Celery's loop looks at it.
        state.should_stop = int(ExitCode.CANNOT_SERVE if killed else ExitCode.JOB_FAILED)  # type: ignore[assignment]

    _deaths_at_start = 0
    _waiting_to_start: set[Any]
    _pool: list[Any]
    _fileno_to_inq: dict[int, Any]
    _all_inqueues: set[int]

    def on_process_alive(self, pid: int) -> None:
        # A dead child's pipe may have had the same number. Where the connection to the broker broke just then, Celery
        # has not forgotten it, finds it where the new one belongs, and ends the whole worker.
        for child in self._pool:
            if child.pid == pid:
                self._fileno_to_inq.pop(child.inqW_fd, None)
                self._all_inqueues.discard(child.inqW_fd)
        self._deaths_at_start = 0
        super().on_process_alive(pid)


class TaskPool(prefork.TaskPool):
    """For Celery's setting `worker_pool`. Where Celery no longer calls what is overridden here, its poll remains."""

    Pool = _Pool
