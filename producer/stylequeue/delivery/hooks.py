"""What operators do with endpoints: look at them, add one, try it out, send again what did not arrive."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..awaiting import run
from ..contract.base import check_name
from ..contract.delivery import Attempt, Delivery, EndpointStatus
from ..contract.errors import DeliveryNotFound, EndpointNotFound, InvalidRequest, InvalidSettings
from ..contract.events import source_of
from ..ledger import Ledger
from ..ledger.deliveries import Deliveries
from ..operator_file import Endpoint, OperatorFile, editing
from ..operator_file.endpoints import SECRET_PREFIX
from ..settings import Settings
from .deliverer import Sender
from .outbox import deliveries_of, whole
from .schedule import Answer

if TYPE_CHECKING:
    from ..contract.status import Page

TEST_TYPE = "io.stylequeue.endpoint.test.v1"
"""Of the event by which an endpoint is tried out."""
_SECRET_BYTES = 32
_AT_ONCE = 500
"""Events looked at for those that did not arrive."""


class Hooks:
    """The endpoints of the operator's file, all or a tenant's. Safe to share between threads.

    Any method raises InvalidSettings where the file cannot be read, EndpointNotFound for an endpoint that there is not,
    Unavailable where Redis does not answer; those that edit the file FileUnusable where it is not ours to write.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tenant: str | None = None,
        send: Callable[..., Answer] | None = None,
        ledger: Ledger | None = None,
        file: OperatorFile | None = None,
    ) -> None:
        self._settings = settings
        self._tenant = tenant
        self._send = send or Sender(settings).send
        self._file = file or OperatorFile(settings.operator_file)
        self._given_ledger = ledger

    @cached_property
    def _ledger(self) -> Ledger:
        return self._given_ledger or Ledger(self._settings)

    @cached_property
    def _deliveries(self) -> Deliveries:
        return Deliveries(self._ledger)

    def for_tenant(self, tenant: str | None) -> Hooks:
        """Those of a tenant, over the connections of these; None: all."""
        return Hooks(self._settings, tenant=tenant, send=self._send, ledger=self._ledger, file=self._file)

    def all(self) -> list[EndpointStatus]:
        """All endpoints, by their names, and how they fare."""
        return [self._status(name, endpoint) for name, endpoint in sorted(self._endpoints().items())]

    def status(self, name: str) -> EndpointStatus:
        """One of them."""
        return self._status(name, self._endpoint(name))

    def deliveries(
        self, name: str, *, state: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page[Delivery]:
        """Up to `limit` (1000) of an endpoint's deliveries, of the last 7 days, newest first. Raises InvalidRequest."""
        self._endpoint(name)
        return self._deliveries.list(name, state=state, after=after, limit=limit)

    def delivery(self, name: str, event_id: str) -> Delivery:
        """One of them, by its event's id. Raises DeliveryNotFound."""
        self._endpoint(name)
        return self._deliveries.delivery(name, event_id)

    def test(self, name: str) -> Attempt:
        """Send an event of a kind of its own, now and once, and return what came of that."""
        event_id, now = str(uuid.uuid4()), datetime.now(UTC)
        event = {
            "id": event_id,
            "specversion": "1.0",
            "source": source_of(self._settings.deployment),
            "subject": name,
            "type": TEST_TYPE,
            "time": now.isoformat(timespec="milliseconds"),
            "datacontenttype": "application/json",
            "data": {},
        }
        answer = self._send(self._endpoint(name), event_id, json.dumps(event, separators=(",", ":")))
        return Attempt(at=now, status=answer.status, took_ms=int(answer.took_s * 1000), said=answer.said)

    def replay(self, event_id: str, name: str | None = None) -> list[str]:
        """Send an event once more to an endpoint, or to all that were to have it, whatever came of that before.

        Returns their names. Raises DeliveryNotFound where none was.
        """
        replayed = []
        for endpoint in self._endpoints() if name is None else [self._named(name)]:
            try:
                self._deliveries.replay(endpoint, event_id)
                replayed.append(endpoint)
            except DeliveryNotFound:
                if name is not None:
                    raise
        if not replayed:
            raise DeliveryNotFound(event_id)
        return replayed

    def replay_since(self, since: datetime, name: str | None = None) -> dict[str, int]:
        """Send all events that happened since then, and did not arrive, to an endpoint, or to each that is to have it.

        What waits is sent at once, what was given up, missed or never known of as well; what arrived is not. Returns
        how many are sent, by endpoint. Events are looked for as far back as the deployment's stream goes.
        """
        endpoints = self._endpoints() if name is None else {name: self._endpoint(name)}
        counts = dict.fromkeys(endpoints, 0)
        seen: dict[str, set[str]] = {endpoint: set() for endpoint in endpoints}
        since_ms = int(since.timestamp() * 1000)
        position = f"{max(0, since_ms - 1)}-{2**63}"
        while entries := run(self._ledger.asked.entries(behind=position, count=_AT_ONCE)):
            position = entries[-1].position
            events = list(deliveries_of(whole(self._ledger, entries), endpoints))
            for endpoint in endpoints:
                missed = [event for event in events if event.endpoint == endpoint]
                seen[endpoint] |= {event.id for event in missed}
                counts[endpoint] += self._deliveries.deliver(missed, again=True)
        for endpoint in endpoints:
            counts[endpoint] += self._replay_forgotten(endpoint, since, seen[endpoint])
        return counts

    def _replay_forgotten(self, endpoint: str, since: datetime, seen: set[str]) -> int:
        """Deliveries whose events the stream keeps no longer."""
        count, after = 0, None
        while True:
            page = self._deliveries.list(endpoint, after=after, limit=_AT_ONCE)
            for delivery in page:
                if delivery.made_at < since:
                    return count
                if delivery.state != "delivered" and delivery.id not in seen:
                    self._deliveries.replay(endpoint, delivery.id)
                    seen.add(delivery.id)
                    count += 1
            if (after := page.after) is None:
                return count

    def enable(self, name: str) -> int:
        """Send to an endpoint again, and return how many deliveries are due now that waited."""
        return self._deliveries.enable(self._named(name))

    def add(self, name: str, fields: Mapping[str, Any]) -> str | None:
        """Write an endpoint into the operator's file, and return the secret made for it, if it is a webhook.

        Raises InvalidRequest where there is one of that name, InvalidSettings where `fields` make none.
        """
        check_name(name, "an endpoint", 64)
        secret = new_secret() if "url" in fields else None
        with editing(self._path) as document:
            endpoints = document.setdefault("endpoint", {})
            if name in endpoints:
                raise InvalidRequest(f"there is an endpoint {name!r}", "take another name, or edit the operator's file")
            endpoints[name] = {**fields, **({"secrets": [secret]} if secret else {})}
        return secret

    def rotate(self, name: str, *, only_newest: bool = False) -> str:
        """Write a new secret into the operator's file, before the one in use, by which messages stay known as well.

        `only_newest` leaves the one in use out, and makes none: it ends a rotation. Returns the secret that is first
        now. Raises InvalidRequest for an endpoint that has none.
        """
        if not self._endpoint(name).secrets:
            raise InvalidRequest(f"endpoint {name!r} is no webhook: it has no secrets", "its own service says who may")
        with editing(self._path) as document:
            table: Any = document["endpoint"][name]
            live = [str(secret) for secret in table["secrets"]]
            table["secrets"] = live[:1] if only_newest else [new_secret(), live[0]]
            return str(table["secrets"][0])

    def close(self) -> None:
        """Give the connections back, unless they are another's."""
        if "_ledger" in self.__dict__ and self._given_ledger is None:
            self._ledger.close()

    @property
    def _path(self) -> Path:
        if self._settings.operator_file is None:
            raise InvalidSettings("STYLEQUEUE_OPERATOR_FILE is not set", "name the file that endpoints are kept in")
        return self._settings.operator_file

    def _endpoints(self) -> dict[str, Endpoint]:
        found = self._file.now.endpoints.items()
        return {name: endpoint for name, endpoint in found if self._tenant in (None, endpoint.tenant)}

    def _endpoint(self, name: str) -> Endpoint:
        if (endpoint := self._endpoints().get(name)) is None:
            raise EndpointNotFound(name)
        return endpoint

    def _named(self, name: str) -> str:
        self._endpoint(name)
        return name

    def _status(self, name: str, endpoint: Endpoint) -> EndpointStatus:
        return EndpointStatus(
            name=name,
            kind=endpoint.kind,
            place=endpoint.place,
            events=endpoint.events,
            labels=endpoint.labels,
            tenant=endpoint.tenant,
            jobs=endpoint.jobs,
            secrets=len(endpoint.secrets),
            **dict(self._deliveries.health(name)),
        )


def new_secret() -> str:
    """A webhook's, as Standard Webhooks writes it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
