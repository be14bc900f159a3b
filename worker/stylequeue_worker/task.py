"""The way of a job, from the message to the event: `Stylist.stylize`, top to bottom."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from stylequeue.broker import outcome, send_due
from stylequeue.errors import (
    Cancelled,
    Code,
    DeadlinePassed,
    InvalidJob,
    JobConflict,
    JobFailed,
    LeaseLost,
    Permanent,
    Preempted,
    StyleQueueError,
)
from stylequeue.events import (
    EVENT,
    CancelledData,
    ExpiredData,
    FailedData,
    StoredPicture,
    Succeeded,
    SucceededData,
)
from stylequeue.job import Job, canonical_json, parse_job, work_keys
from stylequeue.ledger import Ledger, Record, TerminalData
from stylequeue.settings import Settings
from stylequeue.store import Store

from .holder import Holder
from .logs import about
from .making import Maker, Painter, Waiting

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """How a message came."""

    task_id: str
    worker: str
    queue: str


class NotOurs(Exception):
    """There is nothing that this worker should say of the message's outcome: acknowledge it in silence."""


class Stylist:
    """Takes jobs from message to event. One per worker process."""

    def __init__(self, settings: Settings, painter: Painter, app: Celery) -> None:
        self.settings = settings
        self.ledger = Ledger(settings)
        self.store = Store(settings)
        self.maker = Maker(settings, self.ledger, self.store, painter)
        self.app = app

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
            claim = self.ledger.claim(job, task_id=delivery.task_id, worker=delivery.worker)
            match claim.verdict:
                case "conflict":
                    error = JobConflict(job.id)
                    raise JobFailed(error.code, error.message, error.hint)
                case "held":
                    log.info("another attempt has the job, message dropped")
                    raise NotOurs
                case "early":
                    log.info("the job's next attempt is not due yet, message dropped")
                    raise NotOurs
                case "ended":
                    log.info("the job is %s already, message dropped", claim.record.state)
                    self._make_sure_of_the_event(job, claim.record)
                    return outcome(claim.record.outcome)
                case "yours":
                    return self._attempt(job, claim.record)

    def _refuse(
        self, error: InvalidJob, args: Sequence[object], kwargs: Mapping[str, object], delivery: Delivery
    ) -> JobFailed:
        log.warning("refused: %s", error)
        data = FailedData(code=error.code, message=error.message, hint=error.hint)
        message = json.dumps({"args": args, "kwargs": kwargs})
        job = ""
        if error.code == Code.SCHEMA_TOO_NEW:
            with suppress(ValueError):  # NaN and infinity are no JSON, but Python reads them
                job = canonical_json(kwargs["job"])
        self.ledger.refuse(delivery.task_id, queue=delivery.queue, message=message, data=data, job=job)
        return JobFailed(error.code, error.message, error.hint)

    def _attempt(self, job: Job, record: Record) -> dict[str, Any]:
        log.info("run %d, attempt %d: %s", record.run, record.attempt, job.recipe.method)
        data: TerminalData
        with Holder(self.ledger, self.settings, record) as holder:
            try:
                data = self.maker.make(job, holder)
            except LeaseLost as error:
                log.warning("stopped: %s", error)
                raise NotOurs from None
            except Preempted as error:
                return self._put_back(record, str(error), charged=False)
            except Cancelled:
                data = CancelledData.of(job.labels)
            except DeadlinePassed as error:
                data = ExpiredData(labels=job.labels, code=error.code, message=error.message, hint=error.hint)
            except Permanent as error:
                data = FailedData(labels=job.labels, code=error.code, message=error.message, hint=error.hint)
            except StyleQueueError as error:
                log.warning("came to harm: %s", error)
                return self._put_back(record, str(error), charged=True)
            except Waiting:
                log.info("another job paints this picture, waiting for it")
                raise NotOurs from None
            except Exception as error:
                log.exception("came to harm")
                return self._put_back(record, f"[{Code.INTERNAL_ERROR}] {type(error).__name__}: {error}", charged=True)
            return self._commit(job, holder, data)

    def _put_back(self, record: Record, error: str, *, charged: bool) -> NoReturn:
        """The job goes back to the queue, or ends: cancelled, or as a dead letter."""
        delay_s = retry_delay_s(self.settings, record.attempt) if charged else 0
        verdict = self.ledger.put_back(record, error=error, delay_s=delay_s, charged=charged)
        log.warning("put back: %s", verdict)
        send_due(self.app, self.ledger)
        if verdict in ("cancelled", "failed"):
            outcome(self.ledger.record(record.id).outcome)
        raise NotOurs

    def _commit(self, job: Job, holder: Holder, data: TerminalData) -> dict[str, Any]:
        """One atomic move ends the job; what depends on its end follows."""
        record = holder.record
        painted = ""
        if isinstance(data, SucceededData) and not data.partial:
            painted = json.dumps({"job_id": job.id, "data": data.model_dump(mode="json")})
        try:
            event = self.ledger.finish(job.id, fence=record.fence, data=data, painted=painted)
        except LeaseLost as error:
            log.warning("stopped at the end: %s", error)
            raise NotOurs from None
        if isinstance(data, SucceededData):
            self._store_event(data.output, event)
            log.info("succeeded: %s", data.output.key)
        else:
            log.warning("ended: [%s] %s", data.code, data.message)
        if holder.left_work or record.attempt > 1:
            self._clear_work(job)
        # Those that waited for this picture, if any.
        send_due(self.app, self.ledger)
        return outcome(EVENT.validate_json(event))

    def _store_event(self, output: StoredPicture, event: str) -> None:
        """The event beside the picture, byte for byte as in the ledger, for whoever finds the picture only."""
        self.store.write(
            output.bucket, f"{output.key}.json", event.encode(), content_type="application/json", overwrite=True
        )

    def _clear_work(self, job: Job) -> None:
        try:
            self.store.delete(self.settings.work_bucket, work_keys(job.id))
        except StyleQueueError as error:
            log.warning("the work bucket keeps checkpoint and preview: %s", error)

    def _make_sure_of_the_event(self, job: Job, record: Record) -> None:
        """A worker may have been killed between ending the job and storing its event."""
        if isinstance(record.outcome, Succeeded):
            output = record.outcome.data.output
            if not self.store.exists(output.bucket, f"{output.key}.json"):
                self._store_event(output, self.ledger.outcome(job.id))


def retry_delay_s(settings: Settings, attempt: int) -> float:
    """How long to wait after this attempt: doubling, with jitter, so that not all that failed come back together."""
    longest_s: float = min(settings.retry_delay_s * 2.0 ** (attempt - 1), settings.retry_delay_max_s)
    return longest_s * random.uniform(0.5, 1)
