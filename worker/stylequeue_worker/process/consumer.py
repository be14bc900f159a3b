"""Celery's consumer, but that it waits where Redis answers no instead of going away, and hears only its queues."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from celery.worker import consumer, state
from redis.exceptions import ResponseError

from stylequeue.connection import trouble

log = logging.getLogger(__name__)

_PAUSE_S = 2.0
"""Between two tries. Celery itself would try several times a second."""
_LOOK_S = 0.1
_SAY_AGAIN_S = 30.0
_DEAF_TO = ("Control", "Gossip")


_celerys: Any = consumer.Consumer


class Consumer(consumer.Consumer):
    """A replica, a full disk or memory, a forbidden command: it says which, tries again, and goes on when it is mended.

    Celery does that for connections that break. What Redis answers reaches it here by `broker_channel_error_retry`.
    """

    class Blueprint(_celerys.Blueprint):  # type: ignore[misc]
        """Without remote control and gossip: by pub/sub anybody could stop every worker there is."""

        default_steps = [  # noqa: RUF012
            step for step in _celerys.Blueprint.default_steps if step.rpartition(":")[2] not in _DEAF_TO
        ]

    def __init__(self, on_task_request: Any, worker_options: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        # Another step asks for mingling, so that it is there, and does nothing.
        options = {**(worker_options or {}), "without_mingle": True}
        super().__init__(on_task_request, worker_options=options, **kwargs)

    controller: Any
    _said = ("", 0.0)
    """What was said last, and when."""

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """While it connects."""
        self.controller.vitals.connects()
        if isinstance(exc, ResponseError):
            self._wait(exc)
        else:
            super().on_connection_error_before_connected(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """While it takes messages."""
        self.controller.vitals.connects()
        super().on_connection_error_after_connected(exc)
        if isinstance(exc, ResponseError):
            self._wait(exc)

    def _wait(self, error: Exception) -> None:
        now, what = time.monotonic(), str(trouble(self.controller.settings, error))
        if what != self._said[0] or now - self._said[1] > _SAY_AGAIN_S:
            log.error("waits for Redis: %s", what)
            self._said = (what, now)
        while time.monotonic() < now + _PAUSE_S:
            state.maybe_shutdown()
            time.sleep(_LOOK_S)
