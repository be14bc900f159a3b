"""Jobs: handed in, looked at, ended."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, Field

from ..contract.base import ID_PATTERN, MAX_ID_CHARS
from ..contract.errors import InvalidRequest
from ..contract.status import JobState, JobStatus
from .access import Caller, Reader, Submitter
from .bodies import IDEMPOTENCY_KEY, check_id, job_id_of, job_of
from .problems import document
from .reading import StrictRoute
from .state import GatewayState
from .view import JobView, show, view_of
from .waiting import Wait, WaitWanted, ended_or_not

MAX_PAGE = 100
"""Jobs in one answer."""
_LABEL = "label."
_TOLD = "Its worker is told with its next heartbeat, or the next worker that has it."

router = APIRouter(prefix="/v1", tags=["jobs"], responses=document(), route_class=StrictRoute)

JobId = Annotated[str, Path(pattern=ID_PATTERN, max_length=MAX_ID_CHARS, description="The job's id.")]


class JobPage(BaseModel):
    """Some of the jobs that were asked for, the newest first."""

    jobs: list[JobView]
    cursor: str | None = Field(
        description="To be given for those that follow; null: there are none. A page may be short."
    )


@router.post(
    "/jobs",
    operation_id="submit_job",
    status_code=202,
    responses={
        200: {"model": JobView, "description": "It had been handed in before, or has ended already."},
        202: {"description": "It is on record: nothing is lost from here on."},
    },
    openapi_extra={"x-body": "JobRequest"},
)
async def submit_job(
    request: Request,
    response: Response,
    gateway: GatewayState,
    caller: Submitter,
    wait: WaitWanted,
    fields: Annotated[dict[str, Any], Body()],
    idempotency_key: Annotated[str | None, Header(**IDEMPOTENCY_KEY)] = None,
) -> JobView:
    """Hand a job in.

    With `Idempotency-Key`, or an `id` in the body, the same request again is the same job: it is answered with what is
    known of it by now. With another content it is a `job_conflict`.
    """
    job_id = None
    if idempotency_key is not None:
        if fields.get("id") is not None:
            raise InvalidRequest("the body names an id, and Idempotency-Key another", "leave one of them out")
        job_id = job_id_of(caller.tenant, idempotency_key)
    await check_id(caller.queue, fields.get("id"))
    status, is_new = await _handed_in(caller, fields, job_id)
    if not is_new and idempotency_key is not None:
        response.headers["Idempotent-Replayed"] = "true"
    view = await _waited(request, response, gateway, caller, status, wait, otherwise=202 if is_new else 200)
    response.headers["Location"] = view.links.self
    return view


@router.put(
    "/jobs/{job_id}",
    operation_id="put_job",
    status_code=201,
    responses={
        200: {"model": JobView, "description": "It had been handed in before, or has ended already."},
        201: {"description": "It is on record: nothing is lost from here on."},
        202: {"model": JobView, "description": "It was waited for, and has not ended."},
    },
    openapi_extra={"x-body": "JobRequest"},
)
async def put_job(
    request: Request,
    response: Response,
    gateway: GatewayState,
    caller: Submitter,
    wait: WaitWanted,
    job_id: JobId,
    fields: Annotated[dict[str, Any], Body()],
) -> JobView:
    """Hand a job in under an id of one's own: as often as need be, it is one job."""
    await check_id(caller.queue, job_id)
    status, is_new = await _handed_in(caller, fields, job_id)
    return await _waited(request, response, gateway, caller, status, wait, otherwise=201 if is_new else 200)


