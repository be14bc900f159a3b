"""The deployment's events, read once for all streams of this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

from ..aclient import AsyncStyleQueue
from ..awaiting import for_all
from ..contract.errors import EventsLost, JobNotFound, StyleQueueError
from ..contract.events import AnyEvent, Progress, Started, TerminalEvent

log = logging.getLogger(__name__)

MAX_BEHIND = 64
"""Lifecycle events that a stream's reader may have yet to take; one that is slower is let go, and resumes."""
_AGAIN_S = 1.0
"""From one try to read to the next, where Redis does not answer."""


@dataclass(eq=False)
class Listener:
    """One stream's part of the feed."""

    wants: Callable[[AnyEvent], bool]
    is_behind: bool = False
    """It was too slow, or what it was to hear is kept no longer: it hears no more."""
    _lives: list[tuple[str, AnyEvent]] = field(default_factory=list)
    _newest: dict[str, Progress] = field(default_factory=dict)
    """Of each job, by its id; a newer one takes its place."""
    _filled: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, position: str, event: AnyEvent) -> None:
        """Have it hear of a lifecycle event."""
        if len(self._lives) == MAX_BEHIND:
            self.let_go()
        if not self.is_behind:
            self._lives.append((position, event))
            self._newest.pop(event.subject, None)
            self._filled.set()

    def put_progress(self, event: Progress) -> None:
        """Have it hear of a job's progress."""
        if not self.is_behind:
            self._newest[event.subject] = event
            self._filled.set()

    def let_go(self) -> None:
        """Have it hear no more than it has."""
        self.is_behind = True
        self._filled.set()

    async def heard(self) -> AsyncGenerator[list[tuple[str | None, AnyEvent]], None]:
        """What it hears, all there is at a time: lifecycle events with their positions, progress without.

        Ends where it falls behind.
        """
        while True:
            await self._filled.wait()
            if heard := [*self._lives, *((None, event) for event in self._newest.values())]:
                self._lives.clear()
                self._newest.clear()
                yield heard
            elif self.is_behind:
                return
            else:
                self._filled.clear()


class Feed:
    """Reads for whoever listens, and for as long as anybody does. Of one event loop."""

    def __init__(self, queue: AsyncStyleQueue) -> None:
        self._queue = queue
        self._listeners: set[Listener] = set()
        self._reading: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        self._jobs: dict[str, _Job] = {}
        """Whose progress is read, by their ids."""
        self._ending: set[asyncio.Task[None]] = set()

    @contextmanager
    def listener(self, wants: Callable[[AnyEvent], bool]) -> Iterator[Listener]:
        """One that hears what it `wants`, once `begun` has returned."""
        listener = Listener(wants)
        self._listeners.add(listener)
        if self._reading is None:
            self._reading = for_all(self._read())
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            for job_id in list(self._jobs):
                self._leave(job_id, listener)
            if not self._listeners:
                self._end(self._reading)
                self._reading = None
                self._begun.clear()

    async def begun(self) -> None:
        """Return when what happens from now on is heard."""
        await self._begun.wait()

    def follow(self, job_id: str, listener: Listener, *, after: int) -> None:
        """Have a listener hear of the progress that an open job makes behind sequence `after`."""
        job = self._jobs.get(job_id)
        if job is None:
            job = self._jobs[job_id] = _Job(for_all(self._read_progress(job_id, after)))
        elif job.reading.done():  # of a run that had ended when it was first asked for
            job.reading = for_all(self._read_progress(job_id, after))
        job.listeners.add(listener)

    async def close(self) -> None:
        """Read no more."""
        for task in (self._reading, *(job.reading for job in self._jobs.values())):
            if task is not None:
                self._end(task)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _leave(self, job_id: str, listener: Listener) -> None:
        if job := self._jobs.get(job_id):
            job.listeners.discard(listener)
            if not job.listeners:
                self._end(job.reading)
                del self._jobs[job_id]

    def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _read(self) -> None:
        position = None
        while True:
            try:
                position = position or await self._queue.newest_position()
                self._begun.set()
                async with aclosing(self._queue.events(after=position)) as events:
                    async for position, event in events:
                        self._pass_on(position, event)
                        # Many may come at once: streams whose readers take them are to have their turn.
                        await asyncio.sleep(0)
            except EventsLost:
                log.warning("events came faster than they were read: streams begin anew")
                position = None
                # Until there is a new one: what happens meanwhile is not heard.
                self._begun.clear()
                for listener in self._listeners:
                    listener.let_go()
            except StyleQueueError as error:
                log.warning("events are not read: %s", error)
                await asyncio.sleep(_AGAIN_S)

    def _pass_on(self, position: str, event: AnyEvent) -> None:
        for listener in self._listeners:
            if listener.wants(event):
                listener.put(position, event)
                if isinstance(event, Started):
                    self.follow(event.subject, listener, after=int(event.sequence))
                elif isinstance(event, TerminalEvent):
                    # What is read of it from now on was told before.
                    self._leave(event.subject, listener)

    async def _read_progress(self, job_id: str, after: int) -> None:
        while True:
            try:
                async with aclosing(self._queue.watch(job_id, after=after)) as events:
                    async for event in events:
                        after = int(event.sequence)
                        if isinstance(event, Progress):
                            for listener in self._jobs[job_id].listeners:
                                listener.put_progress(event)
                return
            except JobNotFound:
                return
            except StyleQueueError as error:
                log.warning("job=%s its progress is not read: %s", job_id, error)
                await asyncio.sleep(_AGAIN_S)


@dataclass
class _Job:
    reading: asyncio.Task[None]
    listeners: set[Listener] = field(default_factory=set)
