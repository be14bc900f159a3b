"""The moves a job can make, each one Lua script: its arguments and what its answer means. No input or output here.

A script finds its arguments by their names here in the table `arg`. Event drafts are text in it: most moves tell only
one of those they bring, and scripts splice the text.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar

from ..contract.base import DEFAULT_QUEUE, MAX_ID_CHARS, QUEUES
from ..contract.errors import Code
from ..contract.events import (
    MAX_EVENT_BYTES,
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
from ..contract.recipe import Needs
from ..contract.scope import Scope
from ..contract.status import JobState, LetterKind
from ..setting_values import MAX_DEADLINE_S
from ..settings import Settings
from ..tracing import traceparent
from . import names
from .answers import (
    ANY_TIME,
    AcceptAnswer,
    ClaimAnswer,
    DeleteAnswer,
    EndAnswer,
    HeartbeatAnswer,
    PutBackAnswer,
    RefuseAnswer,
    ReplayAnswer,
    ReserveAnswer,
    ThrottleAnswer,
    Timing,
)
from .draft import Draft
from .histograms import BOUNDS, Observation
from .record import Record
from .registry import any_of

RATE_MINUTES = 5
"""Over which it is counted how many jobs of a queue end."""

_T = TypeVar("_T")
_Data = TypeVar("_Data", bound=EventData)

_CLOSED_MS = 1000
"""Until a fresh message is sent of a job whose queue is paused: workers that listen to it still will know by then."""
MAX_NOTE_CHARS = 2000
"""Of a message, hint or reason on record. What Redis refused for its size would be kept, and told again and again."""

_OF_DELIVERIES = {"deliver", "take_deliveries", "settle_delivery", "replay_delivery", "enable_endpoint"}

TerminalData = SucceededData | FailedData | CancelledData | ExpiredData


@cache
def script(name: str) -> str:
    """The Lua text of a move, with the keys' names and what all moves share in front."""
    here = files(__package__)
    parts = ("common", "waiting", "lives", *(("delivering",) if name in _OF_DELIVERIES else ()), name)
    return "\n".join((names.lua(), *((here / f"{part}.lua").read_text() for part in parts)))


