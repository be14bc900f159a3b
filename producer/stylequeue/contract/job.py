"""What a job is, what its fields mean, how far they may go.

`Job` is all that travels from a producer to a worker, as JSON: see `stylequeue schema job`. All models are frozen,
and unknown fields are errors, so a misspelt option never passes silently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, Self

import uuid_utils
from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from .base import DEFAULT_QUEUE, ID_PATTERN, MAX_ID_CHARS, Contract, QueueName, canonical_json, parse
from .errors import Code, InvalidJob
from .objects import (
    SIDE_SUFFIXES,
    SUFFIXES,
    Bucket,
    ImageFormat,
    ImageRef,
    check_output_key,
    event_key,
    report_key,
    thumbnail_key,
)
from .recipe import FastRecipe, OptimizeRecipe, Recipe, ResolvedFastRecipe, ResolvedOptimizeRecipe
from .text import check_text

SCHEMA_VERSION: Final = 2
"""Grows when a worker of the version before would misread a job, or refuse it as wrong. Workers are upgraded before
producers; a job is written with the lowest version that can express it, so that most still go to older workers."""
_SECOND_PRESETS = {"brushwork"}
"""Those that version 2 brought."""

TASK_NAME = "stylequeue.stylize"
"""The Celery task that paints; a plain `send_task` names it."""

MAX_JOB_BYTES = 32 * 1024
"""Of a job as JSON. The broker is no place for data: pictures travel by S3 key."""
MAX_STYLES = 8
THUMBNAIL_PX = 512
"""Of a thumbnail's longest side, where the picture has as many."""
MAX_THUMBNAIL_BYTES = 60_000
MAX_LABELS = 16
MAX_LABEL_KEY_CHARS = 64
MAX_LABEL_VALUE_CHARS = 256
MIN_STYLE_WEIGHT, MAX_STYLE_WEIGHT = 0.001, 1000.0
"""Of one style among several."""


METADATA_POLICY: Final = 1
"""Grows when pictures of the same pixels are written with other metadata: see the worker's pictures/metadata."""
Provenance = Literal["full", "none"]


EVERYWHERE = "all"
"""What a person or a form says in place of a style's mask, where others have one."""


class Style(Contract):
    """A style picture, how much it counts among several, and where."""

    image: ImageRef
    weight: float = Field(
        default=1.0, ge=MIN_STYLE_WEIGHT, le=MAX_STYLE_WEIGHT, description="Relative to the other styles' weights."
    )
    mask: ImageRef | None = Field(
        default=None,
        description="A grey picture, white where the style applies, black where not or where it is transparent, "
        "squeezed to the content's shape; left out: everywhere. What no style applies to keeps the content's pixels.",
    )


class Output(Contract):
    """Where the painted picture goes, and as what."""

    bucket: Bucket = Field(description="Bucket; the worker must be allowed to write it.")
    key: Annotated[str, AfterValidator(check_output_key)] | None = Field(
        default=None,
        description=f"Object key, ending neither in {' nor in '.join(SIDE_SUFFIXES)}; "
        "left out: the job's id with the format's suffix.",
    )
    format: ImageFormat = "jpeg"
    quality: int = Field(default=92, ge=1, le=100, description="Of JPEG and WebP; PNG has none.")
    overwrite: bool = Field(
        default=False, description="Replace what lies under the key; else that is the error output_exists."
    )
    report: bool = Field(default=False, description="Also store a contact sheet as <key>.report.png.")
    thumbnail: bool | None = Field(
        default=None,
        description=f"Also store a small picture as <key>.thumb.webp: {THUMBNAIL_PX} px, at most "
        f"{MAX_THUMBNAIL_BYTES // 1000} kB.",
    )
    provenance: Provenance | None = Field(
        default=None,
        description="full, and left out: the picture says in its XMP that and by what it was painted; none: nothing.",
    )


def _new_id() -> str:
    return str(uuid_utils.uuid7())


def _check_moment(moment: datetime) -> datetime:
    """`moment`, if it is one in UTC as well: at the ends of time, other zones reach beyond it. Raises ValueError."""
    try:
        moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise ValueError("is out of range in UTC") from None
    return moment


