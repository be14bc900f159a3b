"""Wake-up messages: one a job, each holding the whole job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..contract.job import TASK_NAME, Job

if TYPE_CHECKING:
    from celery import Celery

    from ..ledger import Ledger

RECORDED_HEADER = "stylequeue_recorded"
"""Of a message whose job had a record when it was sent: without one, the job was deleted since."""


def send(app: Celery, job: Job, *, task_id: str | None = None, connection: Any = None) -> None:
    """Put the wake-up message for `job` on its queue; its Celery task id is the job's id unless given."""
    fields = job.model_dump(mode="json", exclude_none=True)
    _send(app, fields, queue=job.queue_name, task_id=task_id or job.id, connection=connection)


def _send(app: Celery, fields: dict[str, Any], *, queue: str, task_id: str, connection: Any) -> None:
    app.send_task(
        TASK_NAME,
        kwargs={"job": fields},
        queue=queue,
        task_id=task_id,
        connection=connection,
        # Celery would copy the arguments in clear into a header otherwise: twice the bytes for nothing.
        argsrepr="()",
        kwargsrepr="{}",
        headers={RECORDED_HEADER: True},
    )


def send_due(app: Celery, ledger: Ledger) -> int:
    """Send the fresh messages that are due now, and say how many. Any number of processes may do this at once.

    Where Redis fails in between they are due again; where this process dies, the keeper misses the messages and sends
    them. Raises what Celery does where Redis fails.
    """
    sent = 0
    while due := ledger.take_due():
        unsent = {message.job_id for message in due}
        try:
            with app.connection_for_write() as connection:
                for message in due:
                    # Not looked at: a newer producer may have written it, for newer workers.
                    fields = json.loads(message.job)
                    _send(app, fields, queue=message.queue, task_id=message.task_id, connection=connection)
                    unsent.discard(message.job_id)
                    sent += 1
        finally:
            if unsent:
                ledger.make_due(sorted(unsent))
    return sent
