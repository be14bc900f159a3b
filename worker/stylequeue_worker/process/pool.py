"""Celery's pool of child processes, which notices at once that a child has died."""

from __future__ import annotations

from typing import Any

from celery.concurrency import asynpool, prefork

from .stopping import kept_from_children

_REAPED_WITHIN_S = 1.0


class _Pool(asynpool.AsynPool):
    def _create_worker_process(self, i: int) -> Any:
        with kept_from_children():
            return super()._create_worker_process(i)  # type: ignore[misc]

    def _event_process_exit(self, hub: Any, proc: Any) -> None:
        # A process's files are closed a moment before it can be waited for: Celery looks in between, finds it alive,
        # and notices with its next poll, which comes every 5 s.
        proc.join(_REAPED_WITHIN_S)
        super()._event_process_exit(hub, proc)  # type: ignore[misc]

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
        super().on_process_alive(pid)


class TaskPool(prefork.TaskPool):
    """For Celery's setting `worker_pool`. Where Celery no longer calls what is overridden here, its poll remains."""

    Pool = _Pool
