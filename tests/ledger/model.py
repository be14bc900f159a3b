"""A plain model of the ledger: what it knows of jobs, and who paints what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from stylequeue.contract.job import Job

MAX_ATTEMPTS = 2

State = Literal["queued", "running", "failed", "cancelled", "expired"]


@dataclass
class Known:
    """What the model knows of a job."""

    state: State = "queued"
    tenant: str | None = None
    run: int = 1
    fence: int = 0
    attempt: int = 0
    spared: int = 0
    due: bool = False
    """A fresh message is to be sent now."""
    early: bool = False
    """Its next attempt is not due yet."""
    late: bool = False
    """Its deadline has passed."""
    lease_lost: bool = False
    wanted: str = "go_on"
    fingerprint: str | None = None
    waits_for: str | None = None
    woken_for: str | None = None
    lacks: bool = False
    """It waits for a worker with its network."""
    sequence: int = 0

    @property
    def has_message(self) -> bool:
        """Where it is queued: it needs no fresh one, and waits for nothing but a worker."""
        return not (self.due or self.early or self.waits_for or self.lacks)

    @property
    def exhausted(self) -> bool:
        return self.attempt - self.spared >= MAX_ATTEMPTS


@dataclass(frozen=True)
class Claim:
    """A worker's memory of a job that it took; the ledger may have forgotten it."""

    job: Job
    fence: int


@dataclass
class Model:
    """All jobs, and who paints what."""

    still_waits: Callable[[str], bool]
    """Whether the ledger has the job wait for a picture: which of many are woken is its own choice."""
    jobs: dict[str, Known] = field(default_factory=dict)
    painting: dict[str, str] = field(default_factory=dict)
    painted: dict[str, str] = field(default_factory=dict)
    deleted: dict[str, Known] = field(default_factory=dict)

    def create(self, job_id: str, tenant: str | None = None) -> Known:
        """A new record, or the one there is; of a deleted job it goes on where the old one was."""
        if job_id not in self.jobs:
            last = self.deleted.pop(job_id, Known(run=0))
            self.jobs[job_id] = Known(tenant=tenant, run=last.run + 1, fence=last.fence, sequence=last.sequence)
        return self.jobs[job_id]

    def holds(self, claim: Claim) -> bool:
        known = self.jobs.get(claim.job.id)
        return known is not None and known.state == "running" and known.fence == claim.fence

    def release(self, job_id: str) -> None:
        """The job paints no longer: who waits for its picture gets a fresh message."""
        fingerprint = self.jobs[job_id].fingerprint
        if fingerprint and self.painting.get(fingerprint) == job_id:
            del self.painting[fingerprint]
            self.wake(fingerprint, 1)

    def wake(self, fingerprint: str, count: int) -> None:
        """So many of those that wait for the picture get a fresh message; any of them."""
        waiting = [job_id for job_id, known in self.jobs.items() if known.waits_for == fingerprint]
        woken = [job_id for job_id in waiting if not self.still_waits(job_id)]
        assert len(woken) == min(count, len(waiting))
        for job_id in woken:
            known = self.jobs[job_id]
            known.waits_for, known.woken_for, known.due = None, fingerprint, True

    def pass_on(self, job_id: str, count: int) -> None:
        """One that was woken has asked for its picture, or never will."""
        known = self.jobs[job_id]
        fingerprint, known.woken_for = known.woken_for, None
        if fingerprint:
            self.wake(fingerprint, count)

    def queue(self, job_id: str, *, charged: bool, early: bool) -> None:
        known = self.jobs[job_id]
        known.state, known.lease_lost = "queued", False
        known.spared += not charged
        known.early, known.due = early, not early
        self.release(job_id)

    def end(self, job_id: str, state: State) -> None:
        known = self.jobs[job_id]
        known.state, known.lease_lost, known.wanted = state, False, "go_on"
        known.due = known.early = known.lacks = False
        known.waits_for = None
        self.release(job_id)
        self.pass_on(job_id, 1)
