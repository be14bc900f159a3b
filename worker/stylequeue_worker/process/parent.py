"""What the worker's parent process does beside Celery: it keeps house, and speaks for a child that cannot any more."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import Celery
from celery.signals import task_failure, task_revoked, worker_init, worker_ready, worker_shutdown, worker_shutting_down
from celery.worker import state

from stylequeue import logs
from stylequeue.broker.messages import Messages
from stylequeue.contract.base import QUEUES
from stylequeue.contract.errors import Code, ExitCode, JobNotFound, Permanent, StyleQueueError, Unavailable
from stylequeue.contract.job import TASK_NAME
from stylequeue.doctor import conditional_writes, eviction
from stylequeue.keeper import Keeper
from stylequeue.ledger import Ledger
from stylequeue.settings import Settings
from stylequeue.store import Store
from stylequeue.telling import Teller

from ..work.lease import STOP_FILE_VARIABLE
from .inspection import guard
from .registration import Registration, Told, tell_child

log = logging.getLogger(__name__)

_GRACE_SHARE = 0.8
"""Of the grace period, for the child to come to a good end by itself."""


class Parent:
    """The parent's part in the life of jobs, driven by Celery's signals."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._stop_keeping = threading.Event()
        self._name = ""
        self._is_safe = False

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._settings)

    def connect(self) -> None:
        """Listen to Celery. The child has its own failures told as well; none of them is a child cut off."""
        # Celery keeps weak references to receivers: hence weak=False.
        worker_init.connect(self._begin, weak=False)
        worker_ready.connect(self._keep_house, weak=False)
        worker_shutting_down.connect(self._stop, weak=False)
        worker_shutdown.connect(self._end, weak=False)
        task_failure.connect(self._cut_off, weak=False)
        task_revoked.connect(self._revoked, weak=False)

    def _begin(self, sender: Any = None, **_: Any) -> None:
        self._name = sender.hostname
        # The child inherits the name; a directory of our own, since in containers every parent has the same pid.
        try:
            directory = tempfile.mkdtemp(prefix="stylequeue-worker-")
        except OSError as error:
            log.critical("this worker does not start: it needs a directory for temporary files: %s", error)
            raise SystemExit(ExitCode.BAD_INPUT) from None
        os.environ[STOP_FILE_VARIABLE] = str(Path(directory) / "stop")
        queues = tuple(queue for queue in QUEUES if queue in self._app.amqp.queues.consume_from)
        tell_child(Told(name=self._name, queues=queues, started_at=datetime.now(UTC)))
        guard(self._app, self._bury)
        self._refuse_what_would_lose_work()

    def _refuse_what_would_lose_work(self) -> None:
        """End the process where Redis or the store would lose or double jobs; where they answer."""
        try:
            findings = (eviction(self._ledger), conditional_writes(Store(self._settings)))
        except Unavailable as error:
            # Celery goes on trying to connect, and the first job waits for that.
            log.warning("could not check that this deployment is safe: %s", error)
            return
        except Permanent as error:
            log.critical("this worker does not start: %s", error)
            raise SystemExit(ExitCode.BAD_INPUT) from None
        self._is_safe = True
        for finding in findings:
            if finding.state == "warning":
                log.warning("%s: %s", finding.found, finding.hint)
            if finding.state == "bad":
                log.critical("this worker does not start: %s: %s", finding.found, finding.hint)
                raise SystemExit(ExitCode.BAD_INPUT)

    def _bury(self, *, queue: str, raw: str, code: str, reason: str) -> None:
        letter_id = self._ledger.bury(queue=queue, raw=raw, code=code, reason=reason)
        log.error("a message on %s was no task: %s; dead letter %s", queue, reason, letter_id)

    def _keep_house(self, **_: Any) -> None:
        if not self._is_safe:
            self._refuse_what_would_lose_work()
        keeper = Keeper(self._settings, self._app)
        threading.Thread(target=keeper.run, args=(self._stop_keeping,), name="keeper", daemon=True).start()
        registration = Registration(Ledger(self._settings).registry, self._name, self._settings.heartbeat_s)
        threading.Thread(target=registration.run, args=(self._stop_keeping,), name="registry", daemon=True).start()

    def _stop(self, **_: Any) -> None:
        """SIGTERM: the child hears of it and puts its job back; if it does not in time, we do."""
        self._stop_keeping.set()
        timer = threading.Timer(self._settings.grace_s * _GRACE_SHARE, self._stop_hard)
        timer.daemon = True
        timer.start()
        try:
            Path(os.environ[STOP_FILE_VARIABLE]).touch()
        except OSError as error:
            log.warning("the child cannot be told to stop: %s", error)

    def _stop_hard(self) -> None:
        log.warning("the child has not ended in time, its job is put back for it")
        # By a thread that may hang: Redis may be what the child hangs on.
        putting_back = threading.Thread(target=self._put_all_back, daemon=True)
        putting_back.start()
        putting_back.join(self._settings.grace_s * (1 - _GRACE_SHARE) / 2)
        self._end()
        # Takes the child along.
        os.kill(os.getpid(), signal.SIGKILL)

    def _put_all_back(self) -> None:
        for request in list(state.active_requests):
            if request.name == TASK_NAME:
                self._put_back(request.id, request.kwargs, f"[{Code.PREEMPTED}] the worker had to stop", charged=False)

    def _end(self, **_: Any) -> None:
        shutil.rmtree(Path(os.environ[STOP_FILE_VARIABLE]).parent, ignore_errors=True)

    def _cut_off(
        self,
        task_id: str = "",
        exception: object = None,
        kwargs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """The child is gone, so nobody else can tell what became of its job."""
        if isinstance(exception, TimeLimitExceeded):
            error = f"[{Code.TIME_LIMIT}] the attempt took longer than {self._settings.job_time_limit_s} s"
        elif isinstance(exception, WorkerLostError):
            error = f"[{Code.WORKER_LOST}] the process that painted was killed, perhaps for want of memory"
        else:
            return
        self._put_back(task_id, kwargs or {}, error, charged=True)

    def _put_back(self, task_id: str, kwargs: Mapping[str, Any], error: str, *, charged: bool) -> None:
        job_id = _job_id(kwargs, task_id)
        with logs.about(job_id):
            try:
                record = self._ledger.record(job_id)
                if record.worker != self._name:
                    return
                verdict = self._ledger.put_back(record, error=error, charged=charged)
                log.error("%s: %s", error, verdict)
                # The sender hears of an end at once; the rest of the telling may take a while and is the keeper's.
                if verdict in ("cancelled", "failed"):
                    Teller(self._app, self._ledger, Store(self._settings)).tell_senders(
                        record, self._ledger.outcome(job_id)
                    )
                Messages(self._app, self._ledger).send_due()
            except JobNotFound:
                return
            except Exception as trouble:  # ours, or as Celery raises it
                # Its lease runs out, and a keeper finds it.
                log.warning("could not put the job back: %s", trouble)

    def _revoked(self, request: Any = None, **_: Any) -> None:
        """Celery's own way to cancel: this worker would drop the job's messages for ever, and say nothing."""
        if request is None or request.name != TASK_NAME:
            return
        job_id = _job_id(request.kwargs, request.id)
        with logs.about(job_id), suppress(StyleQueueError):
            if self._ledger.cancel(job_id, keep=False).verdict == "cancelled":
                log.info("revoked: cancelled")


def _job_id(kwargs: Mapping[str, Any], task_id: str) -> str:
    payload = kwargs.get("job")
    return str(payload.get("id") or task_id) if isinstance(payload, Mapping) else task_id
