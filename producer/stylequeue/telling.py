"""Whoever ended a job tells: the senders, the picture's side file, the work bucket. Before the acknowledgement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .contract.errors import JobCancelled, JobEnded, JobExpired, JobFailed
from .contract.events import EVENT, AnyEvent, Cancelled, Expired, Failed, Succeeded
from .contract.objects import event_key, work_keys

if TYPE_CHECKING:
    from celery import Celery

    from .ledger import Ledger, Record
    from .store import Store


class Teller:
    """Tells those who look elsewhere than in the ledger. Safe to share between threads; telling twice does no harm."""

    def __init__(self, app: Celery, ledger: Ledger, store: Store) -> None:
        self._app = app
        self._ledger = ledger
        self._store = store

    def tell(self, record: Record, event: str, *, left_work: bool = True) -> None:
        """Tell all of a job's terminal `event` (JSON). Raises what Celery, the ledger or the store does.

        `AsyncResult.get()` returns or raises what it says; the event is put beside the picture, if there is one, byte
        for byte as in the ledger; and what attempts left in the work bucket, if they did, goes. Whoever ends a job does
        this next; where they die, or this raises, a keeper does it.
        """
        # Its senders wait; whatever happens to the rest, they need not.
        self.tell_senders(record, event)
        ended = EVENT.validate_json(event)
        if isinstance(ended, Succeeded):
            output = ended.data.output
            self._store.write(
                output.bucket, event_key(output.key), event.encode(), content_type="application/json", overwrite=True
            )
        if left_work:
            self._store.delete_work(work_keys(record.id))
        self._ledger.told(record.id)

    def tell_senders(self, record: Record, event: str) -> None:
        """Let `AsyncResult.get()` of everyone who sent the job return or raise what its terminal `event` (JSON) says.

        At once, for they wait; the rest of the telling needs the store and has time.
        """
        for task_id in self._ledger.task_ids(record):
            try:
                self._app.backend.mark_as_done(task_id, result_of(EVENT.validate_json(event)))
            except JobEnded as error:
                self._app.backend.mark_as_failure(task_id, error)

    def forget_results(self, record: Record) -> None:
        """Let everyone who sent the job wait for its next end."""
        for task_id in self._ledger.task_ids(record):
            self._app.backend.forget(task_id)


def result_of(event: AnyEvent | None) -> dict[str, Any]:
    """What a sender gets for a terminal event: the data of `succeeded`, or one of the JobEnded errors raised."""
    match event:
        case Succeeded(data=data):
            return data.model_dump(mode="json")
        case Failed(data=data):
            raise JobFailed(data.code, data.message, data.hint)
        case Cancelled(data=data):
            raise JobCancelled(data.code, data.message, data.hint)
        case Expired(data=data):
            raise JobExpired(data.code, data.message, data.hint)
        case _:
            raise ValueError("no terminal event")
