"""Jobs' events, read together for all who wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.contract.errors import Code, Unavailable
from stylequeue.contract.events import AnyEvent, ProgressData
from stylequeue.ledger import Ledger, watching
from stylequeue.ledger.watching import Watching
from stylequeue.settings import Settings
from tests.support.jobs import make_job

WAIT_S = 60


class Asked:
    """What is asked of Redis, on its way."""

    def __init__(self, ask: Callable[[Any], Awaitable[Any]]) -> None:
        self._ask = ask
        self.count = 0
        self.before: Callable[[], Awaitable[None]] | None = None
        self.error: Unavailable | None = None

    async def __call__(self, question: Any) -> Any:
        self.count += 1
        if self.error:
            raise self.error
        answer = await self._ask(question)
        if before := self.before:
            self.before = None
            await before()
        return answer


@asynccontextmanager
async def watched(settings: Settings) -> AsyncIterator[tuple[Watching, Asked]]:
    async with AsyncStyleQueue(settings) as queue:
        asked = queue._access.asked
        assert asked._watching is not None
        asked._watching._ask = counted = Asked(asked._watching._ask)
        yield asked._watching, counted


def told(ledger: Ledger, number: int) -> str:
    """A job of which so much progress is told."""
    job = make_job()
    ledger.accept([job])
    fence = ledger.claim(job, task_id=job.id, worker="w").record.fence
    for n in range(1, number + 1):
        ledger.heartbeat(job.id, fence=fence, data=ProgressData(number=n, stage="painting"))
    return job.id


def sequences(events: list[AnyEvent]) -> list[int]:
    return [int(event.sequence) for event in events]


@pytest.fixture
def no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SWEEP_S", 3600)


@pytest.mark.usefixtures("no_sweep")
def test_many_jobs_are_looked_at_by_one_command(settings: Settings, ledger: Ledger) -> None:
    job_ids = [told(ledger, 0) for _ in range(watching._AT_ONCE)]

    async def look() -> None:
        async with watched(settings) as (watch, asked):
            found = await asyncio.gather(*[watch.events(one, after=0, wait_s=WAIT_S) for one in job_ids])
            assert [[event.subject for event in events] for events in found] == [[one, one] for one in job_ids]
            # Once more when the subscription begins: something may have been missed.
            assert asked.count <= 2

    asyncio.run(look())


@pytest.mark.usefixtures("no_sweep")
def test_each_event_is_read_once_for_all_who_wait(settings: Settings, ledger: Ledger) -> None:
    job_id = told(ledger, 1)

    async def look() -> None:
        async with watched(settings) as (watch, _):
            waiting = [asyncio.create_task(watch.events(job_id, after=3, wait_s=WAIT_S)) for _ in range(5)]
            while len(watch._waiters[job_id]) < len(waiting) or watch._due:
                await asyncio.sleep(0)
            await asyncio.to_thread(ledger.cancel, job_id, keep=True)
            fence = ledger.record(job_id).fence
            data = ProgressData(number=2, stage="painting")
            await asyncio.to_thread(ledger.heartbeat, job_id, fence=fence, data=data)
            [first, *others] = await asyncio.gather(*waiting)
            assert sequences(first) == [4]
            assert all(other[0] is first[0] for other in others)

    asyncio.run(look())


@pytest.mark.usefixtures("no_sweep")
def test_each_has_what_it_has_not_read(settings: Settings, ledger: Ledger) -> None:
    """Also what lies further behind than one command reads."""
    job_id, others = told(ledger, 220), told(ledger, 3)

    async def look() -> None:
        async with watched(settings) as (watch, _):
            found = await asyncio.gather(
                *[watch.events(job_id, after=after, wait_s=WAIT_S) for after in (0, 50, 215)],
                *[watch.events(others, after=after, wait_s=wait_s) for after, wait_s in ((3, WAIT_S), (5, 0))],
            )
        # Those that were kept: the oldest are let go.
        kept = sequences(found[0])[0]
        assert sequences(found[0]) == list(range(kept, kept + 100))
        assert sequences(found[1])[0] == max(51, kept)
        assert sequences(found[2]) == list(range(216, 223))
        assert [sequences(events) for events in found[3:]] == [[4, 5], []]

    asyncio.run(look())


@pytest.mark.usefixtures("no_sweep")
def test_who_asks_while_something_is_read_has_what_happened_before_it_asked(settings: Settings, ledger: Ledger) -> None:
    job = make_job()
    ledger.accept([job])
    job_id = job.id

    async def look() -> None:
        async with watched(settings) as (watch, asked):
            later: list[asyncio.Task[list[AnyEvent]]] = []

            async def more() -> None:
                # What is being read was read before this.
                await asyncio.to_thread(ledger.cancel, job_id, keep=False)
                later.append(asyncio.create_task(watch.events(job_id, after=0, wait_s=0)))
                await asyncio.sleep(0)

            asked.before = more
            assert sequences(await watch.events(job_id, after=0, wait_s=0)) == [1]
            assert sequences(await later[0]) == [1, 2]

    asyncio.run(look())


@pytest.mark.usefixtures("no_sweep")
def test_who_waits_is_told_that_redis_does_not_answer(settings: Settings, ledger: Ledger) -> None:
    job_id = told(ledger, 0)

    async def look() -> None:
        async with watched(settings) as (watch, asked):
            asked.error = Unavailable(Code.BROKER_UNAVAILABLE, "away", "wait")
            waiting = [watch.events(job_id, after=0, wait_s=wait_s) for wait_s in (0, WAIT_S)]
            assert await asyncio.gather(*waiting, return_exceptions=True) == [asked.error] * 2
            asked.error = None
            assert sequences(await watch.events(job_id, after=0, wait_s=WAIT_S)) == [1, 2]
            assert not watch._waiters
            assert watch._sweep is None

    asyncio.run(look())
