"""What the worker's parent process does beside Celery: it keeps house, and speaks for a child that cannot any more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import Celery, states
from celery.signals import task_failure, task_revoked, worker_init, worker_ready
from celery.worker import state

from stylequeue import logs
from stylequeue.broker.messages import Messages, call_as_text
from stylequeue.contract.base import DEFAULT_QUEUE, QUEUES, is_job_id
from stylequeue.contract.errors import (
    Code,
    ExitCode,
    JobCancelled,
    JobFailed,
    JobNotFound,
    Misconfigured,
    Permanent,
    StyleQueueError,
    Unavailable,
)
from stylequeue.contract.events import CancelledData, FailedData
from stylequeue.contract.job import TASK_NAME
from stylequeue.doctor import safety
from stylequeue.keeper import Keeper
from stylequeue.ledger import Ledger, mark_secrets
from stylequeue.settings import Settings
from stylequeue.store import Store
from stylequeue.telling import Teller

from . import control
from .inspection import inspect_messages
from .message import Fault
from .receivers import connect
from .registration import Registration, Told, tell_child
from .request import JobRequest
from .stopping import Stopping

log = logging.getLogger(__name__)

_CHECK_AGAIN_S = 5.0
"""Between two tries to look at what could not be looked at, since Redis or the store did not answer."""


class Parent:
    """The parent's part in the life of jobs, driven by Celery's signals."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self.stopping = Stopping(settings.grace_s, self._put_all_back)
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
        connect(task_revoked, self._killed)

    def _begin(self, sender: Any = None, **_: Any) -> None:
        self._name = sender.hostname
        try:
            self.stopping.prepare()
        except StyleQueueError as error:
            log.critical("this worker does not start: %s", error)
            raise SystemExit(error.exit_code) from None
        queues = tuple(queue for queue in QUEUES if queue in self._app.amqp.queues.consume_from)
        tell_child(Told(name=self._name, queues=queues, started_at=datetime.now(UTC)))
        inspect_messages(self._app, self._refuse)
        control.take_over(self._revoke)
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
            if not self._put_on_record(queue, fault):
                letter_id = self._ledger.bury(queue=queue, raw=raw, code=fault.code, reason=fault.reason)
                log.error("a message on %s is dead letter %s", queue, letter_id)
            log.error("refused: [%s] %s", fault.code, fault.reason)
            for task_id in (fault.task_id, *fault.followers):
                # What is on record has its own end to tell.
                if task_id and not self._is_a_jobs(task_id):
                    self._app.backend.mark_as_failure(task_id, JobFailed(fault.code, fault.reason, fault.hint))

    def _put_on_record(self, queue: str, fault: Fault) -> bool:
        """End what a task's message asked for as `failed`, under the task's id. False where that is no id of a job."""
        if fault.call is None or not is_job_id(fault.task_id):
            return False
        args, kwargs = fault.call
        self._ledger.refuse(
            fault.task_id,
            queue=queue if queue in QUEUES else DEFAULT_QUEUE,
            message=call_as_text(args, kwargs),
            data=FailedData(code=fault.code, message=fault.reason, hint=fault.hint),
        )
        return not self._is_a_jobs(fault.task_id)

    def _is_a_jobs(self, task_id: str) -> bool:
        """Whether a job is on record under this id."""
        try:
            return bool(self._ledger.record(task_id).job)
        except JobNotFound:
            return False

    def _keep_house(self, **_: Any) -> None:
        if not self._is_safe:
            self._refuse_what_would_lose_work()
        if not self._is_safe:
            threading.Thread(target=self._check_later, name="safety", daemon=True).start()
        keeper = Keeper(self._settings, self._app)
        threading.Thread(target=keeper.run, args=(self.stopping.began,), name="keeper", daemon=True).start()
        registration = Registration(Ledger(self._settings).registry, self._name, self._settings.heartbeat_s)
        threading.Thread(target=registration.run, args=(self.stopping.began,), name="registry", daemon=True).start()

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
            record = self._ledger.record(_job_id(request.kwargs, request.id))
        except StyleQueueError:
            return False
        return record.state == "running" and record.worker == self._name

    def _put_all_back(self) -> None:
        """The child will do nothing more. Its job goes back; so do messages of jobs that it had not begun."""
        for request in [request for request in state.reserved_requests if isinstance(request, JobRequest)]:
            begun = request.has_begun()
            if begun:
                self._put_back(request.id, request.kwargs, f"[{Code.PREEMPTED}] the worker had to stop", charged=False)
            try:
                request.message.reject(requeue=not begun)
            except Exception as error:  # as kombu and redis-py raise it
                log.warning("the broker hands its message out again after the visibility timeout: %s", error)

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
                # "lost" may mean that the child had ended the job itself, and was cut off before it said so.
                if verdict in ("cancelled", "failed", "lost") and (event := self._ledger.outcome(job_id)):
                    self._teller.tell_senders(record, event)
                Messages(self._app, self._ledger).send_due()
            except JobNotFound:
                return
            except Exception as trouble:  # ours, or as Celery raises it
                # Its lease runs out, and a keeper finds it.
                log.warning("could not put the job back: %s", trouble)

    def _revoke(self, task_id: str) -> str:
        """Celery's own way to cancel. Every worker hears of it, so it may have happened already."""
        job_id, answer = self._ledger.revoke(task_id)
        with logs.about(job_id):
            log.info("task %s is revoked: %s", task_id, answer.verdict)
            match answer.verdict:
                case "cancelled":
                    self._teller.tell_senders(self._ledger.record(job_id), answer.event)
                    return "cancelled"
                case "asked":
                    return "its worker stops painting it"
                case "noted":
                    # Its sender need not wait until a worker gets to it.
                    if self._app.backend.get_state(task_id) == states.PENDING:
                        data = CancelledData.by_request()
                        self._app.backend.mark_as_failure(task_id, JobCancelled(data.code, data.message, data.hint))
                    return "cancelled when it comes"
                case _:
                    return f"it is {self._ledger.record(job_id).state} already"

    def _killed(self, sender: Any = None, request: Any = None, **_: Any) -> None:
        """The child was killed because its task was revoked by SIGKILL."""
        if sender.name == TASK_NAME:
            self._put_back(request.id, request.kwargs, f"[{Code.CANCELLED}] its process was killed", charged=False)


def _job_id(kwargs: Mapping[str, Any], task_id: str) -> str:
    payload = kwargs.get("job")
    return str(payload.get("id") or task_id) if isinstance(payload, Mapping) else task_id