class Job(Contract):
    """One request: paint this content in these styles by this recipe, and put the picture there. Immutable."""

    id: str = Field(
        default_factory=_new_id,
        pattern=ID_PATTERN,
        max_length=MAX_ID_CHARS,
        description="Names this job for ever; the same id with the same content is the same job. Left out: a UUIDv7.",
    )
    schema_version: Literal[1, 2] = Field(
        default=1, description="The lowest that can express the job, unless a higher one is given."
    )
    content: ImageRef
    styles: Annotated[Sequence[Style], AfterValidator(tuple)] = Field(min_length=1, max_length=MAX_STYLES)
    output: Output
    keep_mask: ImageRef | None = Field(
        default=None,
        description="What to keep closer to the content than the rest, beside what `keep_faces` of the recipe does: a "
        "grey picture, white where it counts, black where not or where it is transparent, squeezed to the content's "
        "shape.",
    )
    recipe: Recipe = Field(default_factory=OptimizeRecipe)
    queue: QueueName | None = Field(default=None, description="Left out: fast for the fast method, else paint.")
    deadline: Annotated[AwareDatetime, AfterValidator(_check_moment)] | None = Field(
        default=None,
        description="No picture is wanted after it: the job expires. At most 30 days ahead: the client refuses one "
        "further off, the ledger brings it to that.",
    )
    labels: dict[
        Annotated[str, Field(min_length=1, max_length=MAX_LABEL_KEY_CHARS), AfterValidator(check_text)],
        Annotated[str, Field(max_length=MAX_LABEL_VALUE_CHARS), AfterValidator(check_text)],
    ] = Field(
        default_factory=dict,
        max_length=MAX_LABELS,
        description="Passed through to every event; no control characters, and none that cannot be seen.",
    )

    @model_validator(mode="after")
    def _says_its_version(self) -> Self:
        needed = self.keep_mask or self.output.thumbnail is not None or self.output.provenance
        if self.schema_version < 2 and (needed or _needs_second(self.recipe)):
            # As pydantic sets it, past the model's being frozen.
            object.__setattr__(self, "schema_version", 2)
        return self

    @model_validator(mode="after")
    def _fits_a_message(self) -> Self:
        if (size_bytes := len(self.canonical_json().encode())) > MAX_JOB_BYTES:
            raise ValueError(f"the job takes {size_bytes} bytes as JSON, at most {MAX_JOB_BYTES} are allowed")
        return self

    @model_validator(mode="after")
    def _lies_beside_no_other(self) -> Self:
        check_output_key(self.output_key)
        return self

    def canonical_json(self) -> str:
        """The job as JSON, the same text for the same job."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True))

    @property
    def queue_name(self) -> QueueName:
        """The queue the job is sent to."""
        return self.queue or queue_of(self.recipe)

    @property
    def init_image(self) -> ImageRef | None:
        """What is painted over, where that is a picture of its own."""
        return getattr(self.recipe, "init_image", None)

    @property
    def images(self) -> list[ImageRef]:
        """All pictures that are read for it."""
        styles = (image for style in self.styles for image in (style.image, style.mask))
        return [image for image in (self.content, *styles, self.keep_mask, self.init_image) if image]

    @property
    def output_key(self) -> str:
        """The key the picture is stored under."""
        return self.output.key or self.id + SUFFIXES[self.output.format]

    @property
    def side_keys(self) -> list[str]:
        """The keys of what is to lie beside the picture."""
        key, output = self.output_key, self.output
        wanted = [(event_key, True), (report_key, output.report), (thumbnail_key, output.thumbnail)]
        return [key_of(key) for key_of, is_wanted in wanted if is_wanted]


def queue_of(recipe: OptimizeRecipe | FastRecipe) -> QueueName:
    """The queue of jobs that name none."""
    return "fast" if isinstance(recipe, FastRecipe) else DEFAULT_QUEUE


def _needs_second(recipe: OptimizeRecipe | FastRecipe) -> bool:
    """Whether a worker of version 1 would refuse it."""
    return recipe.keep_faces is not None or getattr(recipe, "preset", None) in _SECOND_PRESETS


def parse_job(data: object, *, default_id: str) -> Job:
    """A job as it came off the queue. One without an id, or with null for one, takes `default_id` (its task id).

    Raises InvalidJob with code `invalid_job`, or `schema_too_new` where a newer producer wrote it.
    """
    if not isinstance(data, Mapping):
        raise InvalidJob("job: not a JSON object", "send kwargs={'job': {...}}")
    version = data.get("schema_version", 1)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InvalidJob(
            f"schema_version {version} is newer than this worker's {SCHEMA_VERSION}",
            "upgrade the workers before the producers",
            Code.SCHEMA_TOO_NEW,
        )
    return parse(Job, {**data, "id": default_id if data.get("id") is None else data["id"]})


def fingerprint(
    *,
    content_version: str,
    init_version: str | None = None,
    style_versions: tuple[str, ...],
    style_weights: tuple[float, ...],
    mask_versions: tuple[str | None, ...] = (),
    keep_version: str | None = None,
    recipe: ResolvedOptimizeRecipe | ResolvedFastRecipe,
    output: Output,
    network_digest: str,
    engine_version: str,
    tenant: str | None = None,
) -> str:
    """SHA-256 (hex) of everything that determines the output's bytes, and of whose they are.

    Versions are ETags or version ids of the pictures, `init_version` that of the recipe's `init_image`,
    `mask_versions` those of the styles' masks, if any has one, `keep_version` that of the job's `keep_mask`; weights
    are taken relative to their sum.
    No two tenants' pictures have one, so that neither learns from it what the other had painted.
    """
    total = sum(style_weights)
    # What came later is left out where there is none: what was painted before is found by its old name.
    later = {name for name in ("keep_faces", "turned_styles") if not getattr(recipe, name, False)}
    parts = {
        "content": content_version,
        "styles": [[v, round(w / total, 9)] for v, w in zip(style_versions, style_weights, strict=True)],
        "masks": list(mask_versions),
        "init": init_version,
        "recipe": recipe.model_dump(mode="json", exclude={"init_image"} | later),
        "output": output.model_dump(mode="json", include={"format", "quality"}),
        "metadata": [METADATA_POLICY, output.provenance or "full"],
        "network": network_digest,
        "engine": engine_version,
        **({"keep": keep_version} if keep_version else {}),
        **({"tenant": tenant} if tenant else {}),
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()
