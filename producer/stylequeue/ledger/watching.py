"""Jobs' own events, read together for however many wait for them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from ..awaiting import for_all
from ..connection import Ask
from ..contract.errors import StyleQueueError
from ..contract.events import AnyEvent
from . import names, streams
from .ticks import Ticks

SWEEP_S = 2.0
"""From one look at all jobs that are waited for to the next: for what is published and not heard."""
_AT_ONCE = 50
"""Jobs looked at by one command."""


@dataclass(eq=False)
class _Waiter:
    after: int
    is_patient: bool
    answer: asyncio.Future[list[AnyEvent] | StyleQueueError]

    def tell(self, answer: list[AnyEvent] | StyleQueueError) -> None:
        if not self.answer.done() and (answer or not self.is_patient):
            self.answer.set_result(answer)


class Watching:
    """Looks at a job when it is said to have events, for all who wait: each is read and made out once.

    Of one event loop.
    """

    def __init__(self, ask: Ask, ticks: Ticks) -> None:
        self._ask = ask
        self._ticks = ticks
        self._waiters: defaultdict[str, set[_Waiter]] = defaultdict(set)
        self._due: set[str] = set()
        """Jobs that are to be looked at."""
        self._looking: asyncio.Task[None] | None = None
        self._sweep: asyncio.TimerHandle | None = None
        ticks.tell_of_jobs(self._look_at)

    async def events(self, job_id: str, *, after: int, wait_s: float) -> list[AnyEvent]:
        """Events of a job with a sequence over `after`; waits up to `wait_s` for the first. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(after, wait_s > 0, loop.create_future())
        self._waiters[job_id].add(waiter)
        self._ticks.listen()
        self._look_at(job_id)
        if self._sweep is None:
            self._sweep = loop.call_later(SWEEP_S, self._sweep_all)
        try:
            async with asyncio.timeout(wait_s if waiter.is_patient else None):
                answer = await waiter.answer
        except TimeoutError:
            return []
        finally:
            self._leave(job_id, waiter)
        if isinstance(answer, StyleQueueError):
            raise answer
        return answer

    async def close(self) -> None:
        """Look no more."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
            self._looking = None

    def _leave(self, job_id: str, waiter: _Waiter) -> None:
        self._waiters[job_id].discard(waiter)
        if not self._waiters[job_id]:
            del self._waiters[job_id]
        if not self._waiters and self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _sweep_all(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep_all)
        self._look_at(None)

    def _look_at(self, job_id: str | None) -> None:
        """At a job, or at all, if anybody waits."""
        if job_id is None:
            self._due.update(self._waiters)
        elif job_id in self._waiters:
            self._due.add(job_id)
        if self._due and (self._looking is None or self._looking.done()):
            self._looking = for_all(self._look())

    async def _look(self) -> None:
        while self._due:
            job_ids = list(islice(self._due, _AT_ONCE))
            self._due.difference_update(job_ids)
            # Who comes while it is read is not answered by that: what it is to see may have happened since.
            waiting = {job_id: self._waiting_for(job_id) for job_id in job_ids}
            await self._read({job_id: waiters for job_id, waiters in waiting.items() if waiters})

    def _waiting_for(self, job_id: str) -> list[_Waiter]:
        return [waiter for waiter in self._waiters.get(job_id, ()) if not waiter.answer.done()]

    async def _read(self, waiting: Mapping[str, Sequence[_Waiter]]) -> None:
        after = {job_id: min(waiter.after for waiter in waiters) for job_id, waiters in waiting.items()}
        try:
            found = await streams.read_each(
                self._ask, {names.events_key(job_id): f"{behind}-1" for job_id, behind in after.items()}
            )
        except StyleQueueError as error:
            for waiters in waiting.values():
                _tell(waiters, error)
            return
        for job_id, waiters in waiting.items():
            events = [event for _, event in found.get(names.events_key(job_id), ())]
            first = [waiter for waiter in waiters if waiter.after == after[job_id]]
            _tell(first, events)
            for waiter in set(waiters).difference(first):
                newer = [event for event in events if int(event.sequence) > waiter.after]
                if newer or not events:
                    waiter.tell(newer)
                else:
                    # What it waits for may lie behind what was read.
                    self._due.add(job_id)


def _tell(waiters: Iterable[_Waiter], answer: list[AnyEvent] | StyleQueueError) -> None:
    for waiter in waiters:
        waiter.tell(answer)
