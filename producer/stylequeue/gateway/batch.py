"""Many jobs handed in at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, Field

from ..contract.errors import InvalidRequest, StyleQueueError
from ..contract.job import Job
from .access import Caller, Submitter
from .bodies import IDEMPOTENCY_KEY, MAX_BATCH, BatchRequest, job_id_of, job_of, no_key_of_its_own, not_its_own
from .limits import take_turns
from .problems import Problem, document, problem_of
from .reading import StrictRoute
from .view import JobView, view_of

MAX_BODY_BYTES = 8 * 1024**2
"""Of a batch."""

router = APIRouter(prefix="/v1", tags=["jobs"], responses=document(), route_class=StrictRoute)


class BatchVerdict(BaseModel):
    """What became of one job of a batch."""

    id: str | None = Field(description="The job's; null where it has none that could be read.")
    verdict: Literal["new", "known", "refused"]
    job: JobView | None = Field(default=None, description="Where it is on record.")
    problem: Problem | None = Field(default=None, description="Why it was refused.")


class BatchAnswer(BaseModel):
    """What became of each job, in order."""

    jobs: list[BatchVerdict] = Field(max_length=MAX_BATCH)


@dataclass
class _One:
    """A job of the batch on its way."""

    fields: Mapping[str, Any]
    job: Job | None = None
    notify: tuple[str, ...] = ()
    is_new: bool = False
    error: StyleQueueError | None = None

    @property
    def id(self) -> str | None:
        named = self.job.id if self.job else self.fields.get("id")
        return named if isinstance(named, str) else None


@router.post(
    "/jobs:batch", operation_id="submit_jobs", openapi_extra={"x-items": "JobRequest"}, max_body_size=MAX_BODY_BYTES
)
async def submit_jobs(
    request: Request,
    caller: Submitter,
    batch: BatchRequest,
    idempotency_key: Annotated[str | None, Header(**IDEMPOTENCY_KEY)] = None,
) -> BatchAnswer:
    """Hand many jobs in, each of which stands alone: those that are refused are named, the others are on record.

    With `Idempotency-Key`, the same batch again is the same jobs: those without an id have one by the key and their
    place.
    """
    # One of them is paid for as the request.
    await take_turns(request, caller.queue, len(batch.jobs) - 1)
    ones = [_One(fields) for fields in batch.jobs]
    refused = await not_its_own(caller.queue, [one.fields.get("id") for one in ones])
    for place, one in enumerate(ones):
        has_id = idempotency_key is None or one.fields.get("id") is not None
        job_id = None if has_id else job_id_of(caller.tenant, f"{idempotency_key}/{place}")
        try:
            if isinstance(named := one.fields.get("id"), str) and named in refused:
                raise no_key_of_its_own(named)
            one.job, one.notify = await job_of(caller.queue, one.fields, job_id=job_id, key=caller.key)
        except StyleQueueError as error:
            one.error = error
    await _hand_in(caller, ones)
    return BatchAnswer(jobs=[verdict async for verdict in _verdicts(request, caller, ones)])


async def _hand_in(caller: Caller, ones: Sequence[_One]) -> None:
    for notify in {one.notify for one in ones}:
        alike = [(one, one.job) for one in ones if one.job and one.notify == notify]
        try:
            submissions = await caller.queue.submit_each([job for _, job in alike], notify=notify)
        except InvalidRequest as error:  # an endpoint that there is not
            for one, _ in alike:
                one.error = error
            continue
        for (one, _), submission in zip(alike, submissions, strict=True):
            one.is_new, one.error = submission.is_new, submission.error


async def _verdicts(request: Request, caller: Caller, ones: Sequence[_One]) -> Any:
    ids = [one.id or "" for one in ones if not one.error]
    statuses: Iterator[Any] = iter(await caller.queue.statuses(ids))
    root_path = request.scope.get("root_path", "")
    for one in ones:
        if one.error:
            yield BatchVerdict(id=one.id, verdict="refused", problem=problem_of(request, one.error))
        else:
            status = next(statuses)
            view = view_of(status, caller, root_path=root_path) if status else None
            yield BatchVerdict(id=one.id, verdict="new" if one.is_new else "known", job=view)
