"""What the ledger keeps of a job, a dead letter, a delivery. What others may know of them is in the contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ..contract.delivery import Delivery
from ..contract.errors import InvalidJob
from ..contract.events import Progress, read_event
from ..contract.recipe import Needs, Recipe, networks_of
from ..contract.scope import Scope
from ..contract.status import TERMINAL_STATES, DeadLetter, Glance, JobState, JobStatus
from ..contract.trace import HEADER, traceparent_of


class Record(BaseModel):
    """One job's record."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: JobState | str
    run: int
    attempt: int
    spared: int = Field(0, description="Attempts of this run that were not charged to it.")
    sequence: int = Field(description="Grows with every event.")
    fence: int = Field(description="Grows with every claim; writes with an older one are refused.")
    queue: str
    task_id: str = Field(description="Celery's id, under which the result is stored.")
    job: str = Field(description="The job as JSON; empty where the message was no job.")
    labels: dict[str, str] = Field(default_factory=dict, description="The job's own.")
    tenant: str | None = Field(None, description="Whose job it is, where its client was bound to a tenant.")
    scope: Scope | None = Field(None, description="What it may read and write in the store; None: what workers may.")
    notify: tuple[str, ...] = Field((), description="The endpoints that its sender names.")
    traceparent: str | None = Field(None, description="The W3C trace context that it came with.")
    created_at: datetime
    updated_at: datetime
    deadline_at: datetime
    not_before: datetime | None = Field(None, description="When a queued job's next attempt is due.")
    time_limit_s: float | None = Field(None, description="Of each attempt, as its sender asked by Celery's own means.")
    lease_until: datetime | None = None
    worker: str | None = None
    progress: str = Field("", description="The newest event of its kind, as JSON; a newer worker may have told it.")
    last_error: str | None = Field(None, description="Why the attempt before this one ended.")
    fingerprint: str | None = None
    waits_for: str | None = Field(None, description="Fingerprint of the same picture, which another job paints now.")
    outcome: str = Field("", description="The terminal event exactly as stored, likewise.")

    @classmethod
    def from_redis(cls, fields: Mapping[str, str]) -> Record:
        """A record from its Redis hash."""
        return cls.model_validate(
            {
                **{name: fields[name] for name in ("id", "state", "run", "attempt", "sequence", "fence")},
                **{name: fields[name] for name in ("queue", "task_id", "job")},
                "labels": _labels(fields),
                "tenant": fields.get("tenant"),
                "scope": json.loads(fields["scope"]) if "scope" in fields else None,
                "notify": json.loads(fields.get("notify", "[]")),
                "traceparent": traceparent_of(fields.get(HEADER)),
                "created_at": _moment(fields["created_ms"]),
                "updated_at": _moment(fields["updated_ms"]),
                "deadline_at": _moment(fields["deadline_ms"]),
                "not_before": _moment(fields["not_before_ms"]) if "not_before_ms" in fields else None,
                "time_limit_s": fields.get("time_limit_s"),
                "lease_until": _moment(fields["lease_until_ms"]) if "lease_until_ms" in fields else None,
                "worker": fields.get("worker"),
                "spared": fields.get("spared", 0),
                "last_error": fields.get("last_error") or None,
                "fingerprint": fields.get("fingerprint"),
                "waits_for": fields.get("waits_for"),
                "progress": fields.get("progress", ""),
                "outcome": fields.get("outcome", ""),
            }
        )

    @cached_property
    def fields(self) -> dict[str, Any] | None:
        """The job as its producer wrote it, a newer one maybe; None where the message was no job."""
        return dict(json.loads(self.job)) if self.job else None

    @property
    def ended(self) -> bool:
        """Whether the job's life is over."""
        return self.state in TERMINAL_STATES

    @cached_property
    def needs(self) -> Needs:
        """The networks any of which can paint the job; none where this version cannot read its recipe."""
        return _needs(json.dumps((self.fields or {}).get("recipe")))

    @property
    def status(self) -> JobStatus:
        """What others may know: neither fence nor task id."""
        return JobStatus.model_validate(
            {
                **dict(self),
                "job": self.fields,
                "waits_for": None,
                "progress": _progress(self.progress),
                "outcome": read_event(self.outcome) if self.outcome else None,
            }
        )


FIELDS = (
    *("id", "state", "run", "attempt", "spared", "sequence", "fence", "queue", "task_id", "job", "labels", "tenant"),
    *("scope", "notify", "traceparent", "created_ms", "updated_ms", "deadline_ms", "not_before_ms", "time_limit_s"),
    *("lease_until_ms", "worker", "progress", "last_error", "fingerprint", "waits_for", "outcome"),
)
"""Of a job's hash, what `Record.from_redis` reads."""
GLANCE_FIELDS = ("id", "state", "sequence", "labels", "tenant", "progress")
"""Of a job's hash, what `glance_from_redis` is made of."""


def glance_from_redis(fields: Mapping[str, str]) -> Glance:
    """How far a job is, from its Redis hash, or what of it `GLANCE_FIELDS` names."""
    return Glance(
        id=fields["id"],
        state=fields["state"],
        sequence=int(fields["sequence"]),
        labels=_labels(fields),
        tenant=fields.get("tenant"),
        progress=_progress(fields.get("progress", "")),
    )


def dead_letter_from_redis(fields: Mapping[str, str]) -> DeadLetter:
    """A dead letter from its Redis hash."""
    # One of before they had kinds: only jobs had attempts.
    kind = "message" if fields["attempts"] == "0" else "job"
    return DeadLetter.model_validate({"kind": kind, **fields, "buried_at": _moment(fields["buried_ms"])})


def delivery_from_redis(fields: Mapping[str, str]) -> Delivery:
    """A delivery from its Redis hash."""
    waits = fields["state"] == "pending"
    return Delivery.model_validate(
        {
            **fields,
            "made_at": _moment(fields["made_ms"]),
            "next_at": _moment(fields["next_ms"]) if waits else None,
            "attempts": json.loads(f"[{fields['attempts']}]"),
        }
    )


_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)


@lru_cache(maxsize=1024)
def _needs(recipe: str) -> Needs:
    """Of a recipe as JSON; many jobs have the same."""
    try:
        return networks_of(_RECIPE.validate_json(recipe))
    except (ValidationError, InvalidJob):
        return ()


def _progress(text: str) -> Progress | None:
    event = read_event(text) if text else None
    return event if isinstance(event, Progress) else None


def _labels(fields: Mapping[str, str]) -> dict[str, str]:
    if "labels" in fields:
        return dict(json.loads(fields["labels"]))
    # A record of before labels were a field of it.
    return dict(json.loads(fields["job"]).get("labels", {})) if fields["job"] else {}


def _moment(ms: str) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)
