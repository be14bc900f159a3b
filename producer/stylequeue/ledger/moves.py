"""The moves a job can make, each one Lua script: its arguments and what its answer means. No input or output here.

A script finds its arguments by their names here in the table `arg`. Event drafts are text in it: most moves tell only
one of those they bring, and scripts splice the text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Generic, Literal, TypeVar

from ..contract.base import QUEUES
from ..contract.errors import Code
from ..contract.events import (
    NAMESPACE,
    Accepted,
    AcceptedData,
    Cancelled,
    CancelledData,
    EventData,
    Expired,
    ExpiredData,
    Failed,
    FailedData,
    KnownEvent,
    Progress,
    ProgressData,
    Started,
    StartedData,
    Succeeded,
    SucceededData,
    TerminalEvent,
)
from ..contract.job import Job
from ..contract.recipe import ALL_NEEDS, Needs
from ..contract.status import JobState
from ..settings import MAX_DEADLINE_S, Settings
from . import names
from .draft import Draft
from .record import Record
from .registry import LiveWorker, any_of, lacking

_T = TypeVar("_T")

HEARTBEATS = 3
"""Without a word of a worker, after which it is taken for gone."""
_WAKE = 10
"""Jobs of each kind that a worker wakes with a heartbeat: another one, which cannot paint them, may be quicker to take
them, and they go to sleep again."""

TerminalData = SucceededData | FailedData | CancelledData | ExpiredData


@cache
def script(name: str) -> str:
    """The Lua text of a move, with the keys' names and what all moves share in front."""
    here = files(__package__)
    return "\n".join((names.lua(), *((here / f"{part}.lua").read_text() for part in ("common", name))))


@dataclass(frozen=True)
class Move(Generic[_T]):
    """One atomic change of the ledger."""

    name: str
    args: tuple[str, str]
    """The deployment's limits and the script's arguments, each a JSON object."""
    parse: Callable[[Any], _T]


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
    """`new`: recorded now. `known`: the same job was there. `conflict`: the id is another's. `full`: no room."""

    verdict: Literal["new", "known", "conflict", "full"]
    state: str


@dataclass(frozen=True)
class ClaimAnswer:
    """`yours`: paint it. `held`: another attempt has it. `early`: not yet. `ended`. `conflict`: another job's id.

    `gone`: the job was deleted, or forgotten long after its end. `lacking`: it waits for a worker with its network now.
    """

    verdict: Literal["yours", "held", "early", "lacking", "ended", "conflict", "gone"]
    found: Record | None

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

    verdict: Literal["done", "lost", "cancelled", "asked", "ended", "unknown", "noted", "expired", "open"]
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


HeartbeatAnswer = Literal["go_on", "cancel", "keep", "overdue", "lost"]
PutBackAnswer = Literal["queued", "cancelled", "failed", "lost"]
ReplayAnswer = Literal["queued", "open", "succeeded", "unknown"]
DeleteAnswer = Literal["deleted", "open", "unknown"]

_ENDS: dict[type, tuple[type[TerminalEvent], JobState]] = {
    SucceededData: (Succeeded, "succeeded"),
    FailedData: (Failed, "failed"),
    CancelledData: (Cancelled, "cancelled"),
    ExpiredData: (Expired, "expired"),
}