@dataclass(frozen=True)
class Move(Generic[_T]):
    """One atomic change of the ledger."""

    name: str
    args: tuple[str, str]
    """The deployment's limits and the script's arguments, each a JSON object."""
    parse: Callable[[Any], _T]


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
        self._limits = json.dumps(
            {
                "namespace": NAMESPACE.hex,
                "database": str(settings.redis.database),
                "max_id_chars": MAX_ID_CHARS,
                "max_event_bytes": MAX_EVENT_BYTES,
                "job_events": settings.job_events,
                "deployment_events": settings.deployment_events,
                "record_ttl_ms": settings.record_ttl_s * 1000,
                "rate_kept_ms": (RATE_MINUTES + 2) * 60_000,
                "job_deadline_ms": settings.job_deadline_s * 1000,
                "max_deadline_ms": MAX_DEADLINE_S * 1000,
                "max_attempts": settings.max_attempts,
                "max_open_jobs": settings.max_open_jobs,
                "indexed_labels": settings.indexed_labels,
                "max_dead_letters": settings.max_dead_letters,
                "max_dead_letters_bytes": settings.max_dead_letters_bytes,
            }
        )

    def accept(
        self,
        job: Job,
        *,
        task_id: str,
        tenant: str | None,
        scope: Scope | None = None,
        notify: Sequence[str] = (),
        max_open_jobs: int | None = None,
        once: bool = False,
        traceparent: str | None = None,
    ) -> Move[AcceptAnswer]:
        """Record a job as `queued`, and beside it what is no part of it.

        `notify` are the endpoints that it names, `max_open_jobs` is its tenant's limit. With `once` it is a conflict
        where it was deleted. `traceparent` is its trace context.
        """
        beside = {
            "tenant": tenant,
            "scope": scope and scope.model_dump_json(),
            "notify": json.dumps(list(notify)) if notify else None,
            "traceparent": traceparent,
        }
        limited = {"max_open_jobs": max_open_jobs} if tenant and max_open_jobs is not None else {}
        return self._move(
            "accept",
            id=job.id,
            job=_fields(job, task_id) | {name: value for name, value in beside.items() if value},
            accepted=self._accepted(job.id, job.queue_name),
            once=once,
            parse=lambda a: AcceptAnswer(a[0], a[1], bool(a[2])),
            **limited,
        )

    def throttle(self, tenant: str, *, rate_per_s: float, burst: int, count: int) -> Move[ThrottleAnswer]:
        """Let a tenant ask `count` times, if it may: `rate_per_s` in the long run, `burst` at once."""
        return self._move(
            "throttle",
            tenant=tenant,
            interval_us=1e6 / rate_per_s,
            burst=burst,
            count=count,
            parse=lambda a: ThrottleAnswer(bool(a[0]), int(a[1]), a[2] / 1e6, a[3] / 1e6),
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
        traceparent: str | None = None,
    ) -> Move[ClaimAnswer]:
        """Take a job for painting; `token` tells one claim from another."""
        return self._move(
            "claim",
            id=job.id,
            job=_fields(job, task_id, queue, timing) | ({"traceparent": traceparent} if traceparent else {}),
            token=token,
            worker=worker,
            lease_ms=self._lease_ms,
            recorded=recorded,
            lacks=any_of(lacks),
            closed_ms=_CLOSED_MS,
            wait_bounds_s=BOUNDS["wait_s"],
            accepted=self._accepted(job.id, job.queue_name),
            started=self._draft(Started, job.id, StartedData(worker=worker)),
            expired=self._draft(Expired, job.id, ExpiredData.late()),
            exhausted=self._exhausted(job.id, "the worker that had it was not heard of any more"),
            cancelled=self._draft(Cancelled, job.id, CancelledData.by_request()),
            parse=lambda a: ClaimAnswer(
                a[0], Record.from_redis(_pairs(a[1])) if a[1] else None, bool(a[2]), bool(a[3]), a[4] / 1000
            ),
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
            error=_cut(error),
            delay_ms=int(delay_s * 1000),
            charged=charged,
            if_lease_ran_out=late,
            exhausted=self._exhausted(job_id, error),
            cancelled=self._draft(Cancelled, job_id, CancelledData.by_request()),
        )

    def finish(
        self, job_id: str, *, fence: int, data: TerminalData, painted: str, observed: Sequence[Observation] = ()
    ) -> Move[EndAnswer]:
        """End the job, with its picture or without; `painted`: what others may reuse, as JSON, or ""."""
        kind, state = _ENDS[type(data)]
        return self._move(
            "finish",
            id=job_id,
            fence=str(fence),
            state=state,
            terminal=self._draft(kind, job_id, _within_bounds(data), traceparent() or ""),
            painted=painted,
            reused=isinstance(data, SucceededData) and data.reused,
            observed=[seen.as_dict() for seen in observed],
            parse=lambda a: EndAnswer(*a),
        )

    def cancel(self, job_id: str, *, keep: bool = False) -> Move[EndAnswer]:
        """End a queued job; ask the holder of a running one to end it, keeping the picture so far if `keep`."""
        return self._move(
            "cancel",
            id=job_id,
            wanted="keep" if keep else "cancel",
            cancelled=self._draft(Cancelled, job_id, CancelledData.by_request()),
            parse=lambda a: EndAnswer(*a),
        )

    def expire(self, job_id: str) -> Move[EndAnswer]:
        """End an open job whose deadline has passed."""
        return self._move(
            "expire", id=job_id, expired=self._draft(Expired, job_id, ExpiredData.late()), parse=lambda a: EndAnswer(*a)
        )

    def replay(self, job_id: str, *, queue: str, max_open_jobs: int | None = None) -> Move[ReplayAnswer]:
        """Begin another run of a job that ended without a picture; `max_open_jobs` is its tenant's limit."""
        limited: dict[str, Any] = {} if max_open_jobs is None else {"max_open_jobs": max_open_jobs}
        return self._move("replay", id=job_id, accepted=self._accepted(job_id, queue), **limited)

    def delete(self, job_id: str) -> Move[DeleteAnswer]:
        """Forget an ended job, or a dead letter."""
        return self._move("delete", id=job_id)

    def refuse(
        self, task_id: str, *, queue: str, message: str, data: FailedData, job: str, named: str, on_record: bool
    ) -> Move[RefuseAnswer]:
        """Bury a message that holds no valid job, and end the job that it would have been."""
        data = _within_bounds(data)
        fields = {"job": "", "digest": "", "queue": queue if queue in QUEUES else DEFAULT_QUEUE}
        return self._move(
            "refuse",
            task_id=task_id,
            named=named,
            digest=_digest(job) if job else "",
            on_record=on_record,
            job={**fields, "task_id": task_id, "labels": "{}"},
            failed=self._draft(Failed, task_id, data),
            failed_named=self._draft(Failed, named, data),
            letter_id=letter_id(),
            letter={"kind": "message", "queue": queue, "code": data.code, "reason": data.message, "message": message},
            parse=lambda a: RefuseAnswer(a[0], a[1]),
        )

    def bury(
        self, letter_id: str, *, queue: str, code: str, reason: str, message: str, kind: LetterKind = "message"
    ) -> Move[str]:
        """Put what came among the dead letters as it is."""
        letter = {"kind": kind, "queue": queue, "code": code, "reason": _cut(reason), "message": message}
        return self._move("bury", id=letter_id, letter=letter)

    def _accepted(self, job_id: str, queue: str) -> str:
        return self._draft(Accepted, job_id, AcceptedData(queue=queue))

    def _exhausted(self, job_id: str, error: str) -> str:
        data = FailedData(
            code=Code.ATTEMPTS_EXHAUSTED,
            message="every attempt the job had came to harm",
            hint=f"the last one: {_cut(error)}; `stylequeue dead replay` runs it again",
        )
        return self._draft(Failed, job_id, data)

    def _draft(self, kind: type[KnownEvent], job_id: str, data: EventData, traceparent: str = "") -> str:
        return Draft.of(kind, deployment=self._deployment, job_id=job_id, data=data, traceparent=traceparent).to_json()

    def _move(self, name: str, *, parse: Callable[[Any], _T] = lambda answer: answer, **arguments: object) -> Move[_T]:
        return Move(name, (self._limits, json.dumps(arguments)), parse)


