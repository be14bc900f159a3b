"""What a message says of a job's time, and what the ledger's moves answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from .record import Record


@dataclass(frozen=True)
class Timing:
    """What a sender says by Celery's own means of when it wants its job done; the first sender of a job counts."""

    not_before: datetime | None = None
    """Celery's `eta` or `countdown`."""
    deadline: datetime | None = None
    """Celery's `expires`. The job's own deadline holds as well."""
    time_limit_s: float | None = None
    """Of each attempt, shorter than the worker's own."""


ANY_TIME = Timing()


@dataclass(frozen=True)
class AcceptAnswer:
    """`new`: recorded now. `known`: the same job was there. `conflict`: the id is another's. `full`: no room.

    `too_many`: its tenant has as many open jobs as it may.
    """

    verdict: Literal["new", "known", "conflict", "full", "too_many"]
    state: str
    gave_way: bool
    """Whether something else was known by its id, of which whoever waits for the job may have been told."""


@dataclass(frozen=True)
class ThrottleAnswer:
    """Whether a tenant may have what it asks for now, and how often it may still ask."""

    allowed: bool
    left: int
    again_in_s: float
    """Until it may ask for as much as now; 0 where it may."""
    whole_in_s: float
    """Until it may ask for as much at once as it ever may."""


@dataclass(frozen=True)
class ClaimAnswer:
    """`yours`: paint it. `held`: another attempt has it. `early`: not yet. `ended`. `conflict`: another job's id.

    `gone`: the job was deleted, or forgotten long after its end. `closed`: its queue is paused, or the worker drained.
    `lacking`: it waits for a worker with its network now.
    """

    verdict: Literal["yours", "held", "early", "closed", "lacking", "ended", "conflict", "gone"]
    found: Record | None
    is_heard: bool
    """Whether who waits for the message's Celery task may hear of this: it is no other job's."""
    is_new: bool
    """Whether the job had no record before."""
    waited_s: float = 0.0
    """From when the attempt was due to the claim, by Redis's clock."""

    @property
    def record(self) -> Record:
        """The job's record after the claim. Raises LookupError where the job is gone."""
        if self.found is None:
            raise LookupError("the job is gone")
        return self.found


@dataclass(frozen=True)
class ReserveAnswer:
    """`paint` it. `reuse` what `painted` says. `wait`: another job paints it, this one is parked. `lost`: the fence."""

    verdict: Literal["paint", "reuse", "wait", "lost"]
    painted: str


@dataclass(frozen=True)
class EndAnswer:
    """What became of the wish to end a job, and the terminal event if there is one."""

    verdict: Literal["done", "lost", "cancelled", "asked", "ended", "unknown", "expired", "open"]
    event: str


@dataclass(frozen=True)
class RefuseAnswer:
    """`ended`: it was that job's own message. `foreign`: its Celery task is a job's, of which it says nothing.

    `refused`: on record under its task's id, with the event. `buried`: only among the dead letters.
    """

    verdict: Literal["ended", "foreign", "refused", "buried"]
    event: str


@dataclass(frozen=True)
class Overdue:
    """Ids of running jobs not heard of, of open jobs past their deadline, of ended jobs of which nobody was told."""

    lease_ran_out: list[str]
    deadline_passed: list[str]
    untold: list[str]


@dataclass(frozen=True)
class DueMessage:
    """A queued job for which a fresh message is to be sent."""

    job_id: str
    job: str
    """As JSON; a newer producer may have written it."""
    queue: str
    task_id: str
    traceparent: str
    """Its trace context; "": it has none."""


HeartbeatAnswer = Literal["go_on", "cancel", "keep", "overdue", "leave", "lost"]
PutBackAnswer = Literal["queued", "cancelled", "failed", "lost"]
ReplayAnswer = Literal["queued", "open", "succeeded", "unknown", "too_many"]
DeleteAnswer = Literal["deleted", "open", "unknown"]
