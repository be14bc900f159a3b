"""What the parent's loop does now and then: it says that it turns, and listens to those queues that are open to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from celery import Celery, bootsteps
from celery.worker import state
from celery.worker.consumer.tasks import Tasks

from .vitals import BEAT_S, Vitals

_LOOK_S = 1.0
"""Between two looks which queues are open."""

log = logging.getLogger(__name__)


class Listening:
    """Of one worker. What concerns the connection is done by its loop alone, and what others want of it there."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals
        self._heard_s = time.monotonic()
        self._closed: frozenset[str] = frozenset()

    def heard(self) -> None:
        """Redis has answered what the loop listens to."""
        self._heard_s = time.monotonic()

    def close(self, queues: Iterable[str]) -> None:
        """Listen to these no more, and to all others of the worker's again, soon. From any thread."""
        self._closed = frozenset(queues)

    def attach(self, app: Celery) -> None:
        """Have the loop of the app's worker do so. To be called before the worker starts."""
        own = tuple(app.amqp.queues.consume_from)
        listening = self

        class Step(bootsteps.StartStopStep):
            requires = (Tasks,)

            def start(self, consumer: Any) -> None:
                listening.heard()
                listening.adjust(consumer, own)
                listening.beat(consumer)
                # Celery forgets its timers with each connection.
                consumer.timer.call_repeatedly(BEAT_S, partial(listening.beat, consumer))
                consumer.timer.call_repeatedly(_LOOK_S, partial(listening.adjust, consumer, own))

        app.steps["consumer"].add(Step)

    def beat(self, consumer: Any) -> None:
        """Say that the loop turns."""
        expects = bool(consumer.task_consumer.channel.active_queues) and not state.reserved_requests
        self._vitals.listens(heard_s=self._heard_s, expects=expects)

    def adjust(self, consumer: Any, own: Iterable[str]) -> None:
        """Begin and end listening to what was opened and closed."""
        closed, heeds = self._closed, consumer.app.amqp.queues.consume_from
        for queue in own:
            if queue in closed and queue in heeds:
                consumer.cancel_task_queue(queue)
            elif queue not in closed and queue not in heeds:
                # It was not listened to meanwhile, and so had nothing to hear.
                self.heard()
                consumer.add_task_queue(queue)
