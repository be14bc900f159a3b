"""Celery's consumer, but that it waits where Redis answers no instead of going away."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery.worker import consumer, state
from redis.exceptions import ResponseError

from stylequeue.connection import trouble

log = logging.getLogger(__name__)

_PAUSE_S = 2.0
"""Between two tries. Celery itself would try several times a second."""
_LOOK_S = 0.1
_SAY_AGAIN_S = 30.0


class Consumer(consumer.Consumer):
    """A replica, a full disk or memory, a forbidden command: it says which, tries again, and goes on when it is mended.

    Celery does that for connections that break. What Redis answers reaches it here by `broker_channel_error_retry`.
    """

    controller: Any
    _said = ("", 0.0)
    """What was said last, and when."""

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """While it connects."""
        if isinstance(exc, ResponseError):
            self._wait(exc)
        else:
            super().on_connection_error_before_connected(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """While it takes messages."""
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
