"""What a backend uses: hand jobs in, follow them, get their pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .broker import make_app, outcome, send, send_due, tell
from .errors import Code, JobConflict, JobNotFound, JobOpen, QueueFull, StyleQueueError, Unavailable
from .events import AnyEvent, Succeeded, SucceededData, TerminalEvent
from .job import TASK_NAME, Job, work_keys
from .settings import Settings

if TYPE_CHECKING:
    from celery import Celery

    from .ledger import DeadLetter, Ledger, Record
    from .store import Store

_WAIT_S = 2.0
"""For one look at the stream of events; longer waits are made of such looks."""


class StyleQueue:
    """A deployment of stylequeue, seen from a backend. Safe to share between threads; connects when first used.

        with StyleQueue() as queue:
            job_id = queue.submit(Job(content=..., styles=[...], output=...))
            picture = queue.wait(job_id).output

    Every method raises Unavailable, in bounded time, where Redis does not answer.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings.load()

    @cached_property
    def ledger(self) -> Ledger:
        """The record of jobs and events."""
        from .ledger import Ledger

        return Ledger(self.settings)

    @cached_property
    def store(self) -> Store:
        """The object store."""
        from .store import Store

        return Store(self.settings)

    @cached_property
    def _app(self) -> Celery:
        return make_app(self.settings)

    def submit(self, job: Job) -> str:
        """Hand a job in and return its id.

        Submitting the same job again is harmless, and the thing to do after an Unavailable. Raises JobConflict where
        its id belongs to a job with other content, QueueFull where the queue has no room.
        """
        return self.submit_many([job])[0]

    def submit_many(self, jobs: Iterable[Job]) -> list[str]:
        """Hand jobs in, over one connection, and return their ids in order.

        Each stands alone: where one is refused, the others are submitted all the same before the error names it.
        """
        jobs = list(jobs)
        if not jobs:
            return []
        # Record first, message second: a message lost on the way is found by comparing the two.
        answers = self.ledger.accept(jobs)
        # A job already waiting is sent again: its first message may never have left. Workers drop what is double.
        self._send(
            [
                job
                for job, answer in zip(jobs, answers, strict=True)
                if answer.verdict == "new" or (answer.verdict == "known" and answer.state == "queued")
            ]
        )
        for job, answer in zip(jobs, answers, strict=True):
            if answer.verdict == "conflict":
                raise JobConflict(job.id)
            if answer.verdict == "full":
                raise QueueFull(job.queue_name, self.settings.max_open_jobs)
        return [job.id for job in jobs]

    def status(self, job_id: str) -> Record:
        """What is known of a job. Raises JobNotFound."""
        return self.ledger.record(job_id)

    def watch(self, job_id: str, *, timeout_s: float | None = None) -> Iterator[AnyEvent]:
        """The events of the job's newest run from its first, each as it happens; ends after the terminal one.

        Raises JobNotFound, and TimeoutError when the job has not ended after `timeout_s`.
        """
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        run, sequence = self.status(job_id).run, 0
        while True:
            left_s = _WAIT_S if ends_at is None else ends_at - time.monotonic()
            events = self.ledger.job_events(job_id, after=sequence, wait_s=max(0.001, min(_WAIT_S, left_s)))
            for event in events:
                sequence = int(event.sequence)
                if event.data.run < run:
                    continue
                yield event
                if isinstance(event, TerminalEvent):
                    return
            if not events:
                # The stream may be gone with the record.
                self.status(job_id)
                if left_s <= 0:
                    raise TimeoutError(f"job {job_id} has not ended after {timeout_s} s; it goes on all the same")

    def wait(self, job_id: str, *, timeout_s: float | None = None) -> SucceededData:
        """Wait for the job's end and return what it made.

        Raises JobFailed, JobCancelled or JobExpired with the code, message and hint of the terminal event; JobNotFound;
        TimeoutError when the job has not ended after `timeout_s`.
        """
        for event in self.watch(job_id, timeout_s=timeout_s):
            if isinstance(event, Succeeded):
                return event.data
            if isinstance(event, TerminalEvent):
                outcome(event)
        raise AssertionError("watch() ends with a terminal event")

    def cancel(self, job_id: str, *, keep: bool = False) -> str:
        """Stop a job and return its state now: `cancelled`, or `running` until its worker hears of it (one heartbeat).

        With `keep`, a picture that is being painted is stored as it is then, marked partial. A job that has ended stays
        as it is. Raises JobNotFound.
        """
        answer = self.ledger.cancel(job_id, keep=keep)
        record = self.status(job_id)
        if answer.verdict == "cancelled":
            with suppress(StyleQueueError):  # a keeper tells it then
                tell(self._app, self.ledger, self.store, record, answer.event, left_work=record.attempt > 0)
        return record.state

    def retry(self, job_id: str) -> None:
        """Run a job again that ended without a picture, as its next run. Raises JobNotFound, JobOpen."""
        self.ledger.replay(job_id)
        self._app.backend.forget(self.status(job_id).task_id)
        self._send_due()

    def delete(self, job_id: str) -> None:
        """Forget an ended job: its record and events, and its objects in the store. Raises JobNotFound, JobOpen."""
        record = self.status(job_id)
        if not record.ended:
            raise JobOpen(job_id, record.state, "deleted")
        # Objects first: a record without objects can be deleted again, objects without a record cannot be found.
        if isinstance(record.outcome, Succeeded):
            data = record.outcome.data
            self.store.delete(data.output.bucket, [data.output.key, f"{data.output.key}.json"])
            if data.report_key:
                self.store.delete(data.output.bucket, [data.report_key])
        self.store.delete_work(work_keys(job_id))
        self.ledger.delete(job_id)

    def dead_letters(self) -> list[DeadLetter]:
        """Jobs whose attempts are used up, and messages that were no jobs; the newest first."""
        return self.ledger.dead_letters()

    def replay(self, letter_id: str) -> None:
        """Give a dead letter another life: a job its next run, a message its place in the queue. Raises JobNotFound."""
        letter = self.ledger.dead_letter(letter_id)
        try:
            record = self.ledger.record(letter_id)
        except JobNotFound:
            # A message that was no task: exactly as it came.
            self.ledger.redis.lpush(letter.queue, letter.message)
            self.ledger.delete(letter_id)
            return
        if record.job:
            self.retry(letter_id)
            return
        message = json.loads(letter.message)
        self.ledger.delete(letter_id)
        self._app.backend.forget(letter_id)
        self._app.send_task(
            TASK_NAME, args=message["args"], kwargs=message["kwargs"], queue=letter.queue, task_id=letter_id
        )

    def drop(self, letter_id: str) -> None:
        """Forget a dead letter, with the record of the job it was. Raises JobNotFound."""
        self.ledger.dead_letter(letter_id)
        self.ledger.delete(letter_id)

    def events(self, *, after: str = "0", follow: bool = True) -> Iterator[tuple[str, AnyEvent]]:
        """Lifecycle events of all jobs (no progress), each with its position, to be given as `after` next time.

        Without `follow` it ends where the stream ends now. Raises EventsLost for a position that is kept no longer.
        """
        while True:
            events = self.ledger.deployment_events(after=after, wait_s=_WAIT_S if follow else 0)
            for after, event in events:
                yield after, event
            if not events and not follow:
                return

    def workers(self, *, wait_s: float) -> list[str]:
        """Names of the workers that answer within `wait_s`."""
        return sorted(name for answer in self._app.control.ping(timeout=wait_s) or [] for name in answer)

    def close(self) -> None:
        """Give all connections back."""
        for name in ("ledger", "store", "_app"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _send(self, jobs: list[Job]) -> None:
        if jobs:
            with self._delivering(), self._app.connection_for_write() as connection:
                for job in jobs:
                    send(self._app, job, connection=connection)

    def _send_due(self) -> None:
        with self._delivering():
            send_due(self._app, self.ledger)

    @contextmanager
    def _delivering(self) -> Iterator[None]:
        from kombu.exceptions import OperationalError

        try:
            yield
        except OperationalError as error:
            raise Unavailable(
                Code.BROKER_UNAVAILABLE,
                f"the job is recorded, but Redis did not take its message: {type(error).__name__}",
                "the keeper will send it; submitting the same job again does no harm",
            ) from None
