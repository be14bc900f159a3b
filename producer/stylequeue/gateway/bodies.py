"""What callers send, and the jobs that it comes to."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, ValidationError

from ..aclient import AsyncStyleQueue
from ..contract.base import ID_PATTERN, MAX_ID_CHARS, Contract, QueueName
from ..contract.codes import Code
from ..contract.errors import InvalidJob, InvalidRequest
from ..contract.events import NAMESPACE
from ..contract.job import MAX_LABELS, MAX_STYLES, Job, Output, Style
from ..contract.objects import Bucket, ImageRef
from ..contract.recipe import OptimizeRecipe, Recipe
from ..operator_file import MAX_NOTIFY
from .keys import Key
from .problems import Refused, faults_of

MAX_BATCH = 1000
"""Jobs in one request."""


_OF_KEY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
"""Ids that keys come to, as `job_id_of` makes them."""
_BESIDE_TEMPLATE = frozenset({"id", "template", "content", "labels", "deadline", "notify"})
"""What of a job its sender may say whose key is bound to templates."""


class OutputRequest(Output):
    """Where the painted picture goes, and as what."""

    bucket: Bucket | None = Field(default=None, description="Left out: the deployment's own.")  # type: ignore[assignment]


class JobRequest(Contract):
    """A job to be painted. What is left out comes from the template, if one is named."""

    id: str | None = Field(
        default=None,
        pattern=ID_PATTERN,
        max_length=MAX_ID_CHARS,
        description="Names the job for ever: the same id with the same content is the same job. Left out: what the "
        "request names in another place, else a new one.",
    )
    template: str | None = Field(default=None, max_length=64, description="Of the operator's file.")
    content: ImageRef
    styles: Annotated[Sequence[Style], AfterValidator(tuple)] | None = Field(
        default=None, min_length=1, max_length=MAX_STYLES, description="Left out: the template's."
    )
    keep_mask: ImageRef | None = Field(default=None, description=Job.model_fields["keep_mask"].description)
    recipe: Recipe | None = None
    output: OutputRequest | None = Field(
        default=None, description="Left out: in the deployment's bucket, under the tenant's name and the job's id."
    )
    queue: QueueName | None = Field(default=None, description="Left out: fast for the fast method, else paint.")
    deadline: AwareDatetime | None = Field(
        default=None, description="No picture is wanted after it: the job expires. At most 30 days ahead."
    )
    labels: dict[str, str] | None = Field(
        default=None, max_length=MAX_LABELS, description="Passed through to every event."
    )
    notify: tuple[str, ...] = Field(
        default=(),
        max_length=MAX_NOTIFY,
        description="Endpoints of the operator's file that are told of the job's end.",
    )


class BatchRequest(BaseModel):
    """Jobs to be painted, each of which stands alone."""

    jobs: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=MAX_BATCH,
        description="Each as for POST /v1/jobs; those that are not as they must be are named in the answer.",
    )


IDEMPOTENCY_KEY: dict[str, Any] = {
    "min_length": 1,
    "max_length": 255,
    "pattern": r"^[!-~]([ -~]*[!-~])?$",
    "description": "Names the request for ever: sent again, it is the same job. Another tenant's is another.",
}


def job_id_of(tenant: str | None, idempotency_key: str) -> str:
    """The id of the job that a tenant hands in under a key: for the same, the same; for another tenant, another."""
    of_tenant = uuid.uuid5(NAMESPACE, f"tenant/{tenant or ''}")
    # Of a version that nobody else makes ids of, so that they are known.
    of_key = uuid.uuid5(of_tenant, idempotency_key).int & ~(0xF << 76) | 8 << 76
    return str(uuid.UUID(int=of_key))


async def not_its_own(queue: AsyncStyleQueue, job_ids: Iterable[object]) -> frozenset[str]:
    """Of ids that a caller names for a job, those that only keys come to, and none of its own jobs has.

    Whoever may hand in knows the names of tenants and can guess keys: by such an id a tenant could keep another's
    requests from being answered.
    """
    if queue.tenant is None:
        return frozenset()
    of_keys = [job_id for job_id in job_ids if isinstance(job_id, str) and _OF_KEY.fullmatch(job_id)]
    statuses = await queue.statuses(of_keys) if of_keys else []
    return frozenset(job_id for job_id, status in zip(of_keys, statuses, strict=True) if status is None)


async def check_id(queue: AsyncStyleQueue, job_id: object) -> None:
    """Return if a caller may name this id for a job. Raises InvalidRequest."""
    for refused in await not_its_own(queue, [job_id]):
        raise no_key_of_its_own(refused)


def no_key_of_its_own(job_id: str) -> InvalidRequest:
    """What is said of such an id."""
    return InvalidRequest(
        f"ids such as {job_id!r} are made of Idempotency-Keys, and no job of yours has this one",
        "send the key, or take another id: any but a UUID of version 8",
    )


async def job_of(
    queue: AsyncStyleQueue, body: Mapping[str, Any], *, job_id: str | None, key: Key
) -> tuple[Job, tuple[str, ...]]:
    """The job that a request's body comes to, under `job_id` if that is given, and the endpoints it names.

    `key` is the caller's. Raises InvalidJob, with each fault; InvalidRequest; Permanent with `bucket_not_allowed`;
    Refused with `forbidden` where the key does not go so far.
    """
    _check_templates(key, body)
    if job_id is not None:
        if body.get("id") not in (None, job_id):
            raise InvalidRequest("the body names an id, and the request another", "leave one of them out")
        body = {**body, "id": job_id}
    fields = {name: value for name, value in body.items() if name not in ("template", "notify")}
    template, notify = body.get("template"), body.get("notify") or ()
    if not isinstance(template, str | None) or not _are_names(notify):
        raise _invalid(body, InvalidJob("template is a name, notify a list of names"))
    try:
        return await queue.job(fields, template=template), tuple(notify)
    except InvalidJob as error:
        raise _invalid(body, error) from None


def _check_templates(key: Key, body: Mapping[str, Any]) -> None:
    """Return unless the key is bound to templates, and the body says by itself how to paint. Raises Refused."""
    if key.templates is None:
        return
    there = ", ".join(key.templates)
    if body.get("template") not in key.templates:
        raise Refused(Code.FORBIDDEN, "the key is bound to templates, and the job is by none of them", f"name: {there}")
    own = sorted(name for name, value in body.items() if value is not None and name not in _BESIDE_TEMPLATE)
    if own:
        what = f"the key is bound to templates, and the job says more than its template: {own[0]}"
        raise Refused(Code.FORBIDDEN, what, f"beside the template it may say {', '.join(sorted(_BESIDE_TEMPLATE))}")


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _invalid(body: Mapping[str, Any], error: InvalidJob) -> Refused:
    """What is wrong with a body, fault by fault as far as its schema tells."""
    faults = None
    recipe = body.get("recipe")
    if isinstance(recipe, Mapping) and "method" not in recipe:
        body = {**body, "recipe": {"method": OptimizeRecipe().method, **recipe}}
    try:
        JobRequest.__pydantic_validator__.validate_python(body)
    except ValidationError as invalid:
        errors = invalid.errors(include_input=False, include_url=False)
        faults = faults_of([{**fault, "loc": ("body", *fault["loc"])} for fault in errors], body)
    return Refused(Code(error.code), error.message, error.hint, faults=faults)
