"""What is told about a job: CloudEvents 1.0 in JSON.

A job's life is `accepted`, `started` (once an attempt), `progress` (many), then exactly one of `succeeded`, `failed`,
`cancelled`, `expired`; a replayed job begins a new run with `accepted`. An upload of which no job is made is told of
by one event, `refused`. `source` names the deployment, `subject` is the
job's id. `id` is derived from what happened, so that a copy of an event carries the id of the event; `sequence` (the
CloudEvents extension of that name) grows with every event of a job, so that a consumer can drop what is older than what
it has.

Readers ignore fields they do not know: a newer worker may tell more. What it may choose from grows as well, so where a
worker chooses (stage, reason, network) readers take any string, and any event: what they cannot make out is an
`UnknownEvent`.
"""

from __future__ import annotations

import json
import uuid
from functools import cached_property
from typing import Annotated, Literal, NamedTuple, TypeVar, get_args

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from .base import Told
from .errors import Cancelled as CancelledError
from .errors import DeadlinePassed, InvalidRequest
from .recipe import ResolvedRecipe
from .text import Line, Lines

MAX_EVENT_BYTES = 20_000
"""Of an event as JSON: receivers of webhooks need not take more. Labels that would make it longer are left out."""
NAMESPACE = uuid.UUID("6d1f2f0e-3c35-5c0c-9d1e-0f6a3f1f7f5b")


Stage = Literal["fetching", "painting", "storing"]
EndedBy = Literal["steps", "time_budget", "stop_when", "minimum", "request"]


class UnknownRecipe(Told):
    """A recipe of which this version knows too little: a newer worker's method, network or the like."""

    model_config = ConfigDict(extra="allow")

    method: str = ""


_RECIPE: TypeAdapter[ResolvedRecipe] = TypeAdapter(ResolvedRecipe)


def _as_far_as_known(recipe: object) -> object:
    """A recipe that was told of, without fields that this version does not know. In jobs, those would be an error."""
    if isinstance(recipe, BaseModel):
        return recipe
    try:
        return _RECIPE.validate_python(recipe, extra="ignore")
    except ValidationError:
        return UnknownRecipe.model_validate(recipe)


class EventData(Told):
    """What all events tell."""

    tenant: str | None = Field(
        default=None, description="Whose job it is; null: nobody's in particular; set by the ledger."
    )
    labels: dict[str, str] = Field(default_factory=dict, description="The job's own; set by the ledger.")
    run: int = Field(default=0, description="Which life of the job, from 1; set by the ledger.")
    attempt: int = Field(
        default=0, description="Which try within the run, from 1; 0: no worker has it; set by the ledger."
    )


class AcceptedData(EventData):
    """Of `Accepted`."""

    queue: str


class StartedData(EventData):
    """Of `Started`."""

    worker: str = Field(description="Name of the worker that took the job; empty: a tenant is told none.")


class ProgressData(EventData):
    """Of `Progress`."""

    number: int = Field(description="Counts the progress events of an attempt, from 1.")
    stage: Stage | str
    step: int = Field(default=0, description="Gradient evaluations done, over all scales.")
    steps: int = Field(default=0, description="Gradient evaluations there will be.")
    size_px: int = Field(default=0, description="Longest side being painted now.")
    losses: dict[str, float] = Field(default_factory=dict, description="Un-weighted, by term.")
    left_s: float | None = Field(default=None, description="Estimated seconds of painting left.")
    preview: str | None = Field(default=None, description="Where the newest preview lies: s3://bucket/key.")


class StoredFile(Told):
    """An object of ours as it lies in the store."""

    bucket: str
    key: str
    etag: str
    sha256: str
    size_bytes: int


class StoredPicture(StoredFile):
    """A picture as it lies in the store."""

    width_px: int
    height_px: int
    content_type: str


