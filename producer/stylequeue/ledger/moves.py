"""The moves a job can make, each one Lua script: its arguments and what its answer means. No input or output here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Generic, Literal, TypeVar

from ..events import (
    NAMESPACE,
    Accepted,
    AcceptedData,
    Draft,
    Expired,
    ExpiredData,
    Failed,
    FailedData,
    Progress,
    ProgressData,
    Started,
    StartedData,
    Succeeded,
    SucceededData,
)
from ..job import Job
from ..settings import Settings
from .record import Record, State

_T = TypeVar("_T")


@cache
def script(name: str) -> str:
    """The Lua text of a move, with what all moves share in front."""
    here = files(__package__)
    return "\n".join((here / f"{part}.lua").read_text() for part in ("common", name))


@dataclass(frozen=True)
class Move(Generic[_T]):
    """One atomic change of the ledger."""

    name: str
    args: tuple[str | int, ...]
    parse: Callable[[Any], _T]


@dataclass(frozen=True)
class AcceptAnswer:
    """`new`: recorded now. `known`: the same job was there. `conflict`: another job has the id."""

    verdict: Literal["new", "known", "conflict"]
    state: str


@dataclass(frozen=True)
class ClaimAnswer:
    """`yours`: paint it. `held`: another attempt has it. `ended`: nothing to do. `conflict`: another job has the id."""

    verdict: Literal["yours", "held", "ended", "conflict"]
    record: Record


@dataclass(frozen=True)
class FinishAnswer:
    """`done`, with the event as stored; or `lost`: the fence is stale and nothing was written."""

    verdict: Literal["done", "lost"]
    event: str


ProgressAnswer = Literal["go_on", "overdue", "lost"]


_ENDS: dict[type, tuple[type[Succeeded | Failed | Expired], State]] = {
    SucceededData: (Succeeded, "succeeded"),
    FailedData: (Failed, "failed"),
    ExpiredData: (Expired, "expired"),
}


class Moves:
    """Makes the moves of one deployment."""

    def __init__(self, settings: Settings) -> None:
        self._deployment = settings.deployment
        self._lease_ms = settings.job_time_limit_s * 1000
        self._limits = json.dumps(
            {
                "namespace": NAMESPACE.hex,
                "job_events": settings.job_events,
                "deployment_events": settings.deployment_events,
                "record_ttl_ms": settings.record_ttl_s * 1000,
                "job_deadline_ms": settings.job_deadline_s * 1000,
            }
        )

    def accept(self, job: Job, *, task_id: str) -> Move[AcceptAnswer]:
        """Record a job as `queued`."""
        return self._move(
            "accept", job.id, _fields(job, task_id), self._accepted(job), parse=lambda a: AcceptAnswer(a[0], a[1])
        )

    def claim(self, job: Job, *, task_id: str, worker: str, token: str, redelivered: bool) -> Move[ClaimAnswer]:
        """Take a job for painting; `token` tells one claim from another."""
        claim = {"token": token, "worker": worker, "lease_ms": self._lease_ms, "redelivered": redelivered}
        return self._move(
            "claim",
            job.id,
            _fields(job, task_id),
            self._accepted(job),
            json.dumps(claim),
            self._draft(Started, job.id, StartedData(labels=job.labels, worker=worker)),
            self._draft(Expired, job.id, ExpiredData.late(job.labels)),
            parse=lambda a: ClaimAnswer(a[0], Record.from_redis(_pairs(a[1]))),
        )

    def progress(self, job_id: str, *, fence: int, data: ProgressData) -> Move[ProgressAnswer]:
        """Tell how far the holder of `fence` is."""
        draft = self._draft(Progress, job_id, data)
        return self._move("progress", job_id, fence, data.number, draft, parse=lambda a: a)

    def finish(self, job_id: str, *, fence: int, data: SucceededData | FailedData | ExpiredData) -> Move[FinishAnswer]:
        """End the job, with its picture or without."""
        kind, state = _ENDS[type(data)]
        draft = self._draft(kind, job_id, data)
        return self._move("finish", job_id, fence, state, draft, parse=lambda a: FinishAnswer(a[0], a[1]))

    def refuse(self, task_id: str, *, queue: str, data: FailedData) -> Move[str]:
        """Put a message that is no job on record, failed, under its task id. Answers with the event."""
        fields = {"job": "", "digest": "", "queue": queue, "task_id": task_id}
        draft = self._draft(Failed, task_id, data)
        return self._move("refuse", task_id, json.dumps(fields), draft, parse=lambda a: str(a[1]))

    def _accepted(self, job: Job) -> str:
        return self._draft(Accepted, job.id, AcceptedData(labels=job.labels, queue=job.queue_name))

    def _draft(self, kind: Any, job_id: str, data: Any) -> str:
        return Draft.of(kind, deployment=self._deployment, job_id=job_id, data=data).to_json()

    def _move(self, name: str, *args: str | int, parse: Callable[[Any], _T]) -> Move[_T]:
        return Move(name, (self._limits, *args), parse)


def _fields(job: Job, task_id: str) -> str:
    text = job.canonical_json()
    fields: dict[str, str | int] = {
        "job": text,
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "queue": job.queue_name,
        "task_id": task_id,
    }
    if job.deadline is not None:
        fields["deadline_ms"] = int(job.deadline.timestamp() * 1000)
    return json.dumps(fields)


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
