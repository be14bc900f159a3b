"""Which endpoints an event goes to.

The deployment's stream is the outbox: each event stands there with whose its job is and which endpoints that names, put
there by the move that made it so. One group of consumers, the deliverers, makes deliveries of what it reads. Where
nobody delivers, nobody reads, and the stream keeps to its cap all the same.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..awaiting import run
from ..contract.errors import EventsLost
from ..contract.events import for_tenant, kind_of
from ..contract.plain_json import read_json
from ..ledger import names
from ..ledger.deliveries import Deliveries, ForEndpoint

if TYPE_CHECKING:
    from ..ledger import Ledger
    from ..ledger.groups import Consumer, Entry
    from ..operator_file import Endpoint

log = logging.getLogger(__name__)

GROUP = ":delivery"
"""Of the deliverers. No consumers of others' can have one of this name."""
_AT_ONCE = 100
"""Events."""
_IDLE_S = 60
"""Another deliverer that has had events for so long has gone."""


class Outbox:
    """One deliverer's look at it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._deliveries = Deliveries(ledger)
        self._name = uuid.uuid4().hex
        self._consumer = self._anew()

    def _anew(self) -> Consumer:
        # However often: what is in the way is Redis, or the end of a deliverer, never one of the events.
        return self._ledger.asked.consumer(GROUP, self._name, after="0", claim_after_s=_IDLE_S, max_times=0)

    def round(self, endpoints: Mapping[str, Endpoint]) -> bool:
        """Make deliveries of some events; whether there were any."""
        try:
            entries = whole(self._ledger, run(self._consumer.take(_AT_ONCE)))
            # Made first, let go after: what breaks off in between is made again, which changes nothing.
            self._deliveries.deliver(list(deliveries_of(entries, endpoints)))
        except EventsLost as error:
            log.error("not delivered: %s", error)
            return True
        except BaseException:
            self._consumer = self._anew()
            raise
        return bool(entries)

    def wait(self, wait_s: float) -> None:
        """Return when there is something new, or after `wait_s`."""
        run(self._consumer.wait(wait_s))


def whole(ledger: Ledger, entries: Sequence[Entry]) -> list[Entry]:
    """These entries with what stands beside an event, which older workers do not put there: the event itself says whose
    the job is, the job's record which endpoints it names.
    """
    told: list[dict[str, Any] | None] = []
    for entry in entries:
        try:
            told.append(_told(entry))
        except ValueError:
            told.append(None)
    lacking = [event["subject"] for entry, event in zip(entries, told, strict=True) if event and not entry.notify]
    named = iter(run(ledger.asked.named_by(lacking)))
    return [
        replace(
            entry,
            tenant=entry.tenant or event["data"].get("tenant") or "",
            notify=entry.notify or next(named),
        )
        if event
        else entry
        for entry, event in zip(entries, told, strict=True)
    ]


def _told(entry: Entry) -> dict[str, Any]:
    """What an entry tells. Raises ValueError where it is no event."""
    told = read_json(entry.event)
    if not isinstance(told, dict) or not isinstance(told.get("data"), dict):
        raise ValueError("it has no data")
    for name in ("id", "type", "subject"):
        if not isinstance(told.get(name), str):
            raise ValueError(f"its {name} is no text")
    return told


def deliveries_of(entries: Iterable[Entry], endpoints: Mapping[str, Endpoint]) -> Iterator[ForEndpoint]:
    """Each event with each endpoint that it goes to."""
    for entry in entries:
        try:
            told = _told(entry)
            notify = read_json(entry.notify or "[]")
            for name, endpoint in endpoints.items():
                named = name in notify and endpoint.tenant == (entry.tenant or None)
                if fits(endpoint, told, tenant=entry.tenant or None, named=named, names_others=bool(notify)):
                    yield ForEndpoint(
                        endpoint=name,
                        id=told["id"],
                        event=for_tenant(entry.event) if endpoint.tenant else entry.event,
                        type=told["type"],
                        job=told["subject"],
                        at_ms=int(entry.position.partition("-")[0]),
                        named=named,
                    )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # Somebody's who can write there; another would find no more in it.
            log.warning("entry %s of %s is no event: %r", entry.position, names.EVENTS_KEY, error)


def fits(endpoint: Endpoint, told: Mapping[str, Any], *, tenant: str | None, named: bool, names_others: bool) -> bool:
    """Whether an event of a `tenant`'s job goes to an endpoint, which the job names, or names others of.

    What a tenant names says which of its own endpoints hear of the job: those of nobody's hear all the same.
    """
    if kind_of(told["type"]) not in endpoint.events or endpoint.tenant not in (None, tenant):
        return False
    if not endpoint.labels.items() <= told["data"]["labels"].items():
        return False
    if endpoint.jobs == "named":
        return named
    return endpoint.jobs == "all" or named or not (names_others and endpoint.tenant == tenant)
