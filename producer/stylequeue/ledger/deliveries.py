"""Deliveries of events to endpoints: what is to be sent, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from ..awaiting import run
from ..contract.delivery import Attempt, Delivery, EndpointHealth
from ..contract.errors import DeliveryNotFound
from . import listing, names
from .moves import Move, Moves
from .record import delivery_from_redis

if TYPE_CHECKING:
    from ..contract.status import Page
    from .aio import AsyncLedger
    from .ledger import Ledger

KEPT_S = 7 * 24 * 3600
"""A delivery, from when it was made or replayed; what is known of an endpoint, since somebody last looked."""
PATIENCE_S = 5 * 24 * 3600
"""With an endpoint that takes nothing."""
IN_FLIGHT = 4
"""Sent at once to one endpoint, by all who send."""
LEASE_S = 30
"""Longer than sending takes."""
_MAX_ATTEMPTS_BYTES = 16 * 1024
"""Remembered of one delivery."""
_MAX_OVERTAKEN_CHARS = 1000
"""The same of those who were sending it when it was replayed: the tokens of thirty."""


@dataclass(frozen=True)
class ForEndpoint:
    """An event that an endpoint is to have."""

    endpoint: str
    id: str
    event: str
    """As stored."""
    type: str
    job: str
    at_ms: int
    """When it happened."""
    named: bool
    """Whether its job names the endpoint."""


@dataclass(frozen=True)
class ToSend:
    """A delivery that is to be sent now."""

    id: str
    """The event's."""
    event: str
    """As stored."""
    tries: int
    """That came before."""


@dataclass(frozen=True)
class Batch:
    """What is to be sent to an endpoint now."""

    wait_s: float | None
    """Until there is more; None: nothing waits."""
    deliveries: list[ToSend]


@dataclass(frozen=True)
class Settled:
    """What became of a delivery; `stale`: somebody else sends it by now, or it was replayed since, or is forgotten."""

    state: Literal["delivered", "pending", "given_up", "stale"]
    disabled: str
    """Why the endpoint is disabled since this very moment; "": it is not."""


class Deliveries:
    """The deliveries of a deployment. Any method raises Unavailable where Redis does not answer in time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._max = ledger.settings.max_deliveries

    def deliver(self, events: Sequence[ForEndpoint], *, again: bool = False) -> int:
        """Make deliveries of these events, and return how many are to be sent; what there is already stays as it is.

        `again`: what has not been delivered is sent anew, and what an endpoint missed is sent after all.
        """
        told = [asdict(event) for event in events]
        return self._run("deliver", events=told, again=again, max_deliveries=self._max) if told else 0

    def take(self, endpoint: str, *, token: str) -> Batch:
        """Take what is to be sent to an endpoint now. Whoever takes it settles it within `LEASE_S`."""
        wait_ms, *taken = self._run(
            "take_deliveries", endpoint=endpoint, token=token, in_flight=IN_FLIGHT, lease_ms=LEASE_S * 1000
        )
        return Batch(None if wait_ms < 0 else wait_ms / 1000, [ToSend(*one) for one in taken])

    def settle(
        self,
        endpoint: str,
        event_id: str,
        *,
        token: str,
        attempt: Attempt,
        delivered: bool,
        delay_s: float | None,
        hold_s: float = 0,
        disable: str = "",
    ) -> Settled:
        """Say what came of sending one that was taken with `token`.

        It is sent again after `delay_s`, None: it is given up. Nothing is sent to the endpoint for `hold_s`; nothing
        ever where there is a reason to `disable` it.
        """
        answer = self._run(
            "settle_delivery",
            endpoint=endpoint,
            id=event_id,
            token=token,
            attempt=attempt.model_dump_json(),
            said=str(attempt),
            delivered=delivered,
            delay_ms=-1 if delay_s is None else int(delay_s * 1000),
            hold_ms=int(hold_s * 1000),
            disable=disable,
            patience_ms=PATIENCE_S * 1000,
            max_attempts_bytes=_MAX_ATTEMPTS_BYTES,
        )
        return Settled(*answer)

    def replay(self, endpoint: str, event_id: str) -> None:
        """Send an event to an endpoint once more, whatever came of it before. Raises DeliveryNotFound."""
        run(replay(self._ledger.asked, endpoint, event_id))

    def enable(self, endpoint: str) -> int:
        """Send to an endpoint again; returns how many deliveries are due now that waited."""
        return int(self._run("enable_endpoint", endpoint=endpoint))

    def health(self, endpoint: str) -> EndpointHealth:
        """How an endpoint fares."""
        with self._ledger._reachable():
            pipeline = self._ledger.redis.pipeline(transaction=True)
            pipeline.hgetall(names.endpoint_key(endpoint))
            pipeline.zcard(names.to_send_key(endpoint))
            pipeline.zcard(names.sending_key(endpoint))
            fields, waiting, sending = pipeline.execute()
        return EndpointHealth(
            waiting=waiting,
            sending=sending,
            dropped=fields.get("dropped", 0),
            last_error=fields.get("said"),
            disabled=fields.get("disabled"),
            **{f"{name}_at": _moment(fields.get(f"{name}_ms")) for name in ("succeeded", "failed", "disabled")},
            failing_since=_moment(fields.get("failing_since_ms")),
            hold_until=_moment(fields.get("hold_until_ms")),
        )

    def delivery(self, endpoint: str, event_id: str) -> Delivery:
        """One of them. Raises DeliveryNotFound."""
        with self._ledger._reachable():
            fields: Any = self._ledger.redis.hgetall(names.delivery_key(f"{endpoint}:{event_id}"))
        if not fields:
            raise DeliveryNotFound(event_id)
        return delivery_from_redis(fields)

    def list(
        self, endpoint: str, *, state: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page[Delivery]:
        """An endpoint's deliveries, the newest first, those in `state` alone if it is given. Raises InvalidRequest."""
        asked = self._ledger.asked
        return run(listing.deliveries(asked._ask, endpoint, state=state, after=after, limit=limit))

    def _run(self, name: str, **arguments: Any) -> Any:
        return self._ledger._run([_move(self._ledger._moves, name, **arguments)])[0]


async def replay(ledger: AsyncLedger, endpoint: str, event_id: str) -> None:
    """Send an event to an endpoint once more, whatever came of it before. Raises DeliveryNotFound."""
    move = _move(
        ledger._moves, "replay_delivery", endpoint=endpoint, id=event_id, max_overtaken_chars=_MAX_OVERTAKEN_CHARS
    )
    [verdict] = await ledger.perform([move])
    if verdict == "unknown":
        raise DeliveryNotFound(event_id)


def _move(moves: Moves, name: str, **arguments: Any) -> Move[Any]:
    return moves._move(name, kept_ms=KEPT_S * 1000, **arguments)


def _moment(ms: str | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(int(ms) / 1000, UTC)
