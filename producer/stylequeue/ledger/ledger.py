"""Runs the ledger's moves on Redis and reads what they left."""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from ..awaiting import run
from ..connection import connect, redis_asked
from ..contract.base import QUEUES, is_job_id
from ..contract.errors import LeaseLost
from ..contract.events import AnyEvent, FailedData, ProgressData
from ..contract.job import Job
from ..contract.recipe import Needs
from ..contract.scope import Scope
from ..contract.status import DeadLetter, JobState, Page
from ..settings import Settings
from . import keeping, names, rights
from .aio import PAGE, AsyncLedger
from .answers import (
    ANY_TIME,
    AcceptAnswer,
    ClaimAnswer,
    DueMessage,
    EndAnswer,
    HeartbeatAnswer,
    Overdue,
    PutBackAnswer,
    RefuseAnswer,
    ReserveAnswer,
    Timing,
)
from .histograms import Observation
from .moves import Move, Moves, TerminalData, letter_id
from .record import Record
from .registry import Registry
from .server import Server

if TYPE_CHECKING:
    from redis import Redis

_T = TypeVar("_T")

_TASKS_AT_ONCE = 1000


class Ledger:
    """The ledger of one deployment. Any method raises Unavailable where Redis does not answer in time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._moves = Moves(settings)
        self.asked = AsyncLedger(settings, self._ask)
        """The same as coroutines, which block."""

    @cached_property
    def redis(self) -> Redis:
        """The connection pool, made at first use."""
        return connect(self.settings)

    @cached_property
    def registry(self) -> Registry:
        """Who works."""
        return Registry(self)

    def try_out(self) -> None:
        """Return if Redis lets a script do what moves do; what it writes is gone in a second."""
        with self._reachable():
            self.redis.eval(rights.SCRIPT, 1, names.PROBE_KEY, *rights.CALLS)

    def server(self) -> Server:
        """What Redis says of itself."""
        with self._reachable():
            return Server.ask(self.redis)

    def open_jobs(self, queue: str) -> int:
        """How many jobs of a queue have not ended."""
        with self._reachable():
            return int(self.redis.zcard(names.queue_key(queue)))

    async def _ask(self, question: Callable[[Redis], Any]) -> Any:
        return question(self.redis)

    def close(self) -> None:
        """Give the connections back."""
        if "redis" in self.__dict__:
            self.redis.close()
            del self.redis

    # What producers do

    def accept(
        self,
        jobs: Sequence[Job],
        *,
        tenant: str | None = None,
        scope: Scope | None = None,
        notify: Sequence[str] = (),
    ) -> list[AcceptAnswer]:
        """Record a tenant's jobs as `queued`, in one round trip; the answers are in the jobs' order.

        `scope` is what they may read and write, `notify` are the endpoints that they name.
        """
        return run(self.asked.accept(jobs, tenant=tenant, scope=scope, notify=notify))

    def cancel(self, job_id: str, *, keep: bool) -> EndAnswer:
        """End a queued job; ask the holder of a running one to end it, keeping the picture so far if `keep`.

        Raises JobNotFound.
        """
        return run(self.asked.cancel(job_id, keep=keep))

    def replay(self, job_id: str) -> None:
        """Begin another run of a job that ended without a picture. Raises JobNotFound, JobOpen, JobSucceeded."""
        run(self.asked.replay(job_id))

    def delete(self, job_id: str) -> None:
        """Forget an ended job or a dead letter. Raises JobNotFound, JobOpen."""
        run(self.asked.delete(job_id))

    # What workers do

    def claim(
        self,
        job: Job,
        *,
        task_id: str,
        worker: str,
        queue: str = "",
        recorded: bool = False,
        timing: Timing = ANY_TIME,
        token: str = "",
        lacks: Needs = (),
        traceparent: str | None = None,
    ) -> ClaimAnswer:
        """Take a job for painting, with the next fence and attempt and a lease.

        A call that is made again because it is not known what became of it has the same `token`.

        A job that came by plain Celery gets its record here, with the `queue` it was found on and the `timing` its
        message named; one that is `recorded` had a record when its message was sent. One that has no trace context
        takes the `traceparent`. Where the worker
        `lacks` the networks that could paint it, it waits without a charge until one is heard of that takes from its
        queue and has one of them.
        """
        move = self._moves.claim(
            job,
            task_id=task_id,
            worker=worker,
            token=token or uuid.uuid4().hex,
            queue=queue,
            recorded=recorded,
            timing=timing,
            lacks=lacks,
            traceparent=traceparent,
        )
        return self._run([move])[0]

    def heartbeat(self, job_id: str, *, fence: int, data: ProgressData | None = None) -> HeartbeatAnswer:
        """Renew the lease, tell how far the holder is if that is news, and hear whether to go on."""
        return self._run([self._moves.heartbeat(job_id, fence=fence, data=data)])[0]

    def reserve(self, job_id: str, *, fence: int, fingerprint: str, forget: bool = False) -> ReserveAnswer:
        """Ask whether to paint the picture named by `fingerprint`. LeaseLost for a stale fence."""
        answer = self._run([self._moves.reserve(job_id, fence=fence, fingerprint=fingerprint, forget=forget)])[0]
        if answer.verdict == "lost":
            raise _stale(job_id, fence)
        return answer

    def put_back(
        self, record: Record, *, error: str, delay_s: float = 0, charged: bool = True, late: bool = False
    ) -> PutBackAnswer:
        """Give a running job back to the queue; `late`: if its lease ran out.

        It ends instead where somebody cancelled it, or where its attempts are used up. A fresh message is due after
        `delay_s`. An attempt not `charged` does not count. "lost" for a stale fence.
        """
        move = self._moves.put_back(
            record.id,
            fence=record.fence,
            error=error,
            delay_s=delay_s,
            charged=charged,
            late=late,
        )
        return self._run([move])[0]

    def note(self, what: str) -> None:
        """Count something that happened, for whoever watches the deployment."""
        with self._reachable():
            self.redis.hincrby(names.COUNTERS_KEY, what, 1)

    def finish(
        self,
        job_id: str,
        *,
        fence: int,
        data: TerminalData,
        painted: str = "",
        observed: Sequence[Observation] = (),
    ) -> str:
        """End the job by what `data` is, and return the terminal event as stored. LeaseLost for a stale fence.

        `painted` is what other jobs of the same fingerprint may reuse, as JSON with the `job_id`; "": nothing.
        `observed` is what was measured on the way.
        """
        move = self._moves.finish(job_id, fence=fence, data=data, painted=painted, observed=observed)
        answer = self._run([move])[0]
        if answer.verdict == "lost":
            raise _stale(job_id, fence)
        return answer.event

    def refuse(
        self,
        task_id: str,
        *,
        queue: str,
        message: str,
        data: FailedData,
        job: str = "",
        named: str = "",
        on_record: bool = True,
    ) -> RefuseAnswer:
        """Put a message that holds no valid job among the dead letters and, unless it is a job's, its task on record.

        `message` is its text, `job` what it holds in place of a job, as canonical JSON, and `named` the id in that:
        where this is a job's own text, a newer producer wrote it, and the job ends. A task whose id could be no job's,
        or that is not to be `on_record`, is among the dead letters alone.
        """
        move = self._moves.refuse(
            task_id,
            queue=queue,
            message=message,
            data=data,
            job=job if is_job_id(named or task_id) else "",
            named=named or task_id,
            on_record=on_record and is_job_id(task_id),
        )
        return self._run([move])[0]

    def bury(self, *, queue: str, raw: str, code: str, reason: str) -> str:
        """Put a message among the dead letters as it is; returns the letter's id."""
        move = self._moves.bury(letter_id(), queue=queue, code=code, reason=reason, message=raw)
        return self._run([move])[0]

    def has_task(self, task_id: str) -> bool:
        """Whether a job has this Celery task: nobody else tells its result."""
        with self._reachable():
            pipeline = self.redis.pipeline(transaction=False)
            pipeline.exists(names.job_of_task_key(task_id))
            if is_job_id(task_id):
                pipeline.hget(names.record_key(task_id), "job")
            return any(pipeline.execute())

    # What the keeper does

    def overdue(self) -> Overdue:
        """Ids of jobs with which something should have happened by now; some of each kind."""
        return self._run([keeping.overdue(self._moves, PAGE)])[0]

    def expire(self, job_id: str) -> EndAnswer:
        """End an open job whose deadline has passed."""
        return self._run([self._moves.expire(job_id)])[0]

    def take_due(self) -> list[DueMessage]:
        """Take jobs for which a fresh message is due; the taker sends it."""
        return self._run([keeping.take_due(self._moves, PAGE)])[0]

    def make_due(self, job_ids: Sequence[str]) -> None:
        """Have a fresh message sent for these queued jobs at once."""
        run(self.asked.make_due(job_ids))

    def told(self, job_id: str) -> None:
        """Store and sender know that this job has ended: nobody needs to see to that any more."""
        run(self.asked.told(job_id))

    def count(self, state: JobState) -> int:
        """How many jobs are in this state."""
        with self._reachable():
            return int(self.redis.zcard(names.state_key(state)))

    def messages_expected(self, *, claimed_within_s: float = 0) -> int:
        """How many messages there should be: of each queued job that has one, and of those claimed so lately."""
        with self._reachable():
            seconds, _ = self.redis.time()
            pipeline = self.redis.pipeline(transaction=True)
            for queue in QUEUES:
                pipeline.zcard(names.ready_key(queue))
            pipeline.zcount(names.state_key("running"), (seconds - claimed_within_s) * 1000, "+inf")
            *ready, claimed = pipeline.execute()
        return int(sum(ready) + (claimed if claimed_within_s else 0))

    def queued_task_ids(self, limit: int) -> dict[str, str]:
        """Celery task ids, by job id, of at most `limit` queued jobs that should have a message: the oldest.

        "" for one of which there is no record.
        """
        with self._reachable():
            pipeline = self.redis.pipeline(transaction=True)
            for queue in QUEUES:
                pipeline.zrange(names.ready_key(queue), 0, limit - 1, withscores=True)
            oldest = heapq.merge(*pipeline.execute(), key=itemgetter(1))
            job_ids = [job_id for job_id, _ in islice(oldest, limit)]
            task_ids: dict[str, str] = {}
            for start in range(0, len(job_ids), _TASKS_AT_ONCE):
                some = job_ids[start : start + _TASKS_AT_ONCE]
                pipeline = self.redis.pipeline(transaction=False)
                for job_id in some:
                    pipeline.hget(names.record_key(job_id), "task_id")
                task_ids |= {one: task_id or "" for one, task_id in zip(some, pipeline.execute(), strict=True)}
            return task_ids

    def still_queued(self, job_ids: Sequence[str]) -> list[str]:
        """Which of these are queued still, and should have a message."""
        if not job_ids:
            return []
        with self._reachable():
            pipeline = self.redis.pipeline(transaction=True)
            for queue in QUEUES:
                pipeline.zmscore(names.ready_key(queue), [*job_ids])
            scores = zip(*pipeline.execute(), strict=True)
        return [job_id for job_id, found in zip(job_ids, scores, strict=True) if found != (None,) * len(QUEUES)]

    def may_compare(self, within_s: float) -> bool:
        """Whether nobody compares every message now, or did so lately; then whoever asks is the one, for so long."""
        with self._reachable():
            return bool(self.redis.set(names.COMPARED_KEY, 1, nx=True, px=_ms(within_s)))

    def compared(self, rest_s: float) -> None:
        """It is done, and nobody need do it again for so long."""
        with self._reachable():
            self.redis.set(names.COMPARED_KEY, 1, px=_ms(rest_s))

    # Reading

    def record(self, job_id: str) -> Record:
        """What is known of a job. Raises JobNotFound."""
        return run(self.asked.record(job_id))

    def outcome(self, job_id: str) -> str:
        """The terminal event exactly as stored; "" where there is none."""
        with self._reachable():
            event: Any = self.redis.hget(names.record_key(job_id), "outcome")
        return event or ""

    def task_ids(self, record: Record) -> list[str]:
        """Celery's ids of all messages of the job whose senders wait for its end."""
        with self._reachable():
            others: Any = self.redis.smembers(names.tasks_key(record.id))
        return sorted({record.task_id, *others})

    def dead_letters(
        self, *, tenant: str | None = None, after: str | None = None, limit: int = PAGE
    ) -> Page[DeadLetter]:
        """Dead letters, all or those of a `tenant`'s jobs, the newest first. Raises InvalidRequest."""
        return run(self.asked.dead_letters(tenant=tenant, after=after, limit=limit))

    def dead_letter(self, letter_id: str) -> DeadLetter:
        """One dead letter. Raises JobNotFound."""
        return run(self.asked.dead_letter(letter_id))

    def job_events(self, job_id: str, *, after: int = 0, wait_s: float = 0) -> list[AnyEvent]:
        """Events of a job with a sequence over `after`; waits up to `wait_s` for the first."""
        return run(self.asked.job_events(job_id, after=after, wait_s=wait_s))

    def deployment_events(self, *, after: str, wait_s: float = 0) -> list[tuple[str, AnyEvent]]:
        """Lifecycle events of all jobs behind position `after` ("0": from the oldest kept), with their positions.

        Raises EventsLost where events behind `after` have been trimmed away already, InvalidRequest for no position.
        """
        return run(self.asked.deployment_events(after=after, wait_s=wait_s))

    def _run(self, moves: Sequence[Move[_T]]) -> list[_T]:
        return run(self.asked.perform(moves))

    def _reachable(self) -> AbstractContextManager[None]:
        return redis_asked(self.settings)


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _stale(job_id: str, fence: int) -> LeaseLost:
    return LeaseLost(f"fence {fence} of job {job_id} is stale")
