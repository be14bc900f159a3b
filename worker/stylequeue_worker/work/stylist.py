"""The way of a job, from the message to the event: `Stylist.stylize`, top to bottom."""

from __future__ import annotations

import json
import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, ParamSpec

from stylequeue import attempts, tracing
from stylequeue.broker.messages import Messages, call_as_text
from stylequeue.contract.base import canonical_json
from stylequeue.contract.errors import (
    Cancelled,
    CannotServe,
    Code,
    DeadlinePassed,
    InvalidJob,
    JobConflict,
    JobFailed,
    LeaseLost,
    Permanent,
    Preempted,
    StyleQueueError,
    Unavailable,
)
from stylequeue.contract.events import CancelledData, ExpiredData, FailedData, SucceededData
from stylequeue.contract.job import Job, parse_job
from stylequeue.contract.recipe import Needs, networks_of
from stylequeue.ledger import ANY_TIME, ClaimAnswer, Ledger, Record, TerminalData, Timing
from stylequeue.ledger.histograms import Observation
from stylequeue.logs import about
from stylequeue.settings import Settings
from stylequeue.store import Store, heeding
from stylequeue.telling import Teller, result_of

from ..pictures.decoder import Decoder
from .activity import Activity
from .lease import Holder, stop_requested
from .maker import Maker, Waiting
from .painting import PaintingEngine

P = ParamSpec("P")

log = logging.getLogger(__name__)

_PAUSE_S = 0.5
"""Between two tries while Redis does not answer."""


@dataclass(frozen=True)
class Delivery:
    """How a message came."""

    task_id: str
    worker: str
    queue: str
    recorded: bool = False
    """Whether the job had a record when the message was sent."""
    timing: Timing = ANY_TIME
    traceparent: str | None = None
    """The trace context that it came with."""


class NotOurs(Exception):
    """There is nothing that this worker should say of the message's outcome: acknowledge it in silence."""


class NotNow(Exception):
    """The job could not be claimed, and its message may be all there is of it: it must go back to the list."""


