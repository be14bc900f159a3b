"""Celery's consumer, but that it waits where Redis answers no instead of going away."""

from __future__ import annotations

import logging
import time

from celery.worker import consumer, state
from redis.exceptions import ResponseError

log = logging.getLogger(__name__)

_PAUSE_S = 2.0
"""Between two tries. Celery itself would try several times a second."""
_LOOK_S = 0.1


class Consumer(consumer.Consumer):
    """A replica, a full disk or memory, a forbidden command: it says which, tries again, and goes on when it is mended.

    Celery does that for connections that break. What Redis answers reaches it here by `broker_channel_error_retry`.
    """

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """While it connects."""
        super().on_connection_error_before_connected(exc)
        _pause(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """While it takes messages."""
        super().on_connection_error_after_connected(exc)
        _pause(exc)


def _pause(error: Exception) -> None:
    if not isinstance(error, ResponseError):
        return
    said = f"{error.status_code} {error}" if error.status_code else str(error)
    log.error("Redis refuses what this worker needs: %s; trying again in %g s", said, _PAUSE_S)
    ends_at = time.monotonic() + _PAUSE_S
    while time.monotonic() < ends_at:
        state.maybe_shutdown()
        time.sleep(_LOOK_S)
