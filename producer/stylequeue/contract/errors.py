"""Everything that can go wrong, as one tree.

    StyleQueueError
    ├── Permanent            the job, as it stands, can never succeed: it ends `failed`
    │   └── InvalidJob       it breaks the contract
    ├── Retryable            the same job may succeed later
    │   ├── Unavailable      Redis or the store does not answer
    │   ├── QueueFull        the queue holds as many open jobs as it may
    │   ├── TooManyOpenJobs  the tenant has as many open jobs as it may
    │   └── RateLimited      the tenant asks more often than it may
    ├── InvalidSettings      this process cannot run as it is set up
    ├── CannotServe          this machine lacks what it should paint with: a job goes back to the queue, uncharged
    │   └── Misconfigured    the store does not serve this process: its keys, region, clock or rights
    ├── DeadlinePassed       the job ran out of time: it ends `expired`
    ├── Cancelled            somebody no longer wants it: it ends `cancelled`
    ├── Preempted            the worker has to stop: the job goes back to the queue, uncharged
    ├── LeaseLost            another attempt owns the job now: this one stops and writes nothing
    ├── JobNotFound          the ledger knows no such job (any more)
    ├── EndpointNotFound     the operator's file has no such endpoint
    ├── WorkerNotFound       no worker of this name is on record
    ├── DeliveryNotFound     no such event is, or was, on its way to an endpoint
    ├── InvalidNotice        what came is no notification of an upload: a dead letter
    ├── JobConflict          the id belongs to a job with other content, or to another tenant's
    ├── JobOpen              the job has not ended, so that this cannot be done with it
    ├── JobSucceeded         the job has its picture, so that this cannot be done with it
    ├── JobsRefused          `submit_many()`: some were refused, each with its error; an exception group
    ├── InvalidRequest       an argument of a call that cannot be used as it is
    ├── FileUnusable         a file on this machine cannot be read or written; an OSError too
    ├── WaitTimeout          the job has not ended in the time it was waited for; a TimeoutError too
    ├── Interrupted          the command was broken off while it waited
    ├── SchemaTooNew         a newer version wrote what was asked for: this one cannot read it
    ├── EventsLost           a reader of the deployment's events fell behind what is kept
    └── JobEnded             `wait()` and `AsyncResult.get()`: the job ended without a picture
        ├── JobFailed
        ├── JobCancelled
        └── JobExpired

Each error has a `code` that stays the same for ever (programs compare it), a `message` (what happened) and a
`hint` (what to do). None of them ever holds a secret: they travel in events and results. What a terminal
would obey in a stranger's words stands there as an escape.
"""

from __future__ import annotations

import copyreg
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .codes import Code as Code
from .codes import ExitCode as ExitCode
from .text import printable, printable_lines

if TYPE_CHECKING:
    from .status import Turn


def with_extra(extra: str) -> str:
    """The hint where a package is missing that an extra brings along. Ours is on no index."""
    return f'install it with the extra: pip install ".[{extra}]" in a checkout of stylequeue'


class StyleQueueError(Exception):
    """Root of the tree. `str()` gives code, message and hint in one line."""

    exit_code: ClassVar[ExitCode] = ExitCode.JOB_FAILED

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.code = printable(str(code))
        self.message = printable(message)
        self.hint = printable_lines(hint)

    def __reduce__(self) -> tuple[Any, ...]:
        """To be copied, and pickled on the way from a process to its parent, whatever the class is made of."""
        also = ("errno", "strerror", "filename") if isinstance(self, OSError) else ()
        state = {**vars(self), **{name: getattr(self, name) for name in also}}
        return copyreg.__newobj__, (type(self), *self.args), state  # type: ignore[attr-defined]  # no stub has it

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}" + (f" ({self.hint})" if self.hint else "")


class Permanent(StyleQueueError):
    """The job, as it stands, can never succeed."""


