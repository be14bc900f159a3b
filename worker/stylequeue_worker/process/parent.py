"""What the worker's parent process does beside Celery: it keeps house, and speaks for a child that cannot any more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import Celery
from celery.signals import task_failure, worker_init, worker_ready
from celery.worker import state

from stylequeue import attempts, logs
from stylequeue.broker.messages import Messages, call_as_text
from stylequeue.contract.base import QUEUES
from stylequeue.contract.errors import (
    Code,
    ExitCode,
    InvalidJob,
    JobFailed,
    JobNotFound,
    Misconfigured,
    Permanent,
    StyleQueueError,
    Unavailable,
)
from stylequeue.contract.events import FailedData
from stylequeue.contract.job import parse_job
from stylequeue.doctor import safety
from stylequeue.keeper import Keeper
from stylequeue.ledger import Ledger, Record, mark_secrets
from stylequeue.settings import Settings
from stylequeue.store import Store
from stylequeue.telling import Teller
from stylequeue.tracing import exporting

from .inspection import inspect_messages
from .listening import Listening
from .message import Fault
from .receivers import connect
from .registration import Registration, Told, listen_to_child, tell_child
from .request import JobRequest
from .stopping import Stopping
from .vitals import Vitals

log = logging.getLogger(__name__)

_CHECK_AGAIN_S = 5.0
"""Between two tries to look at what could not be looked at, since Redis or the store did not answer."""


class Parent:
    """The parent's part in the life of jobs, driven by Celery's signals."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self.stopping = Stopping(settings.grace_s, self._put_all_back)
        self.vitals = Vitals(settings)
        self._listening = Listening(self.vitals)
        self._name = ""
        self._is_safe = False

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._settings)

    @cached_property
    def _teller(self) -> Teller:
        return Teller(self._app, self._ledger, Store(self._settings, partial(mark_secrets, self._ledger)))

    def connect(self) -> None:
        """Listen to Celery. The child has its own failures told as well; none of them is a child cut off."""
        connect(worker_init, self._begin, vital=True)
        connect(worker_ready, self._keep_house, vital=True)
        connect(task_failure, self._cut_off)

    def _begin(self, sender: Any = None, **_: Any) -> None:
        self._name = sender.hostname
        exporting.set_up("worker", self._settings)
        try:
            self.stopping.prepare()
            self.vitals.begin()
        except StyleQueueError as error:
            log.critical("this worker does not start: %s", error)
            raise SystemExit(error.exit_code) from None
        queues = tuple(queue for queue in QUEUES if queue in self._app.amqp.queues.consume_from)
        tell_child(Told(name=self._name, queues=queues, started_at=datetime.now(UTC)))
        self._start("child", listen_to_child, self.vitals, self._settings.heartbeat_s)
        inspect_messages(self._app, self._refuse, self._listening.heard)
        self._listening.attach(self._app)
        self._refuse_what_would_lose_work()

    def _refuse_what_would_lose_work(self) -> None:
        """End the process where Redis or the store would lose or double jobs, or not let it in; where they answer."""
        try:
            for finding in safety(self._ledger, Store(self._settings)):
                if finding.state == "warning":
                    log.warning("%s: %s", finding.found, finding.hint)
                if finding.state == "bad":
                    log.critical("this worker does not start: %s: %s", finding.found, finding.hint)
                    raise SystemExit(ExitCode.BAD_INPUT)
        except Unavailable as error:
            # Celery goes on trying to connect, and the first job waits for that.
            log.warning("could not check that this deployment is safe: %s", error)
        except (Permanent, Misconfigured) as error:
            log.critical("this worker does not start: %s", error)
            raise SystemExit(ExitCode.BAD_INPUT) from None
        else:
            self._is_safe = True

    def _refuse(self, *, queue: str, raw: str, fault: Fault) -> None:
        """Put a message that no child will see where an operator can, and let its sender hear of it."""
        with logs.about(fault.task_id or "-"):
            answer = self._ledger.refuse(
                fault.task_id,
                queue=queue,
                message=raw if fault.call is None else call_as_text(*fault.call),
                data=FailedData(code=fault.code, message=fault.reason, hint=fault.hint),
                on_record=fault.call is not None,
            )
            log.error("a message on %s is a dead letter: [%s] %s", queue, fault.code, fault.reason)
            error = JobFailed(fault.code, fault.reason, fault.hint)
            if fault.task_id and answer.verdict != "foreign":
                self._teller.refuse(fault.task_id, error)
            for task_id in fault.followers:
                if not self._ledger.has_task(task_id):
                    self._teller.refuse(task_id, error)

    def _keep_house(self, **_: Any) -> None:
        if not self._is_safe:
            self._refuse_what_would_lose_work()
        if not self._is_safe:
            threading.Thread(target=self._check_later, name="safety", daemon=True).start()
        keeper = Keeper(self._settings, self._app)
        registration = Registration(
            Ledger(self._settings).registry,
            self._name,
            self._settings.heartbeat_s,
            vitals=self.vitals,
            listening=self._listening,
        )
        beside = {"keeper": keeper.run, "registry": registration.run, "store": self.vitals.watch_store}
        for name, run in beside.items():
            self._start(name, run)

    def _start(self, name: str, run: Callable[..., None], *given: object) -> None:
        """Have it run beside Celery until this worker is to stop."""
        threading.Thread(target=run, args=(*given, self.stopping.began), name=name, daemon=True).start()

    def _check_later(self) -> None:
        """Again and again until it could be done: what comes late may be as unsafe as what is there at the start."""
        while not self._is_safe and not self.stopping.began.wait(_CHECK_AGAIN_S):
            try:
                self._refuse_what_would_lose_work()
            except SystemExit:
                # Of a thread it would end nothing.
                self.stopping.give_up(ExitCode.BAD_INPUT)
                return

    def holds(self, request: JobRequest) -> bool:
        """Whether a child of this worker has the job: then its message can go."""
        try:
            record = self._record(request.id, request.args, request.kwargs)
        except StyleQueueError:
            return False
        return record.state == "running" and record.worker == self._name

    def _record(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Record:
        """Of the job that a message holds. Raises InvalidJob, JobNotFound, also where another job has its id."""
        job = parse_job(None if args else kwargs.get("job"), default_id=task_id)
        record = self._ledger.record(job.id)
        if record.job != job.canonical_json():
            raise JobNotFound(job.id)
        return record

    def _put_all_back(self) -> None:
        """The child will do nothing more. Its job goes back; so do messages of jobs that it had not begun."""
        for request in [request for request in state.reserved_requests if isinstance(request, JobRequest)]:
            begun = request.has_begun()
            if begun:
                error = f"[{Code.PREEMPTED}] the worker had to stop"
                self._put_back(request.id, request.args, request.kwargs, error, charged=False)
            try:
                request.message.reject(requeue=not begun)
            except Exception as error:  # as kombu and redis-py raise it
                log.warning("the broker hands its message out again after the visibility timeout: %s", error)

    def _cut_off(
        self,
        task_id: str = "",
        exception: object = None,
        args: Sequence[Any] = (),
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
        self._put_back(task_id, args, kwargs or {}, error, charged=True)

    def _put_back(
        self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], error: str, *, charged: bool
    ) -> None:
        try:
            record = self._record(task_id, args, kwargs)
        except (InvalidJob, JobNotFound):
            return
        except StyleQueueError as trouble:
            log.warning("could not look for the job of task %s: %s", task_id, trouble)
            return
        with attempts.about(record):
            try:
                if record.worker != self._name:
                    return
                verdict = self._ledger.put_back(record, error=error, charged=charged)
                if verdict != "lost":
                    attempts.lost(record, error)
                log.error("%s: %s", error, verdict)
                # The sender hears of an end at once; the rest of the telling may take a while and is the keeper's.
                # "lost" may mean that the child had ended the job itself, and was cut off before it said so.
                if verdict in ("cancelled", "failed", "lost") and (event := self._ledger.outcome(record.id)):
                    self._teller.tell_senders(record, event)
                Messages(self._app, self._ledger).send_due()
            except Exception as trouble:  # ours, or as Celery raises it
                # Its lease runs out, and a keeper finds it.
                log.warning("could not put the job back: %s", trouble)