class Stylist:
    """Takes jobs from message to event. One per worker process."""

    def __init__(
        self,
        settings: Settings,
        engine: PaintingEngine,
        *,
        decoder: Decoder,
        ledger: Ledger,
        store: Store,
        messages: Messages,
        teller: Teller,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.messages = messages
        self.teller = teller
        self.maker = Maker(settings, ledger, store, engine, decoder)
        self.activity = Activity()
        """For whoever watches this worker."""
        self._lacked: set[Needs] = set()

    def stylize(self, args: Sequence[object], kwargs: Mapping[str, object], delivery: Delivery) -> dict[str, Any]:
        """Do one job and return its outcome: the data of its `succeeded` event.

        Raises JobFailed, JobCancelled or JobExpired, which is what the sender's `AsyncResult.get()` will raise; or
        NotOurs where the job goes on elsewhere or later.
        """
        try:
            job = parse_job(None if args else kwargs.get("job"), default_id=delivery.task_id)
        except InvalidJob as error:
            with about(delivery.task_id):
                raise self._refuse(error, args, kwargs, delivery) from None

        with about(job.id):
            try:
                return self._stylize(job, delivery)
            except Unavailable as error:
                # Of the ledger's moves: nobody can say what became of the job, so nothing is said.
                log.warning("left to the keepers: %s", error)
                raise NotOurs from None

    def _stylize(self, job: Job, delivery: Delivery) -> dict[str, Any]:
        claim = self._claim(job, delivery)
        if claim.is_new and claim.is_heard:
            # What was told of this task before it was a job's.
            self._to_sender(self.teller.forget, delivery.task_id)
        match claim.verdict:
            case "conflict":
                raise self._conflict(job, delivery, is_heard=claim.is_heard)
            case "gone":
                log.info("the job was deleted, message dropped")
                error = JobFailed(Code.JOB_NOT_FOUND, "the job of this id was deleted", "send it under a new id")
                if delivery.recorded or not claim.is_heard:
                    raise NotOurs
                self._to_sender(self.teller.refuse, delivery.task_id, error)
                raise error
            case "held":
                log.info("another attempt has the job, message dropped")
                raise NotOurs
            case "early":
                log.info("the job's next attempt is not due yet, message dropped")
                raise NotOurs
            case "closed":
                log.info("this worker is drained, or the queue paused: message dropped")
                self._send_due()
                # Until it listens to the list no more, its own messages may come back to it.
                time.sleep(_PAUSE_S)
                raise NotOurs
            case "lacking":
                log.debug("waits for a worker with its network, message dropped")
                raise NotOurs
            case "ended":
                log.info("the job is %s already, message dropped", claim.record.state)
                if not claim.is_heard:
                    raise NotOurs
                self._to_sender(self.teller.answer, delivery.task_id, claim.record.outcome)
                return result_of(claim.record.outcome)
            case "yours":
                if claim.is_heard:
                    self.teller.begun(delivery.task_id, first=claim.record.attempt == 1)
                with attempts.made(claim.record, waited_s=claim.waited_s, unless=NotOurs):
                    return self._attempt(job, claim.record)

    def _conflict(self, job: Job, delivery: Delivery, *, is_heard: bool) -> Exception:
        """The message is of another job than its id's: it is a dead letter, and its own sender hears of it."""
        conflict = JobConflict(job.id)
        log.error("refused: %s", conflict)
        error = JobFailed(conflict.code, conflict.message, conflict.hint)
        self._bury(delivery, call_as_text([], {"job": job.model_dump(mode="json", exclude_none=True)}), error)
        if not is_heard:
            return NotOurs()
        self._to_sender(self.teller.refuse, delivery.task_id, error)
        return error

    def _bury(self, delivery: Delivery, message: str, error: JobFailed) -> None:
        try:
            self.ledger.bury(queue=delivery.queue, raw=message, code=error.code, reason=error.message)
        except Unavailable as unreachable:
            raise self._not_now(unreachable) from None

    def _not_now(self, error: Unavailable) -> NotNow:
        log.warning("not put on record, the message goes back: %s", error)
        time.sleep(_PAUSE_S)
        return NotNow()

    def _to_sender(self, tell: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """What a sender hears whose message ends here: its message goes back where it cannot be told."""
        try:
            tell(*args, **kwargs)
        except Unavailable as unreachable:
            raise self._not_now(unreachable) from None

    def _lacks(self, job: Job) -> Needs:
        """The networks any of which could paint the job, where this worker has none of them."""
        needs = networks_of(job.recipe)
        if not self.maker.engine.networks().keys().isdisjoint(needs):
            return ()
        if needs not in self._lacked:
            # Once for all such jobs, however many: each of them says in its status what it waits for.
            self._lacked.add(needs)
            log.warning("jobs for the network %s wait for another worker: this one has it not", " or ".join(needs))
        return needs

    def _claim(self, job: Job, delivery: Delivery) -> ClaimAnswer:
        """Take the job; one that came without a trace context begins its trace here."""
        if delivery.traceparent:
            return self._claimed(job, delivery, delivery.traceparent)
        with tracing.span("receive", kind="CONSUMER", job_id=job.id, queue=delivery.queue):
            return self._claimed(job, delivery, tracing.traceparent())

    def _claimed(self, job: Job, delivery: Delivery, traceparent: str | None) -> ClaimAnswer:
        """However long Redis takes to answer: meanwhile there is nothing to do, and the message may be all there is."""
        token = uuid.uuid4().hex
        while True:
            try:
                return self.ledger.claim(
                    job,
                    task_id=delivery.task_id,
                    worker=delivery.worker,
                    queue=delivery.queue,
                    recorded=delivery.recorded,
                    lacks=self._lacks(job),
                    timing=delivery.timing,
                    token=token,
                    traceparent=traceparent,
                )
            except Unavailable as error:
                log.warning("not claimed yet: %s", error)
            if stop_requested():
                raise NotNow
            time.sleep(_PAUSE_S)

    def _refuse(
        self, error: InvalidJob, args: Sequence[object], kwargs: Mapping[str, object], delivery: Delivery
    ) -> Exception:
        log.warning("refused: %s", error)
        payload = kwargs.get("job")
        job = named = ""
        # What is not this and nothing else is no newer producer's job.
        if not args and list(kwargs) == ["job"] and isinstance(payload, Mapping):
            job, named = canonical_json(payload), str(payload.get("id") or "")
        try:
            answer = self.ledger.refuse(
                delivery.task_id,
                queue=delivery.queue,
                message=call_as_text(args, kwargs),
                data=FailedData(code=error.code, message=error.message, hint=error.hint),
                job=job,
                named=named,
            )
            told = JobFailed(error.code, error.message, error.hint)
            match answer.verdict:
                case "foreign":
                    log.error("its task is a job's, which it says nothing of")
                    return NotOurs()
                case "ended":
                    self.teller.tell_senders(self.ledger.record(named or delivery.task_id), answer.event)
                case _:
                    self.teller.refuse(delivery.task_id, told)
        except Unavailable as unreachable:
            return self._not_now(unreachable)
        return told

    def _attempt(self, job: Job, record: Record) -> dict[str, Any]:
        log.info("run %d, attempt %d: %s", record.run, record.attempt, job.recipe.method)
        data: TerminalData
        with Holder(self.ledger, self.settings, record, self.activity) as holder:
            try:
                data = self.maker.make(job, holder)
            except LeaseLost as error:
                log.warning("stopped: %s", error)
                raise NotOurs from None
            except Preempted as error:
                return self._put_back(record, str(error), charged=False)
            except Cancelled:
                data = CancelledData.by_request()
            except DeadlinePassed as error:
                data = ExpiredData(code=error.code, message=error.message, hint=error.hint)
            except Permanent as error:
                if error.code == Code.NETWORK_UNAVAILABLE:
                    # The fault of this worker, which has not what it thought it had: another may.
                    log.error("put back for a worker with its network: %s", error)
                    return self._put_back(record, str(error), charged=False, delay_s=self.settings.retry_delay_s)
                data = FailedData(code=error.code, message=error.message, hint=error.hint)
            except CannotServe as error:
                log.critical("this worker cannot serve the job, which waits for one that can: %s", error)
                return self._leave_to_others(record, str(error))
            except StyleQueueError as error:
                log.warning("came to harm: %s", error)
                return self._put_back(record, str(error), charged=True)
            except Waiting:
                log.info("another job paints this picture, waiting for it")
                raise NotOurs from None
            except MemoryError:
                log.exception("out of memory")
                code, hint = Code.OUT_OF_MEMORY, "ask for a smaller size, or give the worker more memory"
                message = "the painting took more memory than the worker has"
                data = FailedData(code=code, message=message, hint=hint)
            except Exception as error:
                log.exception("came to harm")
                return self._put_back(record, f"[{Code.INTERNAL_ERROR}] {type(error).__name__}: {error}", charged=True)
            return self._commit(job, holder, data)

    def _leave_to_others(self, record: Record, error: str) -> NoReturn:
        """The job waits uncharged, longer each time, until its deadline; and this worker rests before the next one.

        Else it would take all there are, and the workers that could do them had none.
        """
        try:
            self._put_back(record, error, charged=False, delay_s=retry_delay_s(self.settings, record.attempt))
        finally:
            rested_at = time.monotonic() + self.settings.retry_delay_s
            while time.monotonic() < rested_at and not stop_requested():
                time.sleep(min(_PAUSE_S, self.settings.retry_delay_s))

    def _put_back(self, record: Record, error: str, *, charged: bool, delay_s: float = 0) -> NoReturn:
        """The job goes back to the queue, or ends: cancelled, or as a dead letter."""
        if charged:
            delay_s = retry_delay_s(self.settings, record.attempt - record.spared)
        verdict = self.ledger.put_back(record, error=error, delay_s=delay_s, charged=charged)
        log.warning("put back: %s", verdict)
        attempts.came_to_harm(error)
        self._send_due()
        if verdict in ("cancelled", "failed"):
            event = self.ledger.outcome(record.id)
            self._tell(record, event, left_work=True)
            result_of(event)
        raise NotOurs

    def _commit(self, job: Job, holder: Holder, data: TerminalData) -> dict[str, Any]:
        """One atomic move ends the job; what depends on its end follows."""
        record = holder.record
        painted = ""
        if isinstance(data, SucceededData) and not data.partial:
            painted = json.dumps({"job_id": job.id, "data": data.model_dump(mode="json")})
        stored_at = time.monotonic()
        try:
            event = self._finish(record, data, painted)
        except LeaseLost as error:
            log.warning("stopped at the end: %s", error)
            raise NotOurs from None
        if isinstance(data, SucceededData):
            log.info("succeeded: %s", data.output.key)
            tracing.note(reused=data.reused, partial=data.partial)
        else:
            log.warning("ended: [%s] %s", data.code, data.message)
        self.activity.note_end(data.report.timings_s if isinstance(data, SucceededData) else {})
        just_stored = time.monotonic() - stored_at < _PAUSE_S
        self._tell(record, event, left_work=holder.left_work or record.attempt > 1, just_stored=just_stored)
        # Those that waited for this picture, if any.
        self._send_due()
        return result_of(event)

    def _finish(self, record: Record, data: TerminalData, painted: str) -> str:
        """End the job, however long Redis takes to hear of it: a picture that lies in the store is worth the wait."""
        while True:
            try:
                return self.ledger.finish(
                    record.id, fence=record.fence, data=data, painted=painted, observed=self._observed(data)
                )
            except Unavailable as error:
                if stop_requested():
                    raise
                log.warning("the job is not ended yet: %s", error)
            time.sleep(_PAUSE_S)

    def _observed(self, data: TerminalData) -> list[Observation]:
        if not isinstance(data, SucceededData):
            return []
        report, rate = data.report, self.activity.mean_steps_per_s
        seen = [Observation("stage_s", stage, took_s) for stage, took_s in report.timings_s.items()]
        return seen if rate is None else [*seen, Observation("steps_per_s", report.network, rate)]

    def _send_due(self) -> None:
        try:
            self.messages.send_due()
        except Exception as error:  # as Celery raises it
            log.warning("a keeper will send what is due: %s", error)

    def _tell(self, record: Record, event: str, *, left_work: bool, just_stored: bool = False) -> None:
        try:
            with heeding(_until_stopped):
                self.teller.tell(record, event, left_work=left_work, just_stored=just_stored)
        except Exception as error:  # Celery's result backend raises whatever its Redis client does
            log.warning("a keeper will tell of the job's end: %s", error)


def _until_stopped() -> None:
    if stop_requested():
        raise Preempted


def retry_delay_s(settings: Settings, attempt: int) -> float:
    """How long to wait after so many charged attempts: doubling, with jitter, lest all come back at once."""
    doublings = min(max(attempt, 1) - 1, 30)
    longest_s: float = min(settings.retry_delay_s * 2.0**doublings, settings.retry_delay_max_s)
    return longest_s * random.uniform(0.5, 1)
