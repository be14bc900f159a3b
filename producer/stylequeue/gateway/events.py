"""Events as they happen: server-sent, of one job or of many, resumed by their ids."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import StringConstraints

from ..contract.base import ID_PATTERN, MAX_ID_CHARS
from ..contract.errors import EventsLost, InvalidRequest
from ..contract.events import Accepted, AnyEvent, Started, TerminalEvent
from ..contract.status import JobState, JobStatus
from .access import Caller, Reader
from .problems import document
from .state import Gateway, GatewayState
from .view import view_of

MAX_JOBS = 100
"""Named in one request."""
_PAGE = 1000
"""Jobs looked at in one go."""
_LABEL = "label."
_OPENING = ServerSentEvent(retry=2000)
"""What every stream begins with: whoever is in between has something to pass on. And after how many milliseconds a
client whose stream has ended asks for what follows.
"""

router = APIRouter(prefix="/v1", tags=["events"], responses=document())

_ENDED: dict[int | str, dict[str, Any]] = {204: {"description": "All has been told: what was asked for has ended."}}


class NothingMore(Exception):
    """All has been told. Answered with 204, which keeps browsers from asking again."""


def handle(app: FastAPI) -> None:
    """Have it answered so."""

    async def nothing(_: Request, __: Exception) -> Response:
        return Response(status_code=204)

    app.add_exception_handler(NothingMore, nothing)


def _resumed(
    response: Response,
    after: Annotated[str | None, Query(max_length=40, description="The same, where no header can be sent.")] = None,
    last_event_id: Annotated[
        str | None, Header(max_length=40, description="The id of the newest event that the caller has.")
    ] = None,
) -> str | None:
    # Beside what the framework says there: nobody in between may compress what is to arrive at once.
    response.headers["Cache-Control"] = "no-transform"
    return last_event_id or after or None


_Resumed = Annotated[str | None, Depends(_resumed)]


async def _closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as closing:
        yield closing


_Closing = Annotated[AsyncExitStack, Depends(_closing)]
"""What is closed once the stream is over. A stream whose reader leaves while something is being sent is broken off by
the framework without closing the generator that told it: what that holds would stay until it is collected.
"""


# One job's


_JobId = Annotated[str, Path(pattern=ID_PATTERN, max_length=MAX_ID_CHARS, description="The job's id.")]


async def _sequence(caller: Reader, job_id: _JobId, resumed: _Resumed) -> int:
    if not re.fullmatch(r"\d{1,15}", resumed or "0", re.ASCII):
        raise InvalidRequest(f"{resumed!r} is no event's id", "give the id of an event of this stream")
    sequence, status = int(resumed or 0), await caller.queue.status(job_id)
    if status.ended and sequence >= status.sequence:
        raise NothingMore
    return sequence


@router.get("/jobs/{job_id}/events", operation_id="follow_job", response_class=EventSourceResponse, responses=_ENDED)
async def follow_job(
    request: Request,
    gateway: GatewayState,
    caller: Reader,
    job_id: _JobId,
    after: Annotated[int, Depends(_sequence)],
    closing: _Closing,
) -> AsyncIterator[ServerSentEvent]:
    """A job's events, each as it happens, with its sequence as `id`: from the newest run's first, or from behind
    `Last-Event-ID` or `after`. The stream ends behind the event that tells of the job's end.

    Where some that should come are kept no longer, `lost` comes first, with what is known of the job.
    """
    yield _OPENING
    told = gateway.streams.until_stopped(caller.queue.watch(job_id, after=after))
    async for event in await closing.enter_async_context(aclosing(told)):
        sequence = int(event.sequence)
        if sequence != after + 1 if after else not isinstance(event, Accepted):
            yield _lost(await caller.queue.status(job_id), request)
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
    statuses = await asyncio.gather(*[caller.queue.status(job_id) for job_id in job or ()])
    named = [status for status in statuses if labels.items() <= status.labels.items()]
    if job and not named:
        raise NothingMore
    open_ids = frozenset(status.id for status in named if not status.ended)
    wanted = _Wanted(caller.tenant, frozenset(status.id for status in named), labels, resumed or newest, open_ids)
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


@router.get("/events", operation_id="follow_jobs", response_class=EventSourceResponse, responses=_ENDED)
async def follow_jobs(
    request: Request,
    gateway: GatewayState,
    caller: Reader,
    wanted: Annotated[_Wanted, Depends(_many)],
    closing: _Closing,
) -> AsyncIterator[ServerSentEvent]:
    """Events of many jobs as they happen: of those named by `job` that have all labels that `label.NAME=VALUE` asks.

    Lifecycle events have their position among all jobs' as `id`; progress has none. First comes what has happened
    behind `Last-Event-ID` or `after`, if one is given, and the newest progress of each job that is being painted. Where
    what happened is kept no longer, `lost` comes instead, once for each job, with what is known of it. The stream ends
    once all jobs that were named have ended, and where its reader is too slow: it is resumed then.
    """
    yield _OPENING
    still_open = set(wanted.open_ids)
    happening = gateway.streams.until_stopped(_happening(gateway, caller, wanted))
    async for position, one in await closing.enter_async_context(aclosing(happening)):
        if isinstance(one, JobStatus):
            yield _lost(one, request, position=position)
            ended = one.id if one.ended else None
        else:
            yield _told(one, caller, position=position)
            ended = one.subject if isinstance(one, TerminalEvent) else None
        if ended in still_open:
            still_open.remove(ended)
            if not still_open:
                return


async def _happening(
    gateway: Gateway, caller: Caller, wanted: _Wanted
) -> AsyncGenerator[tuple[str | None, AnyEvent | JobStatus], None]:
    """Events that are wanted, with their positions unless they are progress; a job where its events are lost."""
    with gateway.feed.listener(wanted) as listener:
        await gateway.feed.begun()
        last, has_caught_up = wanted.after, False
        while not has_caught_up:
            try:
                async with aclosing(caller.queue.events(after=last, follow=False)) as events:
                    async for last, event in events:
                        if wanted(event):
                            yield last, event
                has_caught_up = True
            except EventsLost:
                last = await caller.queue.newest_position()
                async for status in _matching(caller, wanted):
                    yield last, status
        async for status in _matching(caller, wanted, state="running"):
            if status.progress:
                yield None, status.progress
            gateway.feed.follow(status.id, listener, after=status.sequence)
        async with aclosing(listener.heard()) as heard:
            async for position, event in heard:
                if position is None or _place(position) > _place(last):
                    yield position, event


def _place(position: str) -> tuple[int, int]:
    moment_ms, _, number = position.partition("-")
    return int(moment_ms), int(number or 0)


async def _matching(
    caller: Caller, wanted: _Wanted, *, state: JobState | None = None
) -> AsyncGenerator[JobStatus, None]:
    """The jobs whose events are wanted."""
    for job_id in wanted.job_ids:
        status = await caller.queue.status(job_id)
        if state in (None, status.state):
            yield status
    after = None
    while not wanted.job_ids:
        page = await caller.queue.jobs(state=state, label=wanted.labels, after=after, limit=_PAGE)
        for status in page:
            yield status
        if (after := page.after) is None:
            return


# What both are made of


def _told(event: AnyEvent, caller: Caller, *, position: str | None) -> ServerSentEvent:
    """An event as the caller may see it: as it was told, but for a tenant without what is the operator's."""
    text = event.text
    if isinstance(event, Started) and caller.tenant is not None:
        fields = json.loads(text)
        fields["data"].pop("worker", None)
        text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    return ServerSentEvent(raw_data=text, event=event.kind, id=position)


def _lost(status: JobStatus, request: Request, *, position: str | None = None) -> ServerSentEvent:
    view = view_of(status, root_path=request.scope.get("root_path", ""))
    return ServerSentEvent(raw_data=view.model_dump_json(), event="lost", id=position)