class Moves:
    """Makes the moves of one deployment."""

    def __init__(self, settings: Settings) -> None:
        self._deployment = settings.deployment
        self._lease_ms = int(settings.lease_s * 1000)
        self._worker_lives_ms = int(HEARTBEATS * settings.heartbeat_s * 1000)
        self._limits = json.dumps(
            {
                "namespace": NAMESPACE.hex,
                "job_events": settings.job_events,
                "deployment_events": settings.deployment_events,
                "record_ttl_ms": settings.record_ttl_s * 1000,
                "job_deadline_ms": settings.job_deadline_s * 1000,
                "max_deadline_ms": MAX_DEADLINE_S * 1000,
                "max_attempts": settings.max_attempts,
                "max_open_jobs": settings.max_open_jobs,
                "max_dead_letters": settings.max_dead_letters,
                "max_dead_letters_bytes": settings.max_dead_letters_bytes,
            }
        )

    def accept(self, job: Job, *, task_id: str, tenant: str | None) -> Move[AcceptAnswer]:
        """Record a job as `queued`."""
        return self._move(
            "accept",
            id=job.id,
            job=_fields(job, task_id) | ({"tenant": tenant} if tenant else {}),
            accepted=self._accepted(job.id, job.queue_name),
            parse=lambda a: AcceptAnswer(a[0], a[1]),
        )

    def claim(
        self,
        job: Job,
        *,
        task_id: str,
        worker: str,
        token: str,
        queue: str,
        recorded: bool,
        timing: Timing = ANY_TIME,
        lacks: Needs = (),
    ) -> Move[ClaimAnswer]:
        """Take a job for painting; `token` tells one claim from another."""
        return self._move(
            "claim",
            id=job.id,
            job=_fields(job, task_id, queue, timing),
            token=token,
            worker=worker,
            lease_ms=self._lease_ms,
            recorded=recorded,
            lacks=any_of(lacks),
            accepted=self._accepted(job.id, job.queue_name),
            started=self._draft(Started, job.id, StartedData(worker=worker)),
            expired=self._draft(Expired, job.id, ExpiredData.late()),
            exhausted=self._exhausted(job.id, "the worker that had it was not heard of any more"),
            cancelled=self._draft(Cancelled, job.id, CancelledData.by_request()),
            parse=lambda a: ClaimAnswer(a[0], Record.from_redis(_pairs(a[1])) if a[1] else None),
        )

    def heartbeat(self, job_id: str, *, fence: int, data: ProgressData | None) -> Move[HeartbeatAnswer]:
        """Renew the lease, tell how far the holder is if that is news, and hear whether to go on."""
        return self._move(
            "heartbeat",
            id=job_id,
            fence=str(fence),
            lease_ms=self._lease_ms,
            number=data.number if data else 0,
            progress=self._draft(Progress, job_id, data) if data else "",
        )

    def reserve(self, job_id: str, *, fence: int, fingerprint: str, forget: bool) -> Move[ReserveAnswer]:
        """Ask whether to paint the picture named by `fingerprint`; `forget` what was painted, the store lost it."""
        return self._move(
            "reserve",
            id=job_id,
            fence=str(fence),
            fingerprint=fingerprint,
            forget=forget,
            parse=lambda a: ReserveAnswer(a[0], a[1]),
        )

    def put_back(
        self, job_id: str, *, fence: int, error: str, delay_s: float, charged: bool, late: bool
    ) -> Move[PutBackAnswer]:
        """Give the job back to the queue; `late`: only if its lease ran out."""
        return self._move(
            "put_back",
            id=job_id,
            fence=str(fence),
            error=error,
            delay_ms=int(delay_s * 1000),
            charged=charged,
            if_lease_ran_out=late,
            exhausted=self._exhausted(job_id, error),
            cancelled=self._draft(Cancelled, job_id, CancelledData.by_request()),
        )

    def finish(self, job_id: str, *, fence: int, data: TerminalData, painted: str) -> Move[EndAnswer]:
        """End the job, with its picture or without; `painted`: what others may reuse, as JSON, or ""."""
        kind, state = _ENDS[type(data)]
        return self._move(
            "finish",
            id=job_id,
            fence=str(fence),
            state=state,
            terminal=self._draft(kind, job_id, data),
            painted=painted,
            parse=_end,
        )

    def cancel(self, job_id: str, *, keep: bool = False, task_id: str = "") -> Move[EndAnswer]:
        """End a queued job; ask the holder of a running one to end it, keeping the picture so far if `keep`.

        `task_id`: the Celery task that was revoked, if that is how; an unknown one is noted for when it comes.
        """
        return self._move(
            "cancel",
            id=job_id,
            task_id=task_id,
            wanted="keep" if keep else "cancel",
            cancelled=self._draft(Cancelled, job_id, CancelledData.by_request()),
            parse=_end,
        )

    def expire(self, job_id: str) -> Move[EndAnswer]:
        """End an open job whose deadline has passed."""
        return self._move("expire", id=job_id, expired=self._draft(Expired, job_id, ExpiredData.late()), parse=_end)

    def replay(self, job_id: str, *, queue: str) -> Move[ReplayAnswer]:
        """Begin another run of a job that ended without a picture."""
        return self._move("replay", id=job_id, accepted=self._accepted(job_id, queue))

    def delete(self, job_id: str) -> Move[DeleteAnswer]:
        """Forget an ended job, or a dead letter."""
        return self._move("delete", id=job_id)

    def refuse(self, task_id: str, *, queue: str, message: str, data: FailedData, job: str) -> Move[str]:
        """Put a message that holds no valid job on record, failed, and among the dead letters, under its task id.

        `job`: what it holds in place of one, as canonical JSON.
        """
        return self._move(
            "refuse",
            id=task_id,
            job={"job": "", "digest": _digest(job), "queue": queue, "task_id": task_id, "labels": "{}"},
            failed=self._draft(Failed, task_id, data),
            letter={"queue": queue, "code": data.code, "reason": data.message, "message": message},
            parse=lambda a: str(a[1]),
        )

    def bury(self, letter_id: str, *, queue: str, code: str, reason: str, message: str) -> Move[str]:
        """Put a message that is no task at all among the dead letters."""
        letter = {"queue": queue, "code": code, "reason": reason, "message": message}
        return self._move("bury", id=letter_id, letter=letter)

    def take_due(self, count: int) -> Move[list[DueMessage]]:
        """Take jobs for which a fresh message is due; the taker sends it."""
        return self._move(
            "take_due", count=count, parse=lambda a: [DueMessage(*a[n : n + 4]) for n in range(0, len(a), 4)]
        )

    def overdue(self, count: int) -> Move[Overdue]:
        """Ids of jobs with which something should have happened by now."""
        return self._move("overdue", count=count, told_within_ms=self._lease_ms, parse=lambda a: Overdue(*a))

    def register(self, worker: LiveWorker) -> Move[int]:
        """Have a worker on record until it was not heard of for three heartbeats, and wake jobs that wait for one."""
        return self._move(
            "register",
            worker_name=worker.name,
            worker=worker.model_dump_json(),
            lives_ms=self._worker_lives_ms,
            lacking=[lacking(queue, needs) for queue in worker.queues for needs in ALL_NEEDS if worker.has(needs)],
            wake=_WAKE,
        )

    def _accepted(self, job_id: str, queue: str) -> str:
        return self._draft(Accepted, job_id, AcceptedData(queue=queue))

    def _exhausted(self, job_id: str, error: str) -> str:
        data = FailedData(
            code=Code.ATTEMPTS_EXHAUSTED,
            message="every attempt the job had came to harm",
            hint=f"the last one: {error}; `stylequeue dead replay` runs it again",
        )
        return self._draft(Failed, job_id, data)

    def _draft(self, kind: type[KnownEvent], job_id: str, data: EventData) -> str:
        return Draft.of(kind, deployment=self._deployment, job_id=job_id, data=data).to_json()

    def _move(self, name: str, *, parse: Callable[[Any], _T] = lambda answer: answer, **arguments: object) -> Move[_T]:
        return Move(name, (self._limits, json.dumps(arguments)), parse)


def _end(answer: Sequence[Any]) -> EndAnswer:
    return EndAnswer(answer[0], answer[1])


def _fields(job: Job, task_id: str, queue: str = "", timing: Timing = ANY_TIME) -> dict[str, str | int | float]:
    """A job as the scripts take it; `queue` is where its message was found, for jobs that name none."""
    text = job.canonical_json()
    fields: dict[str, str | int | float] = {
        "job": text,
        "digest": _digest(text),
        "queue": queue if queue in QUEUES and job.queue is None else job.queue_name,
        "task_id": task_id,
        "labels": json.dumps(job.labels),
    }
    if deadlines := [moment for moment in (job.deadline, timing.deadline) if moment is not None]:
        fields["deadline_ms"] = _ms(min(deadlines))
    if timing.not_before is not None:
        fields["not_before_ms"] = _ms(timing.not_before)
    if timing.time_limit_s is not None:
        fields["time_limit_s"] = timing.time_limit_s
    return fields


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
