"""A client's way to a deployment: ledger, store, messages and results, each made when first used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from .broker.app import make_app
from .broker.messages import Message, Messages
from .connection import celery_asked
from .contract.errors import Unavailable
from .contract.job import Job
from .contract.status import DeadLetter
from .operator_file import OperatorFile
from .settings import Settings
from .telling import Teller

if TYPE_CHECKING:
    from celery import Celery

    from .ledger import AsyncLedger, Ledger, Record
    from .store import Store

_T = TypeVar("_T")


class Access:
    """Whatever is awaited here blocks. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def ledger(self) -> Ledger:
        """The record of every job."""
        from .ledger import Ledger

        return Ledger(self.settings)

    @property
    def asked(self) -> AsyncLedger:
        """The same, as clients ask it."""
        return self.ledger.asked

    @cached_property
    def operator_file(self) -> OperatorFile:
        """What the operator says beside the settings."""
        return OperatorFile(self.settings.operator_file)

    async def call(self, do: Callable[..., _T], *args: Any) -> _T:
        """What `do` returns or raises, which blocks: Celery's part."""
        return do(*args)

    async def call_store(self, do: Callable[..., _T], *args: Any) -> _T:
        """The same of what asks the store."""
        return do(*args)

    async def finally_call_store(self, do: Callable[[], object]) -> None:
        """Have `do` done, also for a task that is being cancelled."""
        do()

    @cached_property
    def store(self) -> Store:
        """Where pictures lie."""
        from .store import Store

        return Store(self.settings)

    @cached_property
    def app(self) -> Celery:
        """Celery's application."""
        return make_app(self.settings)

    @cached_property
    def messages(self) -> Messages:
        """Wakes workers."""
        return Messages(self.app, self.ledger)

    @cached_property
    def teller(self) -> Teller:
        """Tells of what the client itself ends."""
        return Teller(self.app, self.ledger, self.store)

    def send(self, jobs: Sequence[tuple[Job, str | None]], forgotten: Sequence[str]) -> None:
        """Send the messages of jobs on record, each given with its trace context; the results of those that are
        `forgotten` are another job's.
        """
        with self._celery(recorded=True):
            for job_id in forgotten:
                self.app.backend.forget(job_id)
            self.messages.send([Message.of(job, traceparent=traceparent) for job, traceparent in jobs])

    def send_due(self) -> None:
        """Send the messages of jobs on record that are due."""
        with self._celery(recorded=True):
            self.messages.send_due()

    def send_again(self, letter: DeadLetter, queue: str, task_id: str | None) -> None:
        """Send a dead letter that is no job; `task_id`: the task on record for it."""
        with self._celery():
            if task_id is not None:
                self.app.backend.forget(task_id)
            self.messages.replay(letter, queue=queue, task_id=task_id)

    def tell_senders(self, record: Record, event: str) -> None:
        """Let those who sent a job know its terminal `event`."""
        with self._celery():
            self.teller.tell_senders(record, event)

    def forget_results(self, record: Record) -> None:
        """Let those who sent a job wait for its next end."""
        with self._celery():
            self.teller.forget_results(record)

    def check_bucket(self, bucket: str) -> None:
        """Return if the store answers for it; raise as the store does otherwise."""
        self.store.check_bucket(bucket)

    def forget_pictures(self, record: Record) -> None:
        """Take away what an ended job left in the store."""
        self.teller.forget_pictures(record)

    @contextmanager
    def _celery(self, *, recorded: bool = False) -> Iterator[None]:
        """Around all that is done with it: what it raises becomes Unavailable.

        `recorded`: the ledger has the job, and only its message has not left.
        """
        try:
            with celery_asked(self.settings):
                yield
        except Unavailable as error:
            if not recorded:
                raise
            raise Unavailable(
                error.code,
                f"the job is recorded, but its message could not be sent: {error.message}",
                f"{error.hint}; the keeper will send the message, and submitting the same job again does no harm",
            ) from None

    def close(self) -> None:
        """Give all connections back; whatever is used next connects anew."""
        for name in ("messages", "teller"):
            self.__dict__.pop(name, None)
        for name in ("ledger", "store", "app"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()
