"""Runs the ledger's moves on Redis and reads what they left."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ..errors import Code, EventsLost, JobNotFound, LeaseLost, Unavailable
from ..events import EVENT, AnyEvent, ExpiredData, FailedData, ProgressData, SucceededData
from ..job import Job
from ..settings import Settings
from .moves import AcceptAnswer, ClaimAnswer, Move, Moves, ProgressAnswer, script
from .record import Record

if TYPE_CHECKING:
    from redis import Redis
    from redis.commands.core import Script

_T = TypeVar("_T")

_BLOCK_SHARE = 0.5
"""Of the socket timeout, for one blocking read: the answer must come before the socket gives up."""
_PAGE = 100
"""Events read at once."""
_EVENTS_KEY = "stylequeue:events"


class Ledger:
    """The ledger of one deployment. Any method raises Unavailable where Redis does not answer in time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._moves = Moves(settings)
        self._registered: dict[str, Script] = {}

    @cached_property
    def redis(self) -> Redis:
        """The connection pool, made at first use."""
        from redis import Redis
        from redis.backoff import ExponentialWithJitterBackoff
        from redis.retry import Retry

        timeout_s = self._settings.redis_timeout_s
        return Redis.from_url(
            self._settings.redis_url.get_secret_value(),
            decode_responses=True,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            socket_keepalive=True,
            health_check_interval=max(1, int(timeout_s)),
            # Every move may be repeated: a script recognises its own second coming.
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1), retries=3),
        )

    def ping(self) -> None:
        """Return if Redis answers."""
        with self._reachable():
            self.redis.ping()

    def eviction_policy(self) -> str | None:
        """Redis's `maxmemory-policy`; None where it does not say (managed services may forbid the question)."""
        from redis.exceptions import ResponseError

        with self._reachable():
            try:
                return self.redis.config_get("maxmemory-policy").get("maxmemory-policy")
            except ResponseError:
                return None

    def close(self) -> None:
        """Give the connections back."""
        if "redis" in self.__dict__:
            self.redis.close()
            del self.redis

    def accept(self, jobs: Sequence[Job]) -> list[AcceptAnswer]:
        """Record jobs as `queued`, in one round trip; the answers are in the jobs' order."""
        return self._run([self._moves.accept(job, task_id=job.id) for job in jobs])

    def claim(self, job: Job, *, task_id: str, worker: str, redelivered: bool) -> ClaimAnswer:
        """Take a job for painting, with the next fence and attempt.

        A job that came by plain Celery gets its record here. `redelivered` says that the broker hands this very
        message out again, so that whoever held the job is gone: it is taken over.
        """
        token = uuid.uuid4().hex
        move = self._moves.claim(job, task_id=task_id, worker=worker, token=token, redelivered=redelivered)
        return self._run([move])[0]

    def progress(self, job_id: str, *, fence: int, data: ProgressData) -> ProgressAnswer:
        """Tell how far the holder of `fence` is, and hear whether to go on."""
        return self._run([self._moves.progress(job_id, fence=fence, data=data)])[0]

    def finish(self, job_id: str, *, fence: int, data: SucceededData | FailedData | ExpiredData) -> str:
        """End the job by what `data` is, and return the terminal event as stored. LeaseLost for a stale fence."""
        answer = self._run([self._moves.finish(job_id, fence=fence, data=data)])[0]
        if answer.verdict == "lost":
            raise LeaseLost(f"fence {fence} of job {job_id} is stale")
        return answer.event

    def refuse(self, task_id: str, *, queue: str, data: FailedData) -> str:
        """Put a message that is no job on record under its task id; return the `failed` event ("": id taken)."""
        return self._run([self._moves.refuse(task_id, queue=queue, data=data)])[0]

    def record(self, job_id: str) -> Record:
        """What is known of a job. Raises JobNotFound."""
        with self._reachable():
            fields: dict[str, str] = self.redis.hgetall(f"stylequeue:job:{job_id}")  # type: ignore[assignment]
        if not fields:
            raise JobNotFound(job_id)
        return Record.from_redis(fields)

    def job_events(self, job_id: str, *, after: int = 0, wait_s: float = 0) -> list[AnyEvent]:
        """Events of a job with a sequence over `after`; waits up to `wait_s` for the first."""
        return [event for _, event in self._read(f"stylequeue:job:{job_id}:events", f"{after}-1", wait_s)]

    def deployment_events(self, *, after: str, wait_s: float = 0) -> list[tuple[str, AnyEvent]]:
        """Lifecycle events of all jobs behind position `after` ("0": from the oldest kept), with their positions.

        Raises EventsLost where events behind `after` have been trimmed away already.
        """
        found = self._read(_EVENTS_KEY, after, wait_s)
        # Read first, checked after: what is trimmed in between cannot hide.
        if after not in ("0", "0-0"):
            with self._reachable():
                oldest: list[tuple[str, object]] = self.redis.xrange(_EVENTS_KEY, count=1)  # type: ignore[assignment]
            if oldest and _position(oldest[0][0]) > _position(after):
                raise EventsLost(after)
        return found

    def newest_position(self) -> str:
        """The position of the deployment's newest event: what is read behind it is still to come."""
        with self._reachable():
            newest: list[tuple[str, object]] = self.redis.xrevrange(_EVENTS_KEY, count=1)  # type: ignore[assignment]
        return newest[0][0] if newest else "0"

    def _read(self, stream: str, after: str, wait_s: float) -> list[tuple[str, AnyEvent]]:
        longest_s = self._settings.redis_timeout_s * _BLOCK_SHARE
        block_ms = int(min(wait_s, longest_s) * 1000) or None
        with self._reachable():
            answer: Any = self.redis.xread({stream: after}, count=_PAGE, block=block_ms)
        entries = answer[stream][0] if isinstance(answer, dict) and answer else (answer[0][1] if answer else [])
        return [(position, EVENT.validate_json(fields["event"])) for position, fields in entries]

    def _run(self, moves: Sequence[Move[_T]]) -> list[_T]:
        with self._reachable():
            if len(moves) == 1:
                answers = [self._scripts(moves[0].name)(args=moves[0].args)]
            else:
                pipeline = self.redis.pipeline(transaction=False)
                for move in moves:
                    self._scripts(move.name)(args=move.args, client=pipeline)
                answers = pipeline.execute()
        return [move.parse(answer) for move, answer in zip(moves, answers, strict=True)]

    def _scripts(self, name: str) -> Script:
        if name not in self._registered:
            self._registered[name] = self.redis.register_script(script(name))
        return self._registered[name]

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        from redis.exceptions import ConnectionError, RedisError, TimeoutError

        try:
            yield
        except (ConnectionError, TimeoutError) as error:
            raise unreachable(self._settings, error) from None
        except RedisError as error:
            raise Unavailable(
                Code.BROKER_UNAVAILABLE, f"Redis refused a command: {error}", "see the operations guide, Redis"
            ) from error


def unreachable(settings: Settings, error: Exception) -> Unavailable:
    """That Redis does not answer, naming the place but no password."""
    place = urlsplit(settings.redis_url.get_secret_value())
    return Unavailable(
        Code.BROKER_UNAVAILABLE,
        f"Redis at {place.hostname}:{place.port or 6379} does not answer: {type(error).__name__}",
        "start it, or point STYLEQUEUE_REDIS_URL at it; on one machine `stylequeue up` brings its own",
    )


def _position(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number or 0)
