"""Celery's application, but for where it connects."""

from __future__ import annotations

from typing import Any

from celery import Celery


class Application(Celery):
    """Connects where its own settings say.

    Celery rather takes CELERY_BROKER_URL, CELERY_RESULT_BACKEND and the like from the environment: in a backend that
    has a Celery of its own, our messages would go to that one's broker.
    """

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:  # noqa: ARG002
        """A connection to take messages from; `url` is not looked at."""
        return super().connection_for_read(self.conf.get("broker_url"), **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:  # noqa: ARG002
        """A connection to send messages by; `url` is not looked at."""
        return super().connection_for_write(self.conf.get("broker_url"), **options)

    @property
    def backend_cls(self) -> Any:  # type: ignore[override]
        """Where results go."""
        return self.conf.get("result_backend")
