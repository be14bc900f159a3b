"""One view of a job, the same wherever the gateway shows one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import quote

from fastapi import Request, Response
from pydantic import AwareDatetime, BaseModel, Field

from ..contract.errors import InvalidJob
from ..contract.events import Progress, StoredPicture, Succeeded, TerminalEvent, UnknownEvent
from ..contract.job import Job, Style
from ..contract.objects import ImageRef
from ..contract.status import JobState, JobStatus
from .access import Caller

POLL_S = 2
"""After which asking again about an open job may be worth it."""
_MAX_POLL_S = 60


class QueueView(BaseModel):
    """Which queue the job is in and, while it is open, how it stands there."""

    name: str
    ahead: int | None = Field(default=None, description="Jobs that wait and came before it; null: it has ended.")
    workers: int | None = Field(
        default=None, description="Live workers that can paint it and take from its queue; null likewise."
    )
    eta_s: float | None = Field(default=None, description="Seconds until it is done, about; null: not known.")


class ProgressView(BaseModel):
    """How far the attempt is."""

    stage: str = Field(description="fetching, painting or storing; a newer worker may know more.")
    step: int = Field(description="Gradient evaluations done, over all scales.")
    steps: int = Field(description="Gradient evaluations there will be.")
    size_px: int = Field(description="Longest side being painted now.")
    left_s: float | None = Field(default=None, description="Seconds of painting left, about.")


class OutputView(StoredPicture):
    """The picture as it lies in the store."""

    reused: bool = Field(description="It was painted for another job of the same pictures and recipe.")
    partial: bool = Field(description="Painting was stopped early, and what there was kept.")


class ErrorView(BaseModel):
    """Why there is no picture."""

    code: str = Field(description="Stable: programs compare it. /problems/<code> says what it means.")
    message: str
    hint: str = ""


class Links(BaseModel):
    """Where to go from here; each is there where it leads to something. Relative to the address that was asked."""

    self: str
    events: str
    result: str | None = Field(default=None, description="GET: the picture.")
    preview: str | None = Field(default=None, description="GET: a small picture of the work so far.")
    report: str | None = Field(default=None, description="GET: the contact sheet.")
    thumbnail: str | None = Field(default=None, description="GET: a small one of the picture.")
    content: str | None = Field(default=None, description="GET: the picture that is painted.")
    styles: list[str | None] | None = Field(
        default=None, description="GET: the pictures it is painted like; null: one that the caller may not see."
    )
    cancel: str | None = Field(default=None, description="POST: the job is no longer wanted.")
    stop: str | None = Field(default=None, description="POST: the picture is wanted as it is by now.")
    retry: str | None = Field(default=None, description="POST: the job is to be tried again.")


class AskedView(BaseModel):
    """What a job is painted from and how, as it was handed in."""

    content: ImageRef
    styles: Sequence[Style]
    keep_mask: ImageRef | None = None
    recipe: dict[str, Any] = Field(description="As a job has it; what was left out there is not here.")


class JobView(BaseModel):
    """What is known of a job."""

    id: str
    state: JobState | str = Field(description="A newer service may know more states than these.")
    run: int = Field(description="Which life of the job, from 1: each retry begins one.")
    attempt: int = Field(description="Which try within the run, from 1; 0: no worker has had it.")
    created_at: AwareDatetime
    updated_at: AwareDatetime = Field(description="When it came into this state.")
    deadline_at: AwareDatetime = Field(description="An open job expires then.")
    labels: dict[str, str] = Field(description="The job's own.")
    tenant: str | None = Field(default=None, description="Whose job it is; null: nobody's in particular.")
    asked: AskedView | None = Field(
        default=None, description="Null where the caller's own jobs might not name all of its pictures."
    )
    queue: QueueView
    waits_for: str | None = Field(
        default=None, description="What a queued job lacks before it can be painted, in words; null: its turn."
    )
    progress: ProgressView | None = None
    last_error: str | None = Field(default=None, description="The code that the attempt before this one ended with.")
    error: ErrorView | None = None
    output: OutputView | None = None
    links: Links


def view_of(status: JobStatus, caller: Caller, *, root_path: str = "") -> JobView:
    """What a caller sees of a job; `root_path` is where the gateway is mounted."""
    outcome, job = status.outcome, _job(status)
    may_read = caller.may_read
    return JobView(
        **{name: getattr(status, name) for name in ("id", "state", "run", "attempt", "labels", "tenant", "waits_for")},
        **{name: getattr(status, name) for name in ("created_at", "updated_at", "deadline_at")},
        asked=_asked(job) if job and all(map(may_read, job.images)) else None,
        queue=QueueView(name=status.queue, **(status.standing.model_dump() if status.standing else {})),
        progress=_progress(status),
        last_error=_code(status.last_error),
        error=_error(outcome) if outcome and not isinstance(outcome, Succeeded) else None,
        output=_output(outcome) if isinstance(outcome, Succeeded) else None,
        links=_links(status, job, may_read, f"{root_path}/v1/jobs/{quote(status.id)}"),
    )


def _progress(status: JobStatus) -> ProgressView | None:
    if status.progress is None or status.ended:
        return None
    return ProgressView.model_validate(status.progress.data.model_dump())


def _output(succeeded: Succeeded) -> OutputView:
    data = succeeded.data
    return OutputView(**data.output.model_dump(), reused=data.reused, partial=data.partial)


def _error(outcome: TerminalEvent | UnknownEvent) -> ErrorView | None:
    code = getattr(outcome.data, "code", None)
    if code is None:
        return None
    message, hint = str(getattr(outcome.data, "message", "")), str(getattr(outcome.data, "hint", ""))
    return ErrorView(code=code, message=message, hint=hint)


def _code(error: str | None) -> str | None:
    """Of what is on record about an attempt: its words are for who runs the workers."""
    return found[1] if error and (found := re.match(r"\[(\w+)\]", error)) else None


def _job(status: JobStatus) -> Job | None:
    """None: the message was none, or a producer of another version wrote it."""
    try:
        return None if status.job is None else Job.model_validate(status.job)
    except InvalidJob:
        return None


def _asked(job: Job) -> AskedView:
    recipe = job.recipe.model_dump(mode="json", exclude_none=True)
    return AskedView(content=job.content, styles=job.styles, keep_mask=job.keep_mask, recipe=recipe)


def _links(status: JobStatus, asked: Job | None, may_read: Callable[[ImageRef], bool], job: str) -> Links:
    made = status.outcome.data if isinstance(status.outcome, Succeeded) else None
    is_shown = isinstance(status.progress, Progress) and status.progress.data.preview and not status.ended
    is_open = not status.ended
    return Links(
        self=job,
        events=f"{job}/events",
        result=f"{job}/result" if made else None,
        report=f"{job}/report" if made and made.report_key else None,
        thumbnail=f"{job}/thumbnail" if made and made.thumbnail_file else None,
        preview=f"{job}/preview" if is_shown else None,
        content=f"{job}/content" if asked and may_read(asked.content) else None,
        styles=[f"{job}/styles/{n}" if may_read(one.image) else None for n, one in enumerate(asked.styles, 1)]
        if asked
        else None,
        cancel=f"{job}/cancel" if is_open else None,
        stop=f"{job}/stop" if is_open else None,
        retry=f"{job}/retry" if status.ended and status.state != "succeeded" else None,
    )


def etag_of(status: JobStatus) -> str:
    """Changes with every event of the job."""
    return f'"{status.run}-{status.sequence}"'


def show(
    request: Request, response: Response, caller: Caller, status: JobStatus, *, code: Literal[200, 201, 202]
) -> JobView:
    """A job's view as the answer to a request, with the headers that belong to it."""
    response.status_code = code
    response.headers["ETag"] = etag_of(status)
    if not status.ended:
        left_s = status.progress.data.left_s if status.progress else None
        response.headers["Retry-After"] = str(round(min(max(POLL_S, left_s or 0), _MAX_POLL_S)))
    return view_of(status, caller, root_path=request.scope.get("root_path", ""))
