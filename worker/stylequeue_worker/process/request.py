"""A job's message in the parent process: Celery holds nothing of it that the ledger should hold."""

from __future__ import annotations

from typing import Any

from billiard.exceptions import WorkerLostError
from celery.worker.request import Request


class JobRequest(Request):
    """Delivered at once and whatever Celery knows of it: when, until when and whether are the ledger's affair.

    Celery would keep a message that is due later in this worker's memory, would drop one that has expired or was
    revoked, and would go on dropping it after the job is run again.
    """

    store_errors = False
    """Celery's own word for a child that was cut off must not reach the sender: the ledger says what becomes of it."""
    eta: Any = None
    expires: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The worker's own limit ends the child; the sender's ends the job between two steps.
        self.time_limits = (None, None)
        # Celery would log that the broker did not hear of the message's end, and wait for ever: with this one counted
        # as being worked on, no other is fetched. What is raised instead makes it connect anew, and count anew.
        self._connection_errors: tuple[type[Exception], ...] = ()

    def has_begun(self) -> bool:
        """Whether the child has claimed the job: then the ledger knows of it, and the message can go."""
        raise NotImplementedError

    def revoked(self) -> bool:
        """Never here."""
        return False

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """The child ended with an error, or was lost; before it began, the message may be all there is of the job."""
        # Celery wraps what was raised in the child, to carry its traceback.
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, (WorkerLostError, SystemExit, KeyboardInterrupt)) and not self.has_begun():
            self.reject(requeue=True)
        super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The child has taken too long; see `on_failure`."""
        if not soft and not self.has_begun():
            self.reject(requeue=True)
        super().on_timeout(soft, timeout)