class Face(NamedTuple):
    """Where a face is: a rectangle around brows, eyes and mouth, in pixels of the picture; in JSON four numbers."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


class PaintingReport(Told):
    """How a picture came about, and what can be said of it."""

    network: str = Field(description="Which network painted.")
    network_digest: str = Field(description="SHA-256 of its weights.")
    precision: str = Field(description="Of the network's arithmetic: float32, bfloat16 or tensorfloat32.")
    tiles: int = Field(description="Into how many tiles the picture was cut to fit into memory; 1: painted whole.")
    steps: int = Field(description="Gradient evaluations done; 0 for the fast method.")
    ended_by: EndedBy | str = Field(
        description="Why there were no more: all done; the recipe's time_budget_s or stop_when; L-BFGS found no way "
        "down any more; somebody asked for the picture as it was."
    )
    losses: dict[str, float] = Field(description="Of the picture, un-weighted, by term; none for the fast method.")
    style_distances: dict[str, float] = Field(
        description="Un-weighted, by layer; their weighted sum is the style loss."
    )
    ssim: float = Field(description="Structural similarity of the lightness to the content's; 1: the content itself.")
    timings_s: dict[str, float] = Field(description="Seconds by stage: fetch, paint, store; none for a reused picture.")
    peak_memory_bytes: int = Field(description="Most that the painting process held at once, resident.")
    notes: list[str] = Field(default=[], description="What is not as one would expect it, for people.")
    faces: list[Face] | None = Field(
        default=None,
        description="Those that were found in the content and kept, the largest first; null: none were looked for.",
    )
    kept_share: float | None = Field(
        default=None,
        description="How much of the picture was kept closer to the content, for faces, whatever else stands out and "
        "the job's keep_mask, from 0 to 1; null: nothing, or the fast method.",
    )


class SucceededData(EventData):
    """Of `Succeeded`."""

    output: StoredPicture
    report_key: str | None = Field(default=None, description="Key of the contact sheet, in the output's bucket.")
    report_file: StoredFile | None = Field(default=None, description="The contact sheet as it lies in the store.")
    thumbnail_file: StoredFile | None = Field(default=None, description="The small picture as it lies in the store.")
    fingerprint: str = Field(description="SHA-256 of all that determined the output's bytes.")
    recipe: Annotated[ResolvedRecipe | UnknownRecipe, BeforeValidator(_as_far_as_known)] = Field(
        description="As run, every field filled."
    )
    engine_version: str
    report: PaintingReport
    reused: bool = Field(default=False, description="The picture was painted for another job of the same fingerprint.")
    partial: bool = Field(default=False, description="Painting was stopped early and what there was kept.")


class FailedData(EventData):
    """Of `Failed`."""

    code: Line = Field(description="Stable: one of `stylequeue.Code`, or of a newer version's.")
    message: Line
    hint: Lines = ""


class ExpiredData(FailedData):
    """Code, message and hint as of an error."""

    @classmethod
    def late(cls) -> ExpiredData:
        """A deadline that passed."""
        error = DeadlinePassed("the deadline passed before the picture was done")
        return cls(code=error.code, message=error.message, hint=error.hint)


class CancelledData(FailedData):
    """Code, message and hint as of an error."""

    @classmethod
    def by_request(cls) -> CancelledData:
        """A job that is no longer wanted."""
        error = CancelledError()
        return cls(code=error.code, message=error.message, hint=error.hint)


class UploadRefusedData(FailedData):
    """Code, message and hint as of an error; and the upload that it is about."""

    rule: str = Field(description="Of the operator's file.")
    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    size_bytes: int | None = None


class _Event(Told):
    type: str
    specversion: Literal["1.0"] | str = "1.0"
    id: str
    source: str
    subject: str = Field(description="The job's id.")
    time: AwareDatetime
    datacontenttype: Literal["application/json"] | str = "application/json"
    sequence: str = Field(default="", description="Ten digits; grows with every event of the job; set by the ledger.")
    traceparent: str | None = Field(
        default=None, description="W3C trace context of whoever did it, or the job's; where there is one."
    )

    @property
    def kind(self) -> str:
        """What happened, in one word: `accepted`, `succeeded`, ..."""
        return kind_of(self.type)

    @cached_property
    def text(self) -> str:
        """The event as JSON; where it was read, exactly as it was told, with what this version does not know."""
        return self.model_dump_json(exclude_none=True)


class Accepted(_Event):
    """The ledger has the job; nothing is lost from here on."""

    type: Literal["io.stylequeue.job.accepted.v1"] = "io.stylequeue.job.accepted.v1"
    data: AcceptedData


class Started(_Event):
    """A worker began an attempt."""

    type: Literal["io.stylequeue.job.started.v1"] = "io.stylequeue.job.started.v1"
    data: StartedData


class Progress(_Event):
    """How far the attempt is. On the job's own stream only."""

    type: Literal["io.stylequeue.job.progress.v1"] = "io.stylequeue.job.progress.v1"
    data: ProgressData


