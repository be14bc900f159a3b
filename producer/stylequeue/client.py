"""What a backend uses: hand jobs in, follow them, get their pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .access import Access
from .broker.messages import Message
from .contract.base import QUEUES, check_tenant
from .contract.errors import (
    InvalidJob,
    InvalidRequest,
    JobConflict,
    JobNotFound,
    JobOpen,
    JobsRefused,
    QueueFull,
    SchemaTooNew,
    StyleQueueError,
    Unavailable,
    WaitTimeout,
)
from .contract.events import AnyEvent, StoredPicture, Succeeded, TerminalEvent
from .contract.job import Job
from .contract.objects import ImageRef
from .contract.status import DeadLetter, JobResult, JobState, JobStatus, Page
from .settings import MAX_DEADLINE_S, Settings
from .telling import picture_of, result_of

if TYPE_CHECKING:
    from celery import Celery

    from .broker.messages import Messages
    from .ledger import Ledger, Record
    from .store import Store
    from .telling import Teller

MAX_LINK_S = 7 * 24 * 3600
"""As S3 has it."""
_SENT_AT_ONCE = 1000
"""Jobs recorded and sent in one go: workers begin with the first while the last are still to come."""
_WAIT_S = 2.0
"""For one look at the stream of events; longer waits are made of such looks."""


class StyleQueue:
    """A deployment of stylequeue, seen from a backend. Safe to share between threads; connects when first used.

        with StyleQueue() as queue:
            job_id = queue.submit(Job(content=..., styles=[...], output=...))
            queue.download(queue.wait(job_id).output, "picture.jpg")

    Every method raises Unavailable, in bounded time, where Redis does not answer; `upload`, `download` and `delete`
    also where the store does not, and Misconfigured where it does not let us in. The others do without the store.

    One that is bound to a `tenant` submits jobs as that tenant's and knows of no others: whatever it is asked of
    another's job raises JobNotFound, no list and no event tells of one, and no picture of one is reused. Pictures that
    are named by bucket and key are not looked at. One without a tenant submits jobs as nobody's and sees all.
    """

    def __init__(self, settings: Settings | None = None, *, tenant: str | None = None) -> None:
        self.settings = settings or Settings.load()
        self.tenant = None if tenant is None else check_tenant(tenant)
        self._access = Access(self.settings)
        self._shares_access = False

    def for_tenant(self, tenant: str) -> StyleQueue:
        """The deployment as `tenant` sees it, over the connections of this client, which closes them.

        A tenant's name has 1 to 64 letters, digits, dots, underscores and hyphens. Raises InvalidRequest.
        """
        # None, from somebody's table say, must not come to a client that sees all.
        bound = StyleQueue(self.settings, tenant=check_tenant(tenant))
        bound._access = self._access
        bound._shares_access = True
        return bound

    @property
    def _ledger(self) -> Ledger:
        return self._access.ledger

    @property
    def _store(self) -> Store:
        return self._access.store

    @property
    def _app(self) -> Celery:
        return self._access.app

    @property
    def _messages(self) -> Messages:
        return self._access.messages

    @property
    def _teller(self) -> Teller:
        return self._access.teller

    def submit(self, job: Job) -> str:
        """Hand a job in and return its id.

        Submitting the same job again is harmless, and the thing to do after an Unavailable. Raises JobConflict where
        its id belongs to another job, QueueFull where the queue has no room, InvalidJob where its deadline
        is more than 30 days ahead.
        """
        try:
            return self.submit_many([job])[0]
        except JobsRefused as refused:
            raise refused.exceptions[0] from None

    def submit_many(self, jobs: Iterable[Job]) -> list[str]:
        """Hand jobs in, over one connection, and return their ids in order.

        Each stands alone: where some are refused, the others are submitted all the same. Then JobsRefused is raised, an
        exception group of what `submit` would raise.
        """
        jobs = list(jobs)
        for job in jobs:
            if not isinstance(job, Job):
                raise InvalidJob(f"{type(job).__name__} is no Job", "make one: Job(content=..., ...), or Job(**fields)")
        refused = _too_late(jobs)
        fit = [job for job in jobs if job.id not in refused]
        for start in range(0, len(fit), _SENT_AT_ONCE):
            refused |= self._submit(fit[start : start + _SENT_AT_ONCE])
        if refused:
            raise JobsRefused(refused)
        return [job.id for job in jobs]

    def _submit(self, jobs: Sequence[Job]) -> dict[str, StyleQueueError]:
        """Hand in what fits; the errors of what was refused, by job id."""
        refused: dict[str, StyleQueueError] = {}
        unsent, forgotten = [], []
        # Record first, message second: a message lost on the way is found by comparing the two.
        for job, answer in zip(jobs, self._ledger.accept(jobs, tenant=self.tenant), strict=True):
            if answer.verdict == "conflict":
                refused[job.id] = JobConflict(job.id)
            elif answer.verdict == "full":
                refused[job.id] = QueueFull(job.queue_name, self.settings.max_open_jobs)
            elif answer.state == "queued":
                # One that waits already is sent again: its first message may never have left. Workers drop doubles.
                unsent.append(job)
            if answer.gave_way:
                forgotten.append(job.id)
        if unsent:
            with self._access.celery(recorded=True):
                for job_id in forgotten:
                    self._app.backend.forget(job_id)
                self._messages.send([Message.of(job) for job in unsent])
        return refused

    def upload(self, path: str | Path) -> ImageRef:
        """Put a local picture into the upload bucket, where a job may name it. The same picture is stored once.

        Raises FileUnusable where it cannot be read or its suffix can be in no key; Permanent with
        `image_too_many_bytes` where workers would refuse it.
        """
        return self._store.upload_file(Path(path))

    def status(self, job_id: str) -> JobStatus:
        """What is known of a job. Raises JobNotFound."""
        return self._ledger.registry.status(self._record(job_id))

    def jobs(
        self,
        *,
        state: JobState | None = None,
        label: Mapping[str, str] | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[JobStatus]:
        """Up to `limit` jobs (1 to 1000), the newest first: those in `state` that have all labels in `label`.

        The page's own `after`, given here, brings the next one; it is None where there is no other. What is asked for
        is looked for among all jobs on record: where few fit, that is some milliseconds for each thousand. Raises
        InvalidRequest.
        """
        return self._ledger.jobs(tenant=self.tenant, state=state, label=label or {}, after=after, limit=limit)

    def watch(self, job_id: str, *, timeout_s: float | None = None) -> Iterator[AnyEvent]:
        """The events of the job's newest run from its first, each as it happens; ends after the terminal one.

        Raises JobNotFound, InvalidRequest, and WaitTimeout when the job has not ended after `timeout_s`.
        """
        if timeout_s is not None and math.isnan(timeout_s):
            raise InvalidRequest("timeout_s is no number", "give seconds, or None to wait for as long as it takes")
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        run, sequence = self._record(job_id).run, 0
        while True:
            left_s = _WAIT_S if ends_at is None else ends_at - time.monotonic()
            events = self._ledger.job_events(job_id, after=sequence, wait_s=max(0.001, min(_WAIT_S, left_s)))
            for event in events:
                sequence = int(event.sequence)
                if event.data.run < run:
                    continue
                yield event
                if isinstance(event, TerminalEvent):
                    return
            if not events:
                # The stream may be gone with the record.
                record = self._record(job_id)
                if record.outcome and sequence >= record.sequence:
                    # An end that only newer versions know.
                    return
                if left_s <= 0:
                    raise WaitTimeout(job_id, timeout_s or 0)

    def wait(self, job_id: str, *, timeout_s: float | None = None) -> JobResult:
        """Wait for the job's end and return what it made.

        Raises JobFailed, JobCancelled or JobExpired with the code, message and hint of the terminal event; JobNotFound;
        SchemaTooNew where a newer worker made it in a way that cannot be read here; WaitTimeout when the job has not
        ended after `timeout_s`.
        """
        for event in self.watch(job_id, timeout_s=timeout_s):
            if isinstance(event, Succeeded):
                return JobResult(id=event.subject, **dict(event.data))
            if isinstance(event, TerminalEvent):
                result_of(event.model_dump_json())
        result_of(self._record(job_id).outcome)
        raise SchemaTooNew(job_id)

    def download(self, picture: StoredPicture | ImageRef | str, path: str | Path) -> None:
        """Write a picture to a local file, which appears complete or not at all: one that was made, any, or a job's by
        its id.

        Raises JobNotFound; JobOpen where the job has not ended; JobFailed, JobCancelled or JobExpired where it made no
        picture; Permanent with `object_not_found` where the store has it no longer, with `object_changed` where
        something else lies in its place; FileUnusable where it cannot be written.
        """
        if isinstance(picture, str):
            picture = self._picture(picture, "downloaded")
        version_id = picture.version_id if isinstance(picture, ImageRef) else None
        self._store.download(picture.bucket, picture.key, Path(path), version_id=version_id, etag=picture.etag)

    def link(self, picture: StoredPicture | ImageRef | str, *, valid_s: int = 3600) -> str:
        """An address under which anybody may fetch a picture for `valid_s` seconds (at most 7 days), without keys.

        It shows what lies under the picture's key when it is fetched. It is signed here: the store is not asked, and
        keys that end sooner, such as a role's, end it. Raises InvalidRequest, and for a job's id as `download` does.
        """
        if not (isinstance(valid_s, int) and 1 <= valid_s <= MAX_LINK_S):
            raise InvalidRequest(f"valid_s {valid_s} is out of range", f"S3 allows 1 to {MAX_LINK_S} seconds")
        if isinstance(picture, str):
            picture = self._picture(picture, "linked")
        version_id = picture.version_id if isinstance(picture, ImageRef) else None
        return self._store.link(picture.bucket, picture.key, version_id=version_id, valid_s=valid_s)

    def cancel(self, job_id: str, *, keep: bool = False) -> str:
        """Stop a job and return its state now: `cancelled`, or `running` until its worker hears of it (one heartbeat).

        With `keep`, a picture that is being painted is stored as it is then, marked partial; one that waits for its
        next attempt stays `queued` until a worker stores what the last one saved of it. Where nothing is painted or
        saved, the job is cancelled. One that has ended stays as it is. Raises JobNotFound.
        """
        self._check_owner(job_id)
        answer = self._ledger.cancel(job_id, keep=keep)
        record = self._ledger.record(job_id)
        if answer.verdict == "cancelled":
            with suppress(Unavailable), self._access.celery():
                self._teller.tell_senders(record, answer.event)
                # What attempts left in the store a keeper takes away.
                if not record.attempt:
                    self._ledger.told(job_id)
        return record.state

    def retry(self, job_id: str) -> None:
        """Run a job again that ended without a picture, as its next run.

        May be called again after an Unavailable. Raises JobNotFound, JobOpen, JobSucceeded.
        """
        record = self._record(job_id)
        if record.job and record.ended and record.state != "succeeded":
            # The old result first: later, it could be the new one.
            with self._access.celery():
                self._teller.forget_results(record)
        self._ledger.replay(job_id)
        if not record.ended:
            # It waits for its next run already, as a retry leaves it that broke off: its message may never have left.
            self._ledger.make_due([job_id])
        with self._access.celery(recorded=True):
            self._messages.send_due()

    def delete(self, job_id: str) -> None:
        """Forget an ended job: its record and events, and its objects in the store.

        What lies under the output key stays, with what lies beside it, where it is no longer this job's picture.
        Raises JobNotFound, JobOpen.
        """
        record = self._ended(job_id, "deleted")
        # Objects first: a record without objects can be deleted again, objects without a record cannot be found.
        self._teller.forget_pictures(record)
        self._ledger.delete(job_id)

    def dead_letters(self, *, after: str | None = None, limit: int = 100) -> Page[DeadLetter]:
        """Jobs whose attempts are used up, and messages that were no jobs: up to `limit` (1000), the newest first.

        The page's `after`, given again, leads to the next one. Only so many are kept, and of so many bytes
        (`STYLEQUEUE_MAX_DEAD_LETTERS`, `..._BYTES`): the oldest go first. Raises InvalidRequest.
        """
        return self._ledger.dead_letters(tenant=self.tenant, after=after, limit=limit)

    def dead_letter(self, letter_id: str) -> DeadLetter:
        """One of them, with its message. Raises JobNotFound."""
        self._check_owner(letter_id)
        return self._ledger.dead_letter(letter_id)

    def replay(self, letter_id: str) -> None:
        """Give a dead letter another life: a job its next run, a message its place in the queue. Raises JobNotFound.

        May be called again after an Unavailable: a message that comes twice does no harm.
        """
        letter = self.dead_letter(letter_id)
        # A message can come from a list that only its sender knows.
        queue = letter.queue if letter.queue in QUEUES else "paint"
        try:
            record = self._ledger.record(letter_id)
        except JobNotFound:
            record = None
        if record and record.job:
            self.retry(letter_id)
            return
        with self._access.celery():
            if record:
                self._app.backend.forget(record.task_id)
            self._messages.replay(letter, queue=queue, task_id=record.task_id if record else None)
        # Sent first, forgotten second: nothing is lost in between. One that is on record stays a letter until a worker
        # has the message: it then is a job, or a letter again.
        if not record:
            self._ledger.delete(letter_id)

    def drop(self, letter_id: str) -> None:
        """Forget a dead letter, with the record of the job it was. Raises JobNotFound."""
        self.dead_letter(letter_id)
        self._ledger.delete(letter_id)

    def events(self, *, after: str = "0", follow: bool = True) -> Iterator[tuple[str, AnyEvent]]:
        """Lifecycle events of all jobs (no progress), each with its position, to be given as `after` next time.

        Without `follow` it ends where the stream ends now. Raises EventsLost for a position that is kept no longer,
        InvalidRequest for what is none.
        """
        while True:
            events = self._ledger.deployment_events(after=after, wait_s=_WAIT_S if follow else 0)
            for after, event in events:
                if self.tenant in (None, event.data.tenant):
                    yield after, event
            if not events and not follow:
                return

    def newest_position(self) -> str:
        """The newest event's position: `events` behind it yields what happens from now on."""
        return self._ledger.newest_position()

    def workers(self) -> list[str]:
        """Names of the live workers: those that were heard of in the last three heartbeats."""
        return [worker.name for worker in self._ledger.registry.workers()]

    def _record(self, job_id: str) -> Record:
        """The record of a job that this client may know of. Raises JobNotFound."""
        record = self._ledger.record(job_id)
        if self.tenant not in (None, record.tenant):
            raise JobNotFound(job_id)
        return record

    def _check_owner(self, job_id: str) -> None:
        # An id stays its tenant's, also once its job is deleted: what follows can meet no other's.
        if self.tenant is not None:
            self._record(job_id)

    def _picture(self, job_id: str, wanted: str) -> StoredPicture:
        return picture_of(job_id, self._ended(job_id, wanted).outcome)

    def _ended(self, job_id: str, wanted: str) -> Record:
        record = self._record(job_id)
        if not record.outcome:
            raise JobOpen(job_id, record.state, wanted)
        return record

    def close(self) -> None:
        """Give all connections back."""
        if not self._shares_access:
            self._access.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _too_late(jobs: Iterable[Job]) -> dict[str, StyleQueueError]:
    """Errors, by id, of those jobs whose deadline is too far ahead. Jobs themselves have no clock to check it by."""
    furthest = datetime.now(UTC) + timedelta(seconds=MAX_DEADLINE_S)
    what, hint = f"deadline: more than {MAX_DEADLINE_S // (24 * 3600)} days ahead", "give a nearer one, or none"
    return {job.id: InvalidJob(what, hint) for job in jobs if job.deadline and job.deadline > furthest}