class InvalidJob(Permanent, ValueError):
    """The job, or a part of one, breaks the contract; the message names each wrong field."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, message: str, hint: str = "", code: str = Code.INVALID_JOB) -> None:
        super().__init__(code, message, hint)


class Retryable(StyleQueueError):
    """The same job may succeed later."""


class Unavailable(Retryable):
    """Redis or the store does not answer in time."""

    exit_code = ExitCode.NOT_REACHABLE


class QueueFull(Retryable):
    """The queue holds as many open jobs as it may."""

    exit_code = ExitCode.NOT_REACHABLE

    def __init__(self, queue: str, limit: int) -> None:
        super().__init__(
            Code.QUEUE_FULL,
            f"queue {queue!r} holds {limit} open jobs, as many as it may",
            "submit again later; more workers empty it faster, STYLEQUEUE_MAX_OPEN_JOBS lets it grow",
        )


class TooManyOpenJobs(Retryable):
    """The tenant has as many open jobs as it may."""

    exit_code = ExitCode.NOT_REACHABLE

    def __init__(self, limit: int) -> None:
        super().__init__(
            Code.TOO_MANY_OPEN_JOBS,
            f"the tenant has {limit} open jobs, as many as it may",
            "submit again when some have ended; the operator's file sets the limit",
        )


class RateLimited(Retryable):
    """The tenant asks more often than it may."""

    exit_code = ExitCode.NOT_REACHABLE

    def __init__(self, turn: Turn, count: int, again_in_s: float) -> None:
        hint = f"ask again in {math.ceil(again_in_s)} s"
        if count > turn.burst:
            hint = f"{count} at once are more than it ever may: at most {turn.burst}"
        super().__init__(
            Code.RATE_LIMITED,
            f"the tenant asks more often than it may: {turn.rate_per_s:g} times a second, {turn.burst} at once",
            hint,
        )
        self.turn = turn
        self.again_in_s = again_in_s


class InvalidSettings(StyleQueueError):
    """This process cannot run as it is set up."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(Code.INVALID_SETTINGS, message, hint)


class CannotServe(StyleQueueError):
    """This machine lacks what it should paint with: a device, a network, memory."""

    exit_code = ExitCode.CANNOT_SERVE


class Misconfigured(CannotServe):
    """The store does not serve this process as it is set up; another process, or this one once mended, it may."""

    exit_code = ExitCode.BAD_INPUT


class DeadlinePassed(StyleQueueError):
    """The job's deadline passed before its picture was done."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.DEADLINE_PASSED, message, "submit it again with a later deadline")


class Cancelled(StyleQueueError):
    """Somebody no longer wants the picture."""

    def __init__(self) -> None:
        super().__init__(Code.CANCELLED, "the job was cancelled", "`stylequeue retry` runs it again")


class Preempted(StyleQueueError):
    """The worker has to stop before the picture is done."""

    def __init__(self) -> None:
        super().__init__(Code.PREEMPTED, "the worker was told to stop", "another worker goes on with the job")


class LeaseLost(StyleQueueError):
    """The fence of this attempt is stale."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.LEASE_LOST, message, "another worker has the job; nothing is to be done")


class JobNotFound(StyleQueueError):
    """The ledger knows no such job."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, job_id: str) -> None:
        super().__init__(
            Code.JOB_NOT_FOUND,
            f"no job {job_id!r} in the ledger",
            "check the id; records of ended jobs are kept for a limited time (STYLEQUEUE_RECORD_TTL_S)",
        )


class EndpointNotFound(StyleQueueError):
    """The operator's file has no such endpoint."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, name: str) -> None:
        super().__init__(
            Code.ENDPOINT_NOT_FOUND, f"no endpoint {name!r} in the operator's file", "see `stylequeue hooks list`"
        )


class WorkerNotFound(StyleQueueError):
    """No worker of this name is on record."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, name: str) -> None:
        super().__init__(
            Code.WORKER_NOT_FOUND, f"no live worker is called {name!r}", "`stylequeue workers list` has their names"
        )


class DeliveryNotFound(StyleQueueError):
    """No such event is, or was, on its way to an endpoint."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, event_id: str) -> None:
        super().__init__(
            Code.DELIVERY_NOT_FOUND,
            f"event {event_id!r} is not on its way, nor was in the last 7 days",
            "`stylequeue hooks deliveries` lists what is; `hooks replay --since` sends what never was",
        )


class InvalidNotice(StyleQueueError):
    """What came where uploads are told of is no notification of a store's."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, reason: str) -> None:
        super().__init__(
            Code.INVALID_NOTICE,
            f"this is no notification of an upload: {reason}",
            "see docs/uploads.md for the shapes that are read",
        )


class JobConflict(StyleQueueError):
    """The id belongs to a job with other content, to another tenant's, or to one that was deleted and shall stay so."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, job_id: str) -> None:
        super().__init__(
            Code.JOB_CONFLICT,
            f"id {job_id!r} already belongs to another job",
            "an id names one job for ever: send its very content again, or take a new id",
        )


