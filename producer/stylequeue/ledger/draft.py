"""Events on their way into the ledger."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from ..contract.events import EventData, KnownEvent, Progress, TerminalEvent, source_of


@dataclass(frozen=True)
class Draft:
    """An event on its way into the ledger, which alone knows its id, sequence, labels, run, attempt and tenant."""

    event_type: str
    envelope: str
    """JSON object: all but id, sequence and data."""
    data: str
    """JSON object: all but what the ledger sets, which are the fields of all events."""
    number: str = ""
    """What tells repeated events of one attempt apart."""
    terminal: bool = False
    """Ends the job."""
    lifecycle: bool = True
    """Goes to the deployment's stream too."""
    traceparent: str = ""
    """Trace context of whoever tells it; "": the one on record."""

    @classmethod
    def of(
        cls, kind: type[KnownEvent], *, deployment: str, job_id: str, data: EventData, traceparent: str = ""
    ) -> Draft:
        """An event of `kind` about `job_id` that happens now."""
        event_type: str = kind.model_fields["type"].default
        envelope = {
            "specversion": "1.0",
            "source": source_of(deployment),
            "subject": job_id,
            "type": event_type,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "datacontenttype": "application/json",
        }
        return cls(
            event_type=event_type,
            envelope=json.dumps(envelope, separators=(",", ":")),
            data=data.model_dump_json(exclude=set(EventData.model_fields)),
            number=str(getattr(data, "number", "")),
            terminal=issubclass(kind, TerminalEvent),
            lifecycle=kind is not Progress,
            traceparent=traceparent,
        )

    def to_json(self) -> str:
        """As the ledger's scripts take it."""
        return json.dumps(vars(self))
