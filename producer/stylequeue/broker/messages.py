"""Wake-up messages: one a job, each holding the whole job."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..connection import celery_asked
from ..contract.errors import Code
from ..contract.job import TASK_NAME, Job
from ..contract.plain_json import read_json
from ..contract.status import DeadLetter
from ..contract.trace import HEADER
from .lists import Lists

if TYPE_CHECKING:
    from celery import Celery

    from ..ledger import Ledger
    from ..ledger.answers import DueMessage

log = logging.getLogger(__name__)

RECORDED_HEADER = "stylequeue_recorded"
"""Of a message whose job had a record when it was sent: without one, the job was deleted since."""
_NO_JOB = (Code.INVALID_JOB, Code.SCHEMA_TOO_NEW, Code.CALLBACKS_REFUSED)
"""Why a worker refuses what a task holds."""
_PAGES = 50
"""Of messages that are due, sent in one go."""
_TRIES = 2
"""A connection of the pool may have died since it was used last; what is sent twice does no harm."""


@dataclass(frozen=True)
class Message:
    """A job's message on its way."""

    job: dict[str, Any]
    """As JSON; not looked at: a newer producer may have written it, for newer workers."""
    queue: str
    task_id: str
    traceparent: str | None = None

    @classmethod
    def of(cls, job: Job, *, task_id: str | None = None, traceparent: str | None = None) -> Message:
        """The message of a job; its Celery task id is the job's id unless given."""
        return cls(job.model_dump(mode="json", exclude_none=True), job.queue_name, task_id or job.id, traceparent)


class Messages:
    """Puts messages on the queues. Safe to share between threads. Every method raises as the ledger does."""

    def __init__(self, app: Celery, ledger: Ledger) -> None:
        self._app = app
        self._ledger = ledger

    def send(self, messages: Sequence[Message]) -> None:
        """Send them all, in few round trips. Where this raises, any number of them may have left."""
        from kombu.exceptions import BatchPublishError  # type: ignore[attr-defined]  # its stubs are older

        tries_left = _TRIES
        with celery_asked(self._ledger.settings):
            while True:
                tries_left -= 1
                try:
                    producer: Any
                    with self._app.producer_pool.acquire(block=True) as producer, producer.batch():
                        for message in messages:
                            self._send(message, producer)
                    return
                except BatchPublishError:
                    if not tries_left:
                        raise

    def send_due(self) -> int:
        """Send fresh messages that are due now, and say how many. Any number of processes may do this at once.

        At most some thousands: what is left is due still.

        Where Redis fails in between they are due again; where this process dies, the keeper misses the messages and
        sends them.
        """
        sent = 0
        for _ in range(_PAGES):
            if not (due := self._ledger.take_due()):
                break
            try:
                self.send([message for one in due if (message := _of_due(one))])
            except BaseException:
                self._ledger.make_due([one.job_id for one in due])
                raise
            sent += len(due)
        return sent

    def replay(self, letter: DeadLetter, *, queue: str, task_id: str | None) -> None:
        """Send a dead letter that is no job once more: a task that was refused, or a message exactly as it came.

        A task goes under its own id or, where that could name no job and it would be refused for ever, under a new one.
        """
        with celery_asked(self._ledger.settings):
            if letter.code in _NO_JOB:
                call = json.loads(letter.message)
                # As below: who may not read from queues need not look at them.
                named = {"args": call["args"], "kwargs": call["kwargs"], "task_id": task_id}
                self._app.send_task(TASK_NAME, **named, queue=queue, declare=())
            else:
                Lists(self._ledger.redis).put(queue, letter.message)

    def _send(self, message: Message, producer: Any) -> None:
        self._app.send_task(
            TASK_NAME,
            kwargs={"job": message.job},
            task_id=message.task_id,
            producer=producer,
            # By name alone, where Celery takes the default exchange: it needs no look at bindings.
            queue=message.queue,
            declare=(),
            # Celery would copy the arguments in clear into a header otherwise: twice the bytes for nothing.
            argsrepr="()",
            kwargsrepr="{}",
            headers={RECORDED_HEADER: True, **({HEADER: message.traceparent} if message.traceparent else {})},
        )


def _of_due(due: DueMessage) -> Message | None:
    try:
        return Message(dict(read_json(due.job)), due.queue, due.task_id, due.traceparent or None)
    except (ValueError, TypeError) as error:
        # Not by our hand. It must not hold up the others; its deadline ends it.
        log.error("job=%s what is on record of it is no job: %s", due.job_id, error)
        return None


def call_as_text(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """What a task was called with, as JSON that `replay` can send again once it is read.

    By Celery's own writer: its reader makes dates and numbers of its own out of marked JSON.
    """
    from kombu.utils.json import dumps

    return str(dumps({"args": args, "kwargs": kwargs}))