class JobOpen(StyleQueueError):
    """The job has not ended."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, job_id: str, state: str, wanted: str) -> None:
        super().__init__(Code.JOB_OPEN, f"job {job_id!r} is {state}: it cannot be {wanted}", "see `stylequeue status`")


class JobSucceeded(StyleQueueError):
    """The job has its picture."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, job_id: str, wanted: str) -> None:
        super().__init__(
            Code.JOB_SUCCEEDED,
            f"job {job_id!r} has succeeded: it cannot be {wanted}",
            "`stylequeue download` fetches its picture; to paint it again, submit it under a new id",
        )


class InvalidRequest(StyleQueueError, ValueError):
    """An argument that cannot be used as it is."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(Code.INVALID_REQUEST, message, hint)


class FileUnusable(StyleQueueError, OSError):
    """A file on this machine cannot be read or written."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, message: str, hint: str, *, because: OSError | None = None) -> None:
        super().__init__(Code.FILE_UNUSABLE, message, hint)
        # OSError has taken the arguments for its own.
        of = because or OSError()
        self.errno, self.strerror, self.filename = of.errno, of.strerror, of.filename


class WaitTimeout(StyleQueueError, TimeoutError):
    """The job has not ended in the time it was waited for."""

    def __init__(self, job_id: str, waited_s: float) -> None:
        super().__init__(
            Code.TIMEOUT,
            f"job {job_id} has not ended after {waited_s:g} s; it goes on all the same",
            "ask again with `stylequeue status` or `stylequeue watch`",
        )
        self.errno = self.strerror = self.filename = None


class JobsRefused(StyleQueueError, ExceptionGroup[StyleQueueError]):
    """Some jobs of many were refused; the others are submitted. `except*` takes the errors by their kinds."""

    def __new__(cls, refused: Mapping[str, StyleQueueError]) -> Self:
        """Of the jobs' errors, by their ids."""
        errors = list(refused.values())
        return super().__new__(cls, f"{len(errors)} jobs were refused, the first with: {errors[0]}", errors)

    def __init__(self, refused: Mapping[str, StyleQueueError]) -> None:
        # Not the root's: a group has a message already.
        self.code = str(Code.JOBS_REFUSED)
        self.hint = "`refused` has each one's error, by the jobs' ids; all others are submitted"
        self.refused = dict(refused)

    def __reduce__(self) -> tuple[Any, ...]:
        return JobsRefused, (self.refused,), vars(self)

    def derive(self, errors: Sequence[StyleQueueError]) -> JobsRefused:  # type: ignore[override]
        """The same with some of its errors, for `except*` and `split`."""
        return JobsRefused({job_id: error for job_id, error in self.refused.items() if error in errors})


class Interrupted(StyleQueueError):
    """The command was broken off while it waited."""

    exit_code = ExitCode.INTERRUPTED

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(Code.INTERRUPTED, message, hint)


class SchemaTooNew(StyleQueueError):
    """A newer version wrote what was asked for."""

    def __init__(self, job_id: str) -> None:
        super().__init__(
            Code.SCHEMA_TOO_NEW,
            f"job {job_id!r} has ended, but a newer version wrote how: this one cannot read it",
            "upgrade stylequeue here; the picture can be had with any S3 client",
        )


class EventsLost(StyleQueueError):
    """Events behind the reader's position are no longer kept."""

    def __init__(self, position: str, *, group: str | None = None, number: int | None = None) -> None:
        what = f"events right behind position {position} may have been trimmed away"
        if group is not None:
            many = "some" if number is None else number
            what = f"{many} events were trimmed away before a consumer of group {group!r} was done with them"
        go_on = "ask for events again: the group goes on" if group is not None else "read on from position '0'"
        super().__init__(
            Code.EVENTS_LOST,
            what,
            f"{go_on}, and ask the ledger for jobs you wait for; STYLEQUEUE_DEPLOYMENT_EVENTS keeps more",
        )
        self.number = number
        """How many, where that is known."""


class JobEnded(StyleQueueError):
    """The job ended without a picture."""


class JobFailed(JobEnded):
    """The job ended `failed`; code, message and hint are those of its `failed` event."""


class JobCancelled(JobEnded):
    """The job ended `cancelled`."""


class JobExpired(JobEnded):
    """The job ended `expired`."""
