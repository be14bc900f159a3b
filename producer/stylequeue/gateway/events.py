"""Events as they happen: server-sent, of one job or of many, resumed by their ids."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.sse import format_sse_event
from pydantic import StringConstraints

from ..contract.base import ID_PATTERN, MAX_ID_CHARS
from ..contract.errors import EventsLost, InvalidRequest, JobNotFound
from ..contract.events import Accepted, AnyEvent, Started, TerminalEvent, for_tenant
from ..contract.status import Glance, JobStatus
from .access import Caller, Reader
from .problems import document
from .state import Gateway, GatewayState
from .streams import EVENT_STREAM, EventStream
from .view import view_of

MAX_JOBS = 100
"""Named in one request."""
_PAGE = 1000
"""Jobs looked at in one go."""
_LABEL = "label."
_FRAMES = 256
"""Kept as they are sent: as many events as are on their way to several streams at a time."""
_PIECE_BYTES = 16 * 1024
"""Sent at a time, unless one event is longer."""
_OPENING = format_sse_event(retry=2000)
"""What every stream begins with: whoever is in between has something to pass on. And after how many milliseconds a
client whose stream has ended asks for what follows.
"""

router = APIRouter(prefix="/v1", tags=["events"], responses=document())

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": EVENT_STREAM},
    204: {"description": "All has been told: what was asked for has ended."},
}


class NothingMore(Exception):
    """All has been told. Answered with 204, which keeps browsers from asking again."""


def handle(app: FastAPI) -> None:
    """Have it answered so."""

    async def nothing(_: Request, __: Exception) -> Response:
        return Response(status_code=204)

    app.add_exception_handler(NothingMore, nothing)


async def _resumed(
    after: Annotated[str | None, Query(max_length=40, description="The same, where no header can be sent.")] = None,
    last_event_id: Annotated[
        str | None, Header(max_length=40, description="The id of the newest event that the caller has.")
    ] = None,
) -> str | None:
    return last_event_id or after or None


_Resumed = Annotated[str | None, Depends(_resumed)]


# One job's


_JobId = Annotated[str, Path(pattern=ID_PATTERN, max_length=MAX_ID_CHARS, description="The job's id.")]


async def _sequence(caller: Reader, job_id: _JobId, resumed: _Resumed) -> int:
    if not re.fullmatch(r"\d{1,15}", resumed or "0", re.ASCII):
        raise InvalidRequest(f"{resumed!r} is no event's id", "give the id of an event of this stream")
    sequence, [job] = int(resumed or 0), await _glances(caller, [job_id])
    if job.ended and sequence >= job.sequence:
        raise NothingMore
    return sequence


@router.get(
    "/jobs/{job_id}/events", operation_id="follow_job", status_code=200, response_class=EventStream, responses=_ANSWERS
)
async def follow_job(
    request: Request, gateway: GatewayState, caller: Reader, job_id: _JobId, after: Annotated[int, Depends(_sequence)]
) -> EventStream:
    """A job's events, each as it happens, with its sequence as `id`: from the newest run's first, or from behind
    `Last-Event-ID` or `after`. The stream ends behind the event that tells of the job's end.

    Where some that should come are kept no longer, `lost` comes first, with what is known of the job.
    """
    return EventStream(gateway.streams, caller.key, _of_one(request, caller, job_id, after))


async def _of_one(request: Request, caller: Caller, job_id: str, after: int) -> AsyncGenerator[bytes, None]:
    yield _OPENING
    async with aclosing(caller.queue.watch(job_id, after=after)) as events:
        async for event in events:
            sequence = int(event.sequence)
            if sequence != after + 1 if after else not isinstance(event, Accepted):
                yield _lost(await caller.queue.status(job_id), request, caller)
            after = sequence
            yield _told(event, caller, position=event.sequence)


# Many jobs'


@dataclass(frozen=True)
class _Wanted:
    tenant: str | None
    job_ids: frozenset[str]
    """Without one: of all."""
    labels: dict[str, str]
    after: str
    open_ids: frozenset[str]
    """Of `job_ids`, those of jobs that end behind `after`, if ever."""

    def __call__(self, event: AnyEvent) -> bool:
        return (
            self.tenant in (None, event.data.tenant)
            and (not self.job_ids or event.subject in self.job_ids)
            and self.labels.items() <= event.data.labels.items()
        )


async def _many(
    request: Request,
    gateway: GatewayState,
    caller: Reader,
    resumed: _Resumed,
    job: Annotated[
        list[Annotated[str, StringConstraints(pattern=ID_PATTERN, max_length=MAX_ID_CHARS)]] | None,
        Query(max_length=MAX_JOBS, description="Ids of jobs; without one, all that the caller may see."),
    ] = None,
) -> _Wanted:
    labels: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name.startswith(_LABEL):
            labels[name.removeprefix(_LABEL)] = value
        elif name not in ("job", "after"):
            raise InvalidRequest(f"events know no {name!r}", "there are job, label.NAME and after")
    # First of all: what happens from here on is not missed.
    newest = await gateway.queue.newest_position()
    named = [one for one in await _glances(caller, job or ()) if labels.items() <= one.labels.items()]
    if job and not named:
        raise NothingMore
    open_ids = frozenset(one.id for one in named if not one.ended)
    wanted = _Wanted(caller.tenant, frozenset(one.id for one in named), labels, resumed or newest, open_ids)
    if resumed is not None:
        wanted = replace(wanted, open_ids=open_ids | await _ended_since(caller, wanted))
    if job and not wanted.open_ids:
        raise NothingMore
    return wanted


async def _ended_since(caller: Caller, wanted: _Wanted) -> frozenset[str]:
    """Jobs that are named and have ended behind a position. Raises InvalidRequest for what is none."""
    ended: set[str] = set()
    try:
        async with aclosing(caller.queue.events(after=wanted.after, follow=False)) as events:
            async for _, event in events:
                if not wanted.job_ids:
                    break
                if isinstance(event, TerminalEvent) and wanted(event):
                    ended.add(event.subject)
    except EventsLost:
        return wanted.job_ids
    return frozenset(ended)


@router.get("/events", operation_id="follow_jobs", status_code=200, response_class=EventStream, responses=_ANSWERS)
async def follow_jobs(
    request: Request, gateway: GatewayState, caller: Reader, wanted: Annotated[_Wanted, Depends(_many)]
) -> EventStream:
    """Events of many jobs as they happen: of those named by `job` that have all labels that `label.NAME=VALUE` asks.

    Lifecycle events have their position among all jobs' as `id`; progress has none. First comes what has happened
    behind `Last-Event-ID` or `after`, if one is given, and the newest progress of each job that is being painted. Where
    what happened is kept no longer, `lost` comes instead, once for each job, with what is known of it. The stream ends
    once all jobs that were named have ended, and where its reader is too slow: it is resumed then.
    """
    return EventStream(gateway.streams, caller.key, _of_many(request, gateway, caller, wanted))


async def _of_many(request: Request, gateway: Gateway, caller: Caller, wanted: _Wanted) -> AsyncGenerator[bytes, None]:
    yield _OPENING
    still_open = set(wanted.open_ids)
    async with aclosing(_happening(gateway, caller, wanted)) as happening:
        async for some in happening:
            frames = []
            for position, one in some:
                if isinstance(one, JobStatus):
                    frames.append(_lost(one, request, caller, position=position))
                    ended = one.id if one.ended else None
                else:
                    frames.append(_told(one, caller, position=position))
                    ended = one.subject if isinstance(one, TerminalEvent) else None
                if ended in still_open:
                    still_open.remove(ended)
                    if not still_open:
                        break
            for piece in _pieces(frames):
                yield piece
            if wanted.open_ids and not still_open:
                return


_Told = tuple[str | None, AnyEvent | JobStatus]


async def _happening(gateway: Gateway, caller: Caller, wanted: _Wanted) -> AsyncGenerator[Sequence[_Told], None]:
    """Events that are wanted, with their positions unless they are progress; a job where its events are lost.

    As many at a time as there are.
    """
    last = wanted.after
    async with aclosing(_caught_up(caller, wanted, last)) as before:
        async for last, one in before:
            if one:
                yield [(last, one)]
    with gateway.feed.listener(wanted) as listener:
        await gateway.feed.begun()
        # What has happened meanwhile.
        async with aclosing(_caught_up(caller, wanted, last)) as before:
            async for last, one in before:
                if one:
                    yield [(last, one)]
        jobs = await caller.queue.glances(list(wanted.job_ids) or None, label=wanted.labels)
        painted = [job for job in jobs if job.state == "running"]
        if newest := [(None, job.progress) for job in painted if job.progress]:
            yield newest
        for job in painted:
            gateway.feed.follow(job.id, listener, after=job.sequence)
        async with aclosing(listener.heard()) as heard:
            async for some in heard:
                if new := [(at, event) for at, event in some if at is None or _place(at) > _place(last)]:
                    yield new


async def _caught_up(
    caller: Caller, wanted: _Wanted, after: str
) -> AsyncGenerator[tuple[str, AnyEvent | JobStatus | None], None]:
    """What has happened behind a position by now, likewise; None in place of what is not wanted."""
    while True:
        try:
            async with aclosing(caller.queue.events(after=after, follow=False)) as events:
                async for after, event in events:
                    yield after, event if wanted(event) else None
            return
        except EventsLost:
            after = await caller.queue.newest_position()
            async for status in _matching(caller, wanted):
                yield after, status


def _place(position: str) -> tuple[int, int]:
    moment_ms, _, number = position.partition("-")
    return int(moment_ms), int(number or 0)


async def _matching(caller: Caller, wanted: _Wanted) -> AsyncGenerator[JobStatus, None]:
    """The jobs whose events are wanted."""
    for job_id in wanted.job_ids:
        yield await caller.queue.status(job_id)
    after = None
    while not wanted.job_ids:
        page = await caller.queue.jobs(label=wanted.labels, after=after, limit=_PAGE)
        for status in page:
            yield status
        if (after := page.after) is None:
            return


# What both are made of


async def _glances(caller: Caller, job_ids: Sequence[str]) -> list[Glance]:
    """How far these jobs are. Raises JobNotFound for one that is not there."""
    found = await caller.queue.glances(job_ids) if job_ids else []
    there = {one.id for one in found}
    for job_id in job_ids:
        if job_id not in there:
            raise JobNotFound(job_id)
    return found


def _told(event: AnyEvent, caller: Caller, *, position: str | None) -> bytes:
    """An event as the caller may see it: as it was told, but for a tenant without what is the operator's."""
    text = event.text
    if isinstance(event, Started) and caller.tenant is not None:
        text = _theirs(text)
    return _frame(text, event.kind, position)


_theirs = lru_cache(_FRAMES)(for_tenant)


@lru_cache(_FRAMES)
def _frame(text: str, kind: str, position: str | None) -> bytes:
    """Made once, for however many streams."""
    return format_sse_event(data_str=text, event=kind, id=position)


def _pieces(frames: Sequence[bytes]) -> Iterator[bytes]:
    """What is sent at a time: several, while they are short."""
    first, size_bytes = 0, 0
    for number, frame in enumerate(frames):
        if first < number and size_bytes + len(frame) > _PIECE_BYTES:
            yield b"".join(frames[first:number])
            first, size_bytes = number, 0
        size_bytes += len(frame)
    yield b"".join(frames[first:])


def _lost(status: JobStatus, request: Request, caller: Caller, *, position: str | None = None) -> bytes:
    view = view_of(status, caller, root_path=request.scope.get("root_path", ""))
    return format_sse_event(data_str=view.model_dump_json(), event="lost", id=position)