def _cut(text: str) -> str:
    """What went wrong, in a length that Redis takes: libraries, and whoever is behind them, say what they like."""
    return text if len(text) <= MAX_NOTE_CHARS else f"{text[:MAX_NOTE_CHARS]} [cut here, {len(text)} characters in all]"


def _within_bounds(data: _Data) -> _Data:
    if not isinstance(data, FailedData):
        return data
    return data.model_copy(update={"message": _cut(data.message), "hint": _cut(data.hint)})


def letter_id() -> str:
    """A new one, for a message that has none of its own."""
    return f"message-{uuid.uuid4().hex}"


def _fields(job: Job, task_id: str, queue: str = "", timing: Timing = ANY_TIME) -> dict[str, str | float]:
    """A job as the scripts take it; `queue` is where its message was found, for jobs that name none."""
    text = job.canonical_json()
    fields: dict[str, str | float] = {
        "job": text,
        "digest": _digest(text),
        "queue": queue if queue in QUEUES and job.queue is None else job.queue_name,
        "task_id": task_id,
        "labels": json.dumps(job.labels, ensure_ascii=False),
    }
    if deadlines := [moment for moment in (job.deadline, timing.deadline) if moment is not None]:
        fields["deadline_ms"] = _ms(min(deadlines))
    if timing.not_before is not None:
        fields["not_before_ms"] = _ms(timing.not_before)
    if timing.time_limit_s is not None:
        fields["time_limit_s"] = timing.time_limit_s
    if timing != ANY_TIME:
        fields["hurried"] = True
    return fields


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
