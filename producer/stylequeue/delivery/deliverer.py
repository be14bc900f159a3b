"""Delivers events to the endpoints of the operator's file: each endpoint for itself, none waits for another."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .. import tracing
from ..contract.delivery import Attempt
from ..contract.errors import StyleQueueError
from ..contract.trace import HEADER, traceparent_of
from ..ledger import Ledger
from ..ledger.deliveries import IN_FLIGHT, Deliveries, ToSend
from ..operator_file import OperatorFile
from ..settings import Settings
from .outbox import Outbox
from .schedule import JITTER, Answer, judge
from .sinks import Sinks
from .webhooks import TIMEOUT_S, Webhooks

if TYPE_CHECKING:
    from ..operator_file import Endpoint

log = logging.getLogger(__name__)

_LOOK_S = 1.0
"""Between two looks at the operator's file, and at what somebody else made due."""
_STOP_S = TIMEOUT_S + 2
"""For what is being sent, when told to stop."""


class Sender:
    """Sends to endpoints of all kinds. Safe to share between threads."""

    def __init__(self, settings: Settings, webhooks: Webhooks | None = None) -> None:
        self._webhooks = webhooks or Webhooks(settings.delivery_proxy)
        self._sinks = Sinks()

    def send(self, endpoint: Endpoint, event_id: str, event: str) -> Answer:
        """Send an event (JSON) once."""
        by = self._webhooks if endpoint.kind == "webhook" else self._sinks
        return by.send(endpoint, event_id, event)


class Deliverer:
    """Delivers one deployment's events. Any number at once: a lease says who sends what.

    Raises InvalidSettings where the operator's file cannot be read.
    """

    def __init__(
        self, settings: Settings, *, ledger: Ledger | None = None, send: Callable[..., Answer] | None = None
    ) -> None:
        self._ledger = ledger or Ledger(settings)
        self._file = OperatorFile(settings.operator_file)
        self._file.now  # noqa: B018  # one that cannot be read is told of at the start
        self._send = send or Sender(settings).send
        self._outbox = Outbox(self._ledger)
        self._lanes: dict[str, Lane] = {}

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop`. Trouble is logged, never raised."""
        while not stop.is_set():
            try:
                self._round(stop)
            except StyleQueueError as error:
                log.warning("deliveries wait: %s", error)
                stop.wait(_LOOK_S)
            except Exception:
                log.exception("deliveries wait")
                stop.wait(_LOOK_S)
        for lane in self._lanes.values():
            lane.stop()
        ends_at = time.monotonic() + _STOP_S
        for lane in self._lanes.values():
            lane.join(max(0.0, ends_at - time.monotonic()))

    def _round(self, stop: threading.Event) -> None:
        endpoints = self._file.now.endpoints
        for name in self._lanes.keys() - endpoints.keys():
            self._lanes.pop(name).stop()
        for name, endpoint in endpoints.items():
            if name not in self._lanes:
                self._lanes[name] = Lane(name, endpoint, Deliveries(self._ledger), self._send)
                self._lanes[name].start()
            self._lanes[name].endpoint = endpoint
        if not endpoints:
            stop.wait(_LOOK_S)
        elif self._outbox.round(endpoints):
            for lane in self._lanes.values():
                lane.look()
        else:
            self._outbox.wait(_LOOK_S)


class Lane(threading.Thread):
    """Sends what is due to one endpoint, a few at once, until it is stopped."""

    def __init__(self, name: str, endpoint: Endpoint, deliveries: Deliveries, send: Callable[..., Answer]) -> None:
        super().__init__(name=f"stylequeue-deliveries-{name}", daemon=True)
        self.endpoint = endpoint
        """As the operator's file has it now."""
        self._endpoint_name = name
        self._deliveries = deliveries
        self._send = send
        self._awake = threading.Event()
        self._stopping = False

    def look(self) -> None:
        """There may be something to send."""
        self._awake.set()

    def stop(self) -> None:
        """End when what is being sent now has been."""
        self._stopping = True
        self._awake.set()

    def run(self) -> None:
        """Until it is stopped."""
        sending: list[threading.Thread] = []
        while not self._stopping:
            wait_s = _LOOK_S
            try:
                batch = self._deliveries.take(self._endpoint_name, token=(token := uuid.uuid4().hex))
                if batch.wait_s is not None:
                    wait_s = min(wait_s, batch.wait_s)
                for delivery in batch.deliveries:
                    # Threads of their own, which no end of the process waits for.
                    thread = threading.Thread(target=self._deliver, args=(delivery, token), daemon=True)
                    thread.start()
                    sending.append(thread)
            except StyleQueueError as error:
                log.warning("endpoint=%s deliveries wait: %s", self._endpoint_name, error)
            except Exception:
                log.exception("endpoint=%s deliveries wait", self._endpoint_name)
            sending = [thread for thread in sending if thread.is_alive()]
            # What is due while as many are sent as may be waits for one of those: it calls.
            self._awake.wait(_LOOK_S if len(sending) >= IN_FLIGHT else wait_s)
            self._awake.clear()
        for thread in sending:
            thread.join(_STOP_S)

    def _deliver(self, delivery: ToSend, token: str) -> None:
        name = self._endpoint_name
        try:
            at = datetime.now(UTC)
            with _traced(name, delivery):
                answer = self._send(self.endpoint, delivery.id, delivery.event)
                verdict = judge(answer, tries=delivery.tries, jitter=random.uniform(1 - JITTER, 1 + JITTER))
                tracing.note(status=answer.status)
                if not verdict.delivered:
                    tracing.fail(str(answer.status or "no_answer"))
            attempt = Attempt(at=at, status=answer.status, took_ms=int(answer.took_s * 1000), said=answer.said)
            settled = self._deliveries.settle(
                name,
                delivery.id,
                token=token,
                attempt=attempt,
                delivered=verdict.delivered,
                delay_s=verdict.delay_s,
                hold_s=verdict.hold_s,
                disable=verdict.disable,
            )
        except StyleQueueError as error:
            # Its lease runs out: it is sent once more, under the same id.
            log.warning("endpoint=%s event=%s nobody knows what became of it: %s", name, delivery.id, error)
        except Exception:
            log.exception("endpoint=%s event=%s", name, delivery.id)
        else:
            level = logging.INFO if verdict.delivered else logging.WARNING
            log.log(level, "endpoint=%s event=%s %s: %s", name, delivery.id, settled.state, attempt)
            if settled.disabled:
                log.error("endpoint=%s is disabled: %s; `stylequeue hooks enable %s`", name, settled.disabled, name)
        self.look()


def _traced(endpoint: str, delivery: ToSend) -> AbstractContextManager[None]:
    """Around one try, which is a part of what the event tells of; later ones, hours later maybe, are linked to that."""
    told = json.loads(delivery.event)
    return tracing.span(
        "deliver",
        kind="PRODUCER",
        of=traceparent_of(told.get(HEADER)),
        linked=delivery.tries > 0,
        endpoint=endpoint,
        tries=delivery.tries,
        event_id=delivery.id,
        event_type=str(told.get("type")),
        job_id=str(told.get("subject")),
    )