class Succeeded(_Event):
    """The picture lies in the store."""

    type: Literal["io.stylequeue.job.succeeded.v1"] = "io.stylequeue.job.succeeded.v1"
    data: SucceededData


class Failed(_Event):
    """The job ended without a picture."""

    type: Literal["io.stylequeue.job.failed.v1"] = "io.stylequeue.job.failed.v1"
    data: FailedData


class Expired(_Event):
    """The deadline passed before the picture was done."""

    type: Literal["io.stylequeue.job.expired.v1"] = "io.stylequeue.job.expired.v1"
    data: ExpiredData


class Cancelled(_Event):
    """Somebody no longer wanted the picture."""

    type: Literal["io.stylequeue.job.cancelled.v1"] = "io.stylequeue.job.cancelled.v1"
    data: CancelledData


class UploadRefused(_Event):
    """An upload that a rule is for, and of which no job was made."""

    type: Literal["io.stylequeue.upload.refused.v1"] = "io.stylequeue.upload.refused.v1"
    subject: str = Field(description="The id that its job would have.")
    data: UploadRefusedData


TerminalEvent = Succeeded | Failed | Cancelled | Expired
KnownEvent = Accepted | Started | Progress | TerminalEvent | UploadRefused
EVENT: TypeAdapter[KnownEvent] = TypeAdapter(Annotated[KnownEvent, Field(discriminator="type")])
"""Reads and describes the events of this version."""


_TYPES = [kind.model_fields["type"].default for kind in get_args(KnownEvent)]


class UnknownData(EventData):
    """Of `UnknownEvent`: whatever else it told."""

    model_config = ConfigDict(extra="allow")


def _or_nothing(data: object, read: ValidatorFunctionWrapHandler) -> UnknownData:
    """What an unknown event told, where it told it as ours do."""
    try:
        unknown: UnknownData = read(data)
    except ValidationError:
        return UnknownData()
    return unknown


class UnknownEvent(_Event):
    """An event of a newer worker, of which this version knows only that it happened."""

    type: str = Field(json_schema_extra={"not": {"enum": [*_TYPES]}})
    data: Annotated[UnknownData, WrapValidator(_or_nothing)] = Field(default_factory=UnknownData)


AnyEvent = KnownEvent | UnknownEvent


def read_event(event: str | bytes) -> AnyEvent:
    """An event as it was told, whatever version told it. Raises InvalidRequest where it is none."""
    try:
        return _as_told(EVENT.validate_json(event), event)
    except ValidationError:
        pass
    try:
        return _as_told(UnknownEvent.model_validate_json(event), event)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))} {fault['msg']}".strip() for fault in error.errors())
        raise InvalidRequest(f"this is no event: {faults}", "see `stylequeue schema event`") from None


_E = TypeVar("_E", bound=_Event)


def _as_told(event: _E, text: str | bytes) -> _E:
    vars(event)["text"] = text if isinstance(text, str) else text.decode()
    return event


def kind_of(event_type: str) -> str:
    """What happened, in one word, by an event's type: `succeeded` for io.stylequeue.job.succeeded.v1."""
    return event_type.split(".")[-2] if "." in event_type else event_type


def for_tenant(event: str) -> str:
    """An event (JSON) as a tenant may see it: as it was told, but for the worker's name, which is the operator's."""
    fields = json.loads(event)
    if not fields["data"].get("worker"):
        return event
    # Empty, not left out: readers count on it.
    fields["data"]["worker"] = ""
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def source_of(deployment: str) -> str:
    """The CloudEvents `source` of a deployment."""
    return f"/stylequeue/{deployment}"


def event_id(*, job_id: str, run: int, event_type: str, attempt: int | None = None, number: str = "") -> str:
    """The id of an event: uuid5 of what happened. Terminal events leave `attempt` out: a run ends once.

    The ledger's scripts derive the same id (`ledger/common.lua`); this is for consumers who want to check.
    """
    what = "" if attempt is None else f"{attempt}/{number}"
    return str(uuid.uuid5(NAMESPACE, f"{job_id}/{run}/{event_type}/{what}"))
