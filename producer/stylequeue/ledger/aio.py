"""What clients ask of the ledger, as coroutines: with an event loop and without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from ..connection import Ask, redis_asked
from ..contract.cost import Sides
from ..contract.errors import EventsLost, InvalidRequest, JobNotFound, JobOpen, JobSucceeded, TooManyOpenJobs
from ..contract.events import AnyEvent
from ..contract.job import Job
from ..contract.recipe import FastRecipe, OptimizeRecipe
from ..contract.scope import Scope
from ..contract.status import DeadLetter, Estimate, EventGroup, Glance, JobState, JobStatus, Page
from ..settings import Settings
from . import deliveries, groups, keeping, listing, names, notifications, streams
from .answers import AcceptAnswer, EndAnswer, ThrottleAnswer
from .listing import JobsWanted
from .moves import Move, Moves, script
from .outlook import Outlook
from .record import FIELDS, GLANCE_FIELDS, Record, dead_letter_from_redis, glance_from_redis
from .registry import LiveWorker, waiting_for
from .ticks import Ticks
from .watching import Watching

if TYPE_CHECKING:
    from redis.commands.core import Script

_T = TypeVar("_T")

_BLOCK_SHARE = 0.5
"""Of the socket timeout, for one blocking read: the answer must come before the socket gives up."""
PAGE = 100
"""Entries read at once."""
_GLANCES = 500
"""Jobs likewise, where little of each is read."""


class AsyncLedger:
    """The ledger of one deployment, by whatever client `ask` brings. Any method raises Unavailable where Redis does
    not answer in time.

    Whoever waits for events does so in Redis, by a connection each; or, all together, for `ticks`.
    """

    def __init__(self, settings: Settings, ask: Ask, ticks: Ticks | None = None, *, standing_age_s: float = 0) -> None:
        self.settings = settings
        self._ticks = ticks
        self._watching = Watching(self._ask, ticks) if ticks else None
        self._moves = Moves(settings)
        self._ask_client = ask
        self._registered: dict[str, Script] = {}
        self._outlook = Outlook(self, age_s=standing_age_s)

    async def perform(self, moves: Sequence[Move[_T]]) -> list[_T]:
        """What these moves answer, in one round trip."""

        def all_at_once(redis: Any) -> Any:
            if len(moves) == 1:
                return self._script(redis, moves[0].name)(args=moves[0].args, client=redis)
            pipeline = redis.pipeline(transaction=False)
            for move in moves:
                move_script = self._script(redis, move.name)
                pipeline.scripts.add(move_script)
                pipeline.evalsha(move_script.sha, 0, *move.args)
            return pipeline.execute()

        answers = await self._ask(all_at_once)
        if len(moves) == 1:
            answers = [answers]
        return [move.parse(answer) for move, answer in zip(moves, answers, strict=True)]

    def _script(self, redis: Any, name: str) -> Script:
        if name not in self._registered:
            self._registered[name] = redis.register_script(script(name))
        return self._registered[name]

    async def _ask(self, question: Any) -> Any:
        with redis_asked(self.settings):
            return await self._ask_client(question)

    async def close(self) -> None:
        """Wait for nothing any more."""
        if self._watching is not None and self._ticks is not None:
            await self._watching.close()
            await self._ticks.close()

    async def ping(self) -> None:
        """Return if Redis answers."""
        await self._ask(lambda redis: redis.ping())

    # Moves

    async def accept(
        self,
        jobs: Sequence[Job],
        *,
        tenant: str | None = None,
        scope: Scope | None = None,
        notify: Sequence[str] = (),
        max_open_jobs: int | None = None,
        once: bool = False,
        traceparents: Sequence[str | None] = (),
    ) -> list[AcceptAnswer]:
        """Record a tenant's jobs as `queued`, in one round trip; the answers are in the jobs' order.

        `scope` is what they may read and write, `notify` are the endpoints that they name, `max_open_jobs` is how many
        the tenant may have, `traceparents` are the jobs' trace contexts. With `once` a job that was deleted is a
        conflict, and not recorded anew.
        """
        beside = partial(self._moves.accept, tenant=tenant, scope=scope, notify=notify)
        accept = partial(beside, max_open_jobs=max_open_jobs, once=once)
        contexts = traceparents or [None] * len(jobs)
        return await self.perform(
            [accept(job, task_id=job.id, traceparent=context) for job, context in zip(jobs, contexts, strict=True)]
        )

    async def cancel(self, job_id: str, *, keep: bool) -> EndAnswer:
        """End a queued job; ask the holder of a running one to end it, keeping the picture so far if `keep`.

        Raises JobNotFound.
        """
        [answer] = await self.perform([self._moves.cancel(job_id, keep=keep)])
        if answer.verdict == "unknown":
            raise JobNotFound(job_id)
        return answer

    async def replay(self, job_id: str, *, max_open_jobs: int | None = None) -> None:
        """Begin another run of a job that ended without a picture; `max_open_jobs` is how many its tenant may have.

        Raises JobNotFound, JobOpen, JobSucceeded, TooManyOpenJobs.
        """
        record = await self.record(job_id)
        [verdict] = await self.perform([self._moves.replay(job_id, queue=record.queue, max_open_jobs=max_open_jobs)])
        if verdict == "too_many":
            raise TooManyOpenJobs(max_open_jobs or 0)
        if verdict == "unknown":
            raise JobNotFound(job_id)
        if verdict == "succeeded":
            raise JobSucceeded(job_id, "run again")
        if verdict == "open":
            raise JobOpen(job_id, (await self.record(job_id)).state, "run again")

    async def replay_letter(self, letter: DeadLetter) -> None:
        """Give an event back to its group, a delivery to its endpoint, a notification to whoever listens to uploads.

        Raises EventsLost where the event is kept no longer, InvalidRequest without its group, DeliveryNotFound,
        JobNotFound where the letter is gone.
        """
        match letter.kind:
            case "event":
                [verdict] = await self.perform([groups.replay(self._moves, letter.id)])
                if verdict == "lost":
                    raise EventsLost(letter.id.rpartition(":")[2], group=letter.queue, number=1)
                if verdict == "unknown":
                    what = f"there is no group {letter.queue!r} any more"
                    raise InvalidRequest(what, "the letter's message is the event")
            case "delivery":
                _, endpoint, event_id = letter.id.split(":", 2)
                await deliveries.replay(self, endpoint, event_id)
            case _:
                await notifications.replay(self, letter.id)

    async def delete(self, job_id: str) -> None:
        """Forget an ended job or a dead letter. Raises JobNotFound, JobOpen."""
        [verdict] = await self.perform([self._moves.delete(job_id)])
        if verdict == "unknown":
            raise JobNotFound(job_id)
        if verdict == "open":
            raise JobOpen(job_id, (await self.record(job_id)).state, "deleted")

    async def make_due(self, job_ids: Sequence[str]) -> None:
        """Have a fresh message sent for these queued jobs at once."""
        if job_ids:
            await self.perform([keeping.make_due(self._moves, job_ids)])

    async def told(self, job_id: str) -> None:
        """Store and sender know that this job has ended: nobody needs to see to that any more."""
        await self._ask(lambda redis: redis.zrem(names.UNTOLD_KEY, job_id))

    # Reading

    async def record(self, job_id: str) -> Record:
        """What is known of a job. Raises JobNotFound."""
        fields = await self._fields(job_id)
        if not fields:
            raise JobNotFound(job_id)
        return Record.from_redis(fields)

    async def _fields(self, job_id: str) -> dict[str, str]:
        fields: dict[str, str] = await self._ask(lambda redis: redis.hgetall(names.record_key(job_id)))
        return fields

    async def status(self, record: Record) -> JobStatus:
        """What others may know of a job; where it has not ended, also what it waits for and where it stands."""
        [status] = await self._seen([record])
        return status

    async def _seen(self, records: Sequence[Record]) -> list[JobStatus]:
        """What others may know of jobs, by as many questions for many as for one."""
        stand = [record for record in records if not record.ended and record.needs]
        workers = await self._outlook.workers() if stand else ()
        standings = await self._outlook.standings(stand) if stand else ()
        by_id = {record.id: standing for record, standing in zip(stand, standings, strict=True)}
        return [
            record.status.model_copy(
                update={"waits_for": waiting_for(record, workers), "standing": by_id.get(record.id)}
            )
            for record in records
        ]

    async def estimate(
        self, recipe: OptimizeRecipe | FastRecipe, *, queue: str, content: Sides | None, styles: int, masks: int
    ) -> Estimate:
        """What a job would take if it were submitted now; `content`: the sides of its content, where they are known."""
        return await self._outlook.estimate(recipe, content=content, styles=styles, masks=masks, queue=queue)

    async def workers(self) -> list[LiveWorker]:
        """The live workers, by name. One that was killed is among them for three heartbeats more."""
        found = await self._ask(lambda redis: redis.zrange(names.WORKERS_KEY, 0, -1))
        keys = [key(name) for key in (names.worker_key, names.drain_key) for name in found]
        said = await self._ask(lambda redis: redis.mget(keys)) if keys else []
        workers = []
        for word, draining in zip(said[: len(found)], said[len(found) :], strict=True):
            with suppress(ValidationError):  # of one that is gone, or of a newer one that says it in another way
                worker = LiveWorker.model_validate_json(word or "")
                workers.append(worker.model_copy(update={"draining": draining}) if draining else worker)
        return sorted(workers, key=lambda worker: worker.name)

    async def begins_s(self, queue: str) -> float | None:
        """Seconds until a worker comes to what would be submitted now; None: no live worker can say."""
        return await self._outlook.begins_s(queue)

    async def jobs(
        self,
        *,
        tenant: str | None = None,
        state: JobState | None = None,
        label: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        after: str | None = None,
        limit: int = PAGE,
        is_bounded: bool = False,
    ) -> Page[JobStatus]:
        """Jobs, all or a `tenant`'s, the newest first; see `listing.jobs`. Raises InvalidRequest."""
        indexed = self.settings.indexed_labels
        wanted = JobsWanted(tenant, state, label or {}, created_after, created_before, indexed)
        page = await listing.jobs(self._ask, wanted, after=after, limit=limit, is_bounded=is_bounded)
        return Page(await self._seen(page), after=page.after)

    async def statuses(self, job_ids: Sequence[str]) -> list[JobStatus | None]:
        """What others may know of jobs; None for one that is not on record."""

        def read(redis: Any) -> Any:
            pipeline = redis.pipeline(transaction=False)
            for job_id in job_ids:
                # By far the most of what takes time is to read the answer: names are left out of it.
                pipeline.hmget(names.record_key(job_id), FIELDS)
            return pipeline.execute()

        found = await self._ask(read) if job_ids else []
        hashes = [
            {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None} for values in found
        ]
        seen = iter(await self._seen([Record.from_redis(fields) for fields in hashes if fields]))
        return [next(seen) if fields else None for fields in hashes]

    async def running(self, *, tenant: str | None = None, label: Mapping[str, str] | None = None) -> list[str]:
        """Jobs that are painted now, all or a `tenant`'s; without some that have not all of these labels."""
        indexed = [
            names.label_key(names.label_index(tenant, name, value))
            for name, value in (label or {}).items()
            if name in self.settings.indexed_labels
        ]
        among = [names.state_key("running"), *([names.tenant_open_key(tenant)] if tenant else []), *indexed]
        return await self._ask(lambda redis: redis.zinter(among))  # type: ignore[no-any-return]

    async def glances(self, job_ids: Sequence[str]) -> list[Glance]:
        """How far jobs are, without those that are not on record."""
        found: list[Glance] = []
        for start in range(0, len(job_ids), _GLANCES):
            found += await self._glances(job_ids[start : start + _GLANCES])
        return found

    async def _glances(self, job_ids: Sequence[str]) -> list[Glance]:
        def read(redis: Any) -> Any:
            pipeline = redis.pipeline(transaction=False)
            for job_id in job_ids:
                pipeline.hmget(names.record_key(job_id), GLANCE_FIELDS)
            return pipeline.execute()

        there = []
        for job_id, values in zip(job_ids, await self._ask(read), strict=True):
            fields = {name: value for name, value in zip(GLANCE_FIELDS, values, strict=True) if value is not None}
            if fields and "labels" not in fields:
                # A record of before they were a field of it.
                fields = await self._fields(job_id)
            if fields:
                there.append(glance_from_redis(fields))
        return there

    async def throttle(self, tenant: str, *, rate_per_s: float, burst: int, count: int) -> ThrottleAnswer:
        """Let a tenant ask `count` times, if it may now."""
        [answer] = await self.perform([self._moves.throttle(tenant, rate_per_s=rate_per_s, burst=burst, count=count)])
        return answer

    async def dead_letters(
        self, *, tenant: str | None = None, after: str | None = None, limit: int = PAGE
    ) -> Page[DeadLetter]:
        """Dead letters, all or those of a `tenant`'s jobs, the newest first. Raises InvalidRequest."""
        return await listing.dead_letters(self._ask, tenant=tenant, after=after, limit=limit)

    async def dead_letter(self, letter_id: str) -> DeadLetter:
        """One dead letter. Raises JobNotFound."""
        fields = await self._ask(lambda redis: redis.hgetall(names.dead_key(letter_id)))
        if not fields:
            raise JobNotFound(letter_id)
        return dead_letter_from_redis(fields)

    async def job_events(self, job_id: str, *, after: int = 0, wait_s: float = 0) -> list[AnyEvent]:
        """Events of a job with a sequence over `after`; waits up to `wait_s` for the first."""
        if self._watching is not None:
            return await self._watching.events(job_id, after=after, wait_s=wait_s)
        found = await self._read(partial(streams.read, self._ask, names.events_key(job_id), f"{after}-1"), wait_s)
        return [event for _, event in found]

    async def deployment_events(self, *, after: str, wait_s: float = 0) -> list[tuple[str, AnyEvent]]:
        """Lifecycle events of all jobs behind position `after` ("0": from the oldest kept), with their positions.

        Raises EventsLost where events behind `after` have been trimmed away already, InvalidRequest for no position.
        """
        read = partial(streams.read_whole, self._ask, names.EVENTS_KEY, after)
        return await self._read(read, wait_s)

    async def deployment_told(self, *, after: str, wait_s: float) -> None:
        """Return when there is an event behind position `after`, or after `wait_s`; for some reasons sooner."""

        async def read(block_ms: int | None) -> Any:
            return await self._ask(lambda redis: redis.xread({names.EVENTS_KEY: after}, count=1, block=block_ms))

        await self._read(read, wait_s)

    def consumer(
        self, group: str, name: str, *, after: str, claim_after_s: float, max_times: int = groups.MAX_TIMES
    ) -> groups.Consumer:
        """One of a group's, which begins behind `after` where it is new. Raises InvalidRequest for no position."""
        return groups.Consumer(self, group, name, after=streams.whole(after), idle_s=claim_after_s, max_times=max_times)

    async def entries(self, *, behind: str, count: int) -> list[groups.Entry]:
        """The oldest events behind a position that are kept, with what stands beside them."""
        found = await self._ask(lambda redis: redis.xrange(names.EVENTS_KEY, f"({behind}", "+", count=count))
        return [groups.Entry.of(position, fields) for position, fields in found]

    async def named_by(self, job_ids: Sequence[str]) -> list[str]:
        """Which endpoints each of these jobs names (JSON); "" for none."""

        def ask(redis: Any) -> Any:
            pipeline = redis.pipeline(transaction=False)
            for job_id in job_ids:
                pipeline.hget(names.record_key(job_id), "notify")
            return pipeline.execute()

        return [named or "" for named in await self._ask(ask)] if job_ids else []

    async def event_groups(self) -> list[EventGroup]:
        """All groups of consumers, by their names."""
        return await groups.known(self)

    async def newest_position(self) -> str:
        """The position of the deployment's newest event: what is read behind it is still to come."""
        return await streams.newest_position(self._ask, names.EVENTS_KEY)

    async def _read(self, read: Callable[[int | None], Awaitable[_T]], wait_s: float) -> _T:
        if self._ticks is None:
            return await read(int(min(wait_s, self.settings.redis_timeout_s * _BLOCK_SHARE) * 1000) or None)
        # Heard from here on: what happens between reading and waiting is not missed.
        with self._ticks.of_lives() as tick:
            found = await read(None)
            if found or not wait_s:
                return found
            try:
                async with asyncio.timeout(wait_s):
                    await tick.wait()
            except TimeoutError:
                # Whoever waits longer asks again, and then it is looked for.
                return found
        return await read(None)
