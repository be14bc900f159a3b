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


def tell(app: Celery, ledger: Ledger, store: Store, record: Record, event: str, *, left_work: bool = True) -> None:
    """Tell those who look elsewhere than in the ledger of a job's terminal `event` (JSON). Any number may do so.

    The event is put beside the picture, if there is one, byte for byte as in the ledger; `AsyncResult.get()` returns or
    raises what it says; and what attempts left in the work bucket, if they did, goes. Whoever ends a job does this
    next; where they die, or this raises, a keeper does it.
    """
    ended = EVENT.validate_json(event)
    # Its sender waits; whatever happens to the rest, it need not.
    for task_id in ledger.task_ids(record):
        store_result(app, task_id, event)
    if isinstance(ended, Succeeded):
        output = ended.data.output
        store.write(
            output.bucket, event_key(output.key), event.encode(), content_type="application/json", overwrite=True
        )
    if left_work:
        store.delete_work(work_keys(record.id))
    ledger.told(record.id)


def store_result(app: Celery, task_id: str, event: str) -> None:
    """Let `AsyncResult.get()` return or raise what the terminal `event` (JSON) says. Raises what Celery does."""
    try:
        app.backend.mark_as_done(task_id, outcome(EVENT.validate_json(event)))
    except JobEnded as error:
        app.backend.mark_as_failure(task_id, error)


def outcome(event: AnyEvent | None) -> dict[str, Any]:
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
