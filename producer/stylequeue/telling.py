"""Whoever ended a job tells: the senders, the picture's side file, the work bucket. Before the acknowledgement."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from pydantic import ValidationError

from .connection import celery_asked
from .contract.errors import (
    Code,
    JobCancelled,
    JobEnded,
    JobExpired,
    JobFailed,
    Misconfigured,
    Permanent,
    SchemaTooNew,
    Unavailable,
)
from .contract.events import StoredFile, StoredPicture, kind_of
from .contract.objects import event_key

if TYPE_CHECKING:
    from celery import Celery

    from .broker.results import Results
    from .ledger import Ledger, Record
    from .store import Store

log = logging.getLogger(__name__)

SideFile = Literal["report", "thumbnail"]
"""What a worker may put beside a picture."""
_SIDE_FILES: Final[tuple[SideFile, ...]] = get_args(SideFile)


class Teller:
    """Tells those who look elsewhere than in the ledger. Safe to share between threads; telling twice does no harm."""

    def __init__(self, app: Celery, ledger: Ledger, store: Store) -> None:
        self._app = app
        self._ledger = ledger
        self._store = store

    def tell(self, record: Record, event: str, *, left_work: bool = True, just_stored: bool = False) -> None:
        """Tell all of a job's terminal `event` (JSON). Raises what the ledger or the store does.

        `AsyncResult.get()` returns or raises what it says; the event is put beside the picture, if there is one, byte
        for byte as in the ledger; and what attempts left in the work bucket, if they did, goes. Whoever ends a job does
        this next; where they die, or this raises, a keeper does it. Unless the picture was `just_stored`, another may
        lie there by now, which keeps its own event. What a stranger put where the event goes stays, unless the job says
        `overwrite`.
        """
        # Its senders wait; whatever happens to the rest, they need not.
        self.tell_senders(record, event)
        # Where there is one, and no newer worker put it where only newer keepers know.
        with suppress(JobEnded, SchemaTooNew):
            self._put_beside(record, event, just_stored=just_stored)
        if left_work:
            self._clear_away(record)
        self._ledger.told(record.id)

    def _put_beside(self, record: Record, event: str, *, just_stored: bool) -> None:
        from .store import Origin

        picture = picture_of(record.id, event)
        try:
            self._store.write_beside(
                picture,
                event_key(picture.key),
                event.encode(),
                origin=Origin(record.id, result_of(event).get("fingerprint", "")),
                content_type="application/json",
                overwrite=_overwrites(record),
                just_stored=just_stored,
            )
        except Permanent as error:
            if error.code != Code.OUTPUT_EXISTS:
                raise
            log.warning("job=%s its event does not lie beside its picture: %s", record.id, error)

    def _clear_away(self, record: Record) -> None:
        try:
            self._store.delete_work(record.id)
        except (Permanent, Misconfigured) as error:
            # It may stay there for ever, and no second try would change that.
            log.warning("job=%s what its attempts left in the work bucket stays there: %s", record.id, error)

    def tell_senders(self, record: Record, event: str) -> None:
        """Let `AsyncResult.get()` of everyone who sent the job return or raise what its terminal `event` (JSON) says.

        At once, for they wait; the rest of the telling needs the store and has time.
        """
        for task_id in self._ledger.task_ids(record):
            if record.job:
                self.answer(task_id, event)
            elif error := _error_of(event):
                self.refuse(task_id, error)

    def answer(self, task_id: str, event: str) -> None:
        """The same for one Celery task, which is known to be the job's."""
        with celery_asked(self._ledger.settings):
            try:
                self._app.backend.mark_as_done(task_id, result_of(event))
            except JobEnded as error:
                self._app.backend.mark_as_failure(task_id, error)

    def refuse(self, task_id: str, error: JobEnded) -> None:
        """Let a message's sender know that there is no job in it.

        Anybody may have sent it under any name: what is told of a task already stays.
        """
        with celery_asked(self._ledger.settings):
            self._results.store_refusal(task_id, error)

    def begun(self, task_id: str, *, first: bool) -> None:
        """Let a job's sender know that it is being painted, if that is possible; `first`: by the first attempt."""
        try:
            with celery_asked(self._ledger.settings):
                self._results.store_begun(task_id, first=first)
        except Unavailable as error:
            log.warning("not told that task %s has begun: %s", task_id, error)

    @property
    def _results(self) -> Results:
        results: Results = self._app.backend  # type: ignore[assignment]
        return results

    def forget_pictures(self, record: Record) -> None:
        """Take away what an ended job left in the store, but for what is another job's, or a stranger's, by now.

        Raises SchemaTooNew, and what the store does.
        """
        with suppress(JobEnded):
            picture = picture_of(record.id, record.outcome)
            beside = [file_beside(record.outcome, kind) for kind in _SIDE_FILES]
            there = self._store.find(picture.bucket, picture.key)
            if there and there.etag == picture.etag:
                # The picture last: it is how a second try knows that the others are this job's.
                for file in (_event_file(picture, record.outcome), *beside, picture):
                    if file:
                        self._store.delete_recorded(file)
        self._store.delete_work(record.id)

    def forget_results(self, record: Record) -> None:
        """Let everyone who sent the job wait for its next end."""
        for task_id in self._ledger.task_ids(record):
            self.forget(task_id)

    def forget(self, task_id: str) -> None:
        """Let the sender of one Celery task wait."""
        with celery_asked(self._ledger.settings):
            self._app.backend.forget(task_id)


_ERRORS: dict[str, type[JobEnded]] = {"cancelled": JobCancelled, "expired": JobExpired}


def result_of(event: str) -> dict[str, Any]:
    """What a sender gets for a terminal event (JSON): the data of `succeeded`, or one of the JobEnded errors raised.

    Nothing else of the event is looked at: a newer worker may have told it.
    """
    told = json.loads(event)
    kind, data = kind_of(told["type"]), told["data"]
    if kind == "succeeded":
        return dict(data)
    error = _ERRORS.get(kind, JobFailed)
    raise error(
        data.get("code", Code.INTERNAL_ERROR), data.get("message", f"the job ended: {kind}"), data.get("hint", "")
    )


def _error_of(event: str) -> JobEnded | None:
    """What a sender gets raised for a terminal event (JSON), if anything."""
    try:
        result_of(event)
    except JobEnded as error:
        return error
    return None


def picture_of(job_id: str, event: str) -> StoredPicture:
    """The picture that a job's terminal event tells of. Raises JobEnded for none, SchemaTooNew for one unreadable."""
    try:
        return StoredPicture.model_validate(result_of(event).get("output"))
    except ValidationError:
        raise SchemaTooNew(job_id) from None


def file_beside(event: str, kind: SideFile) -> StoredFile | None:
    """What lies beside the picture by a job's terminal event, if that says what it is."""
    try:
        return StoredFile.model_validate(result_of(event).get(f"{kind}_file"))
    except ValidationError:
        return None


def _event_file(picture: StoredPicture, event: str) -> StoredFile:
    """A job's terminal event as it lies beside its picture."""
    text = event.encode()
    sha256 = hashlib.sha256(text).hexdigest()
    return StoredFile(bucket=picture.bucket, key=event_key(picture.key), etag="", sha256=sha256, size_bytes=len(text))


def _overwrites(record: Record) -> bool:
    """Whether the job says that what lies where its picture goes may be replaced."""
    with suppress(ValueError, TypeError, KeyError):  # a newer producer may have written it
        return json.loads(record.job)["output"].get("overwrite") is True
    return False
