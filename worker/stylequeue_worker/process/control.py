"""What operators do to a worker from outside, by Celery's remote control: `celery control`, Flower's buttons.

Celery keeps a revoked task's id in every worker's memory and drops its messages for hours, whatever happens to the job
meanwhile. Here it is the ledger that hears of it. Commands that would have a worker hold messages back, or that a
worker with one child cannot follow, are refused in words.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable
from typing import Any

from celery.platforms import signals
from celery.worker import state
from celery.worker.control import control_command

from stylequeue.contract.errors import StyleQueueError

log = logging.getLogger(__name__)

_ONE_CHILD = "a worker has one child, which paints one picture at a time: start or stop whole workers"
_NO_RESTART = "stop the worker by SIGTERM and start another: its job goes on there"
_REFUSED = {
    "rate_limit": "jobs would wait in the worker's memory: limit them where they are sent, or run fewer workers",
    "time_limit": "set STYLEQUEUE_JOB_TIME_LIMIT_S and start the worker anew, or send jobs with limits of their own",
    "pool_grow": _ONE_CHILD,
    "pool_shrink": _ONE_CHILD,
    "autoscale": _ONE_CHILD,
    "pool_restart": _NO_RESTART,
    "revoke_by_stamped_headers": "revoke tasks by their ids",
}
"""Commands of Celery's that are not followed, and what to do instead."""

Revoke = Callable[[str], str]
"""Cancels the job of a Celery task, and says what became of that."""


def take_over(revoke_task: Revoke) -> None:
    """Answer Celery's commands in this process."""

    @control_command(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
    def revoke(
        worker: Any, task_id: str | Iterable[str], terminate: bool = False, signal: str | None = None, **_: Any
    ) -> dict[str, str]:
        """Cancel jobs by their tasks' ids; with SIGKILL as signal the process that paints one is killed as well."""
        found = {}
        for each in dict.fromkeys([task_id] if isinstance(task_id, str) else task_id):
            try:
                found[each] = revoke_task(each)
            except StyleQueueError as error:
                log.error("revoking task %s failed: %s", each, error)
                return {"error": f"{each}: {error}"}
            request = state.requests.get(each)
            if terminate and _is_kill(signal) and request is not None and request in state.active_requests:
                request.terminate(worker.consumer.pool, signal="KILL")
        return {"ok": "; ".join(f"{each}: {what}" for each, what in found.items())}

    @control_command(
        name="terminate", variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]"
    )
    def terminate(worker: Any, signal: str, task_id: str | Iterable[str], **_: Any) -> dict[str, str]:
        """Cancel jobs by their tasks' ids, as `revoke` with a signal."""
        answer: dict[str, str] = revoke(worker, task_id, terminate=True, signal=signal)
        return answer

    for name, instead in _REFUSED.items():
        control_command(name=name, signature="(not followed)")(_refusal(name, instead))


def _is_kill(name: str | None) -> bool:
    try:
        return bool(signals.signum(name or "TERM") == signal.SIGKILL)
    except (AttributeError, TypeError):
        return False


def _refusal(name: str, instead: str) -> Callable[..., dict[str, str]]:
    def refuse(_worker: Any, **_: Any) -> dict[str, str]:
        log.warning("remote command %s is not followed: %s", name, instead)
        return {"error": f"{name} is not followed here: {instead}"}

    refuse.__doc__ = f"Not followed: {instead}."
    return refuse
