"""A client's way to a deployment: ledger, store, messages and results, each made when first used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from .broker.app import make_app
from .broker.messages import Messages
from .connection import celery_asked
from .contract.errors import Unavailable
from .settings import Settings
from .telling import Teller

if TYPE_CHECKING:
    from celery import Celery

    from .ledger import Ledger
    from .store import Store


class Access:
    """Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def ledger(self) -> Ledger:
        """The record of every job."""
        from .ledger import Ledger

        return Ledger(self.settings)

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

    @contextmanager
    def celery(self, *, recorded: bool = False) -> Iterator[None]:
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
