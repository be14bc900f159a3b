"""What the ledger knows of a job, as the status call gives it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ..contract.events import EVENT, Progress, TerminalEvent

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
TERMINAL_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled", "expired"})


class Record(BaseModel):
    """One job's record."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: JobState
    run: int
    attempt: int
    spared: int = Field(0, description="Attempts of this run that were not charged to it.")
    sequence: int = Field(description="Grows with every event.")
    fence: int = Field(description="Grows with every claim; writes with an older one are refused.")
    queue: str
    task_id: str = Field(description="Celery's id, under which the result is stored.")
    job: str = Field(description="The job as JSON; empty where the message was no job.")
    labels: dict[str, str] = Field(default_factory=dict, description="The job's own.")
    created_at: datetime
    updated_at: datetime
    deadline_at: datetime
    lease_until: datetime | None = None
    worker: str | None = None
    progress: Progress | None = None
    last_error: str | None = Field(None, description="Why the attempt before this one ended.")
    fingerprint: str | None = None
    outcome: TerminalEvent | None = None

    @classmethod
    def from_redis(cls, fields: Mapping[str, str]) -> Record:
        """A record from its Redis hash."""
        return cls.model_validate(
            {
                **{name: fields[name] for name in ("id", "state", "run", "attempt", "sequence", "fence")},
                **{name: fields[name] for name in ("queue", "task_id", "job")},
                "labels": _labels(fields),
                "created_at": _moment(fields["created_ms"]),
                "updated_at": _moment(fields["updated_ms"]),
                "deadline_at": _moment(fields["deadline_ms"]),
                "lease_until": _moment(fields["lease_until_ms"]) if "lease_until_ms" in fields else None,
                "worker": fields.get("worker"),
                "spared": fields.get("spared", 0),
                "last_error": fields.get("last_error") or None,
                "fingerprint": fields.get("fingerprint"),
                "progress": EVENT.validate_json(fields["progress"]) if "progress" in fields else None,
                "outcome": EVENT.validate_json(fields["outcome"]) if "outcome" in fields else None,
            }
        )

    @property
    def ended(self) -> bool:
        """Whether the job's life is over."""
        return self.state in TERMINAL_STATES


class DeadLetter(BaseModel):
    """A job whose attempts are used up, or a message that was no job."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="The job's id, the message's task id, or an id of the letter's own.")
    queue: str = Field(description="The queue the message came from.")
    code: str
    reason: str = Field(description="What was wrong, or the last attempt's error.")
    attempts: int
    message: str = Field(description="The exact message; of a job, the job as JSON.")
    buried_at: datetime = Field(validation_alias="buried_ms")


def _labels(fields: Mapping[str, str]) -> dict[str, str]:
    if "labels" in fields:
        return dict(json.loads(fields["labels"]))
    # A record of before labels were a field of it.
    return dict(json.loads(fields["job"]).get("labels", {})) if fields["job"] else {}


def _moment(ms: str) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)