@router.get(
    "/jobs/{job_id}",
    operation_id="get_job",
    response_model=JobView,
    responses={
        202: {"model": JobView, "description": "It was waited for, and has not ended."},
        304: {"description": "Nothing has happened since the answer whose ETag If-None-Match names."},
    },
)
async def get_job(
    request: Request,
    response: Response,
    gateway: GatewayState,
    caller: Reader,
    wait: WaitWanted,
    job_id: JobId,
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Any:
    """What is known of a job."""
    status = await caller.queue.status(job_id)
    view = await _waited(request, response, gateway, caller, status, wait, otherwise=200)
    etags = {etag.strip().removeprefix("W/") for etag in (if_none_match or "").split(",")}
    if response.headers["ETag"] in etags or "*" in etags:
        return Response(status_code=304, headers=dict(response.headers))
    return view


@router.get("/jobs", operation_id="list_jobs")
async def list_jobs(
    request: Request,
    gateway: GatewayState,
    caller: Reader,
    state: Annotated[JobState | None, Query(description="Only those in this state.")] = None,
    created_after: Annotated[AwareDatetime | None, Query(description="Only those handed in then or later.")] = None,
    created_before: Annotated[AwareDatetime | None, Query(description="Only those handed in before.")] = None,
    cursor: Annotated[str | None, Query(max_length=400, description="Of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
) -> JobPage:
    """The jobs that the caller may see, the newest first; with `label.NAME=VALUE`, those with this label.

    Labels are those that the operator has indexed (STYLEQUEUE_INDEXED_LABELS). A page may hold fewer jobs than `limit`
    and yet have a `cursor`: there was much to look through. Jobs that are handed in meanwhile do not shift the pages.
    """
    page = await caller.queue.jobs(
        state=state,
        label=_labels(request, gateway.settings.indexed_labels),
        created_after=created_after,
        created_before=created_before,
        after=None if cursor is None else _position(cursor),
        limit=limit,
        is_bounded=True,
    )
    root_path = request.scope.get("root_path", "")
    return JobPage(
        jobs=[view_of(status, caller, root_path=root_path) for status in page],
        cursor=page.after and _cursor(page.after),
    )


@router.post(
    "/jobs/{job_id}/cancel", operation_id="cancel_job", responses={202: {"model": JobView, "description": _TOLD}}
)
async def cancel_job(request: Request, response: Response, caller: Submitter, job_id: JobId) -> JobView:
    """A job is no longer wanted. One that has ended stays as it is."""
    return await _ended_by(request, response, caller, job_id, keep=False)


@router.post("/jobs/{job_id}/stop", operation_id="stop_job", responses={202: {"model": JobView, "description": _TOLD}})
async def stop_job(request: Request, response: Response, caller: Submitter, job_id: JobId) -> JobView:
    """A picture is wanted as it is by now: it is stored, marked partial. If there is none yet, the job is cancelled."""
    return await _ended_by(request, response, caller, job_id, keep=True)


@router.post("/jobs/{job_id}/retry", operation_id="retry_job", status_code=202)
async def retry_job(request: Request, response: Response, caller: Submitter, job_id: JobId) -> JobView:
    """A job that ended without a picture is tried again, as its next run."""
    await caller.queue.retry(job_id)
    return show(request, response, caller, await caller.queue.status(job_id), code=202)


@router.delete("/jobs/{job_id}", operation_id="delete_job", status_code=204)
async def delete_job(caller: Submitter, job_id: JobId) -> None:
    """An ended job is forgotten: its record, its events, its picture and what lies beside it.

    Pictures that were copied from it for other jobs are theirs, and stay.
    """
    await caller.queue.delete(job_id)


async def _handed_in(caller: Caller, fields: dict[str, Any], job_id: str | None) -> tuple[JobStatus, bool]:
    job, notify = await job_of(caller.queue, fields, job_id=job_id, key=caller.key)
    (submission,) = await caller.queue.submit_each([job], notify=notify)
    if submission.error:
        raise submission.error
    return await caller.queue.status(job.id), submission.is_new


async def _waited(
    request: Request,
    response: Response,
    gateway: GatewayState,
    caller: Caller,
    status: JobStatus,
    wait: Wait,
    *,
    otherwise: Literal[200, 201, 202],
) -> JobView:
    """The job's view: once it has ended, where that is waited for."""
    status = await ended_or_not(request, gateway, caller.queue, status, wait)
    wait.applied(response)
    if wait.seconds:
        otherwise = 200 if status.ended else 202
    return show(request, response, caller, status, code=otherwise)


async def _ended_by(request: Request, response: Response, caller: Caller, job_id: str, *, keep: bool) -> JobView:
    await caller.queue.cancel(job_id, keep=keep)
    status = await caller.queue.status(job_id)
    return show(request, response, caller, status, code=200 if status.ended else 202)


def _labels(request: Request, indexed: Any) -> dict[str, str]:
    """What the query asks of labels. Raises InvalidRequest for what the list does not know."""
    known = {"state", "created_after", "created_before", "cursor", "limit"}
    labels: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        label = name.removeprefix(_LABEL)
        if label == name and name not in known:
            raise InvalidRequest(f"the list knows no {name!r}", f"there are {', '.join(sorted(known))} and label.NAME")
        if label != name:
            if label not in indexed:
                there = ", ".join(indexed) or "none"
                raise InvalidRequest(f"jobs are not found by label {label!r}", f"by these they are: {there}")
            if labels.setdefault(label, value) != value:
                raise InvalidRequest(f"label {label!r} is asked for with two values", "no job has both")
    return labels


def _cursor(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def _position(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise InvalidRequest("the cursor is none", "give the `cursor` of a page before") from None
