"""The contract: what a job is, what its fields mean, how far they may go.

`Job` is all that travels from a producer to a worker, as JSON: see `stylequeue schema job`. All models are frozen,
and unknown fields are errors, so a misspelt option never passes silently. A recipe field left out is `None`;
`resolve()` fills it from the preset, and the resolved recipe is what is hashed, run and reported.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from textwrap import shorten
from typing import Annotated, Final, Literal, Self, TypeVar
from urllib.parse import unquote, urlsplit

import uuid_utils
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import Code, InvalidJob

SCHEMA_VERSION: Final = 1
"""Grows when a worker of the version before would misread a job. Workers are upgraded before producers."""

TASK_NAME = "stylequeue.stylize"
"""The Celery task that paints; a plain `send_task` names it."""

MAX_JOB_BYTES = 32 * 1024
"""Of a job as JSON. The broker is no place for data: pictures travel by S3 key."""
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Of a job's id: safe as part of a key in Redis and in the store."""
MAX_ID_CHARS = 128
MAX_BUCKET_CHARS = 63
MAX_KEY_BYTES = 1024
"""S3's own limit."""
SIDE_SUFFIXES = (".json", ".report.png")
"""Under a picture's key and these lie others beside it; no picture's own key ends so."""
MAX_OUTPUT_KEY_BYTES = MAX_KEY_BYTES - max(map(len, SIDE_SUFFIXES))
MAX_STYLES = 8
MAX_LABELS = 16
MAX_LABEL_KEY_CHARS = 64
MAX_LABEL_VALUE_CHARS = 256
MIN_SIDE_PX = 16
"""Of any picture, in or out: the deepest style layer sees a sixteenth of a side."""
MAX_SIZE_PX = 4096
"""Of the longest output side: even in tiles, a painting of this size needs some 7 GB."""
MAX_STEPS = 10_000
"""Gradient evaluations of one job."""
MAX_WEIGHT = 1e9
"""Of a loss term; far beyond what any published recipe uses."""
MAX_LAYER_WEIGHT = 1000.0
"""Of one layer among several."""
MAX_TIME_BUDGET_S = 7 * 24 * 3600.0
MIN_STYLE_WEIGHT, MAX_STYLE_WEIGHT = 0.001, 1000.0
"""Of one style among several."""

QueueName = Literal["fast", "paint", "bulk"]
"""`fast`: seconds a job. `paint`: minutes. `bulk`: whenever there is time."""
QUEUES: tuple[QueueName, ...] = ("fast", "paint", "bulk")

ImageFormat = Literal["jpeg", "png", "webp"]
CONTENT_TYPES: dict[ImageFormat, str] = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
SUFFIXES: dict[ImageFormat, str] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}

NetworkName = Literal["auto", "vgg19", "vgg16"]
OptimizerName = Literal["adam", "lbfgs", "swift"]
"""`swift`: Adam by the frequency, its rate falling to the end: the fewest steps to the same loss."""
PresetName = Literal["painterly", "tf-tutorial", "tf-keras-2018", "gatys-2016"]
InitName = Literal["content", "noise", "style", "image"]
PoolingName = Literal["max", "average"]
ColoursName = Literal["style", "luminance", "match"]


class Contract(BaseModel):
    """Frozen; unknown fields are errors; numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=False)


Bucket = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$", min_length=3, max_length=MAX_BUCKET_CHARS)]


def _check_key(key: str) -> str:
    if not 1 <= len(key.encode()) <= MAX_KEY_BYTES:
        raise ValueError(f"a key has 1 to {MAX_KEY_BYTES} bytes")
    if re.search(r"[\x00-\x1f\x7f]", key):
        raise ValueError("a key holds no control characters")
    if any(part in (".", "..") for part in key.split("/")):
        # Stores that keep objects as files would resolve them: two keys, one object.
        raise ValueError("a key has no '.' or '..' between its slashes")
    return key


def _check_output_key(key: str) -> str:
    if len(key.encode()) > MAX_OUTPUT_KEY_BYTES:
        raise ValueError(f"an output key has at most {MAX_OUTPUT_KEY_BYTES} bytes: others lie beside it")
    if key.endswith(SIDE_SUFFIXES):
        raise ValueError(f"an output key does not end in {' or '.join(SIDE_SUFFIXES)}: what lies beside a picture does")
    return _check_key(key)


class ImageRef(Contract):
    """A picture in the store."""

    bucket: Bucket = Field(description="Bucket; the worker must be allowed to read it.")
    key: str = Field(description=f"Object key, at most {MAX_KEY_BYTES} bytes of UTF-8.")
    version_id: str | None = Field(None, max_length=1024, description="A version of the object; else the newest.")

    _key = field_validator("key")(_check_key)

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """The picture at `s3://bucket/key`, percent-encoding undone, with an optional `?versionId=...`.

        Raises InvalidJob where the URI is not of that form.
        """
        parts = urlsplit(uri)
        if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
            raise InvalidJob(f"{uri!r} is no S3 address", "write s3://bucket/key")
        version = re.fullmatch(r"versionId=(.+)", parts.query)
        if (parts.query and not version) or parts.fragment:
            raise InvalidJob(f"{uri!r} has a '?' or '#' in its key", "write them as %3F and %23")
        return parse(
            cls,
            {
                "bucket": parts.netloc,
                "key": unquote(parts.path[1:]),
                "version_id": version and unquote(version[1]),
            },
        )


class Style(Contract):
    """A style picture, how much it counts among several, and where."""

    image: ImageRef
    weight: float = Field(
        1.0, ge=MIN_STYLE_WEIGHT, le=MAX_STYLE_WEIGHT, description="Relative to the other styles' weights."
    )
    mask: ImageRef | None = Field(
        None,
        description="A grey picture, white where the style applies, squeezed to the content's shape; left out: "
        "everywhere. What no style applies to keeps the content's pixels.",
    )


class Output(Contract):
    """Where the painted picture goes, and as what."""

    bucket: Bucket = Field(description="Bucket; the worker must be allowed to write it.")
    key: str | None = Field(
        None,
        description=f"Object key, ending neither in {' nor in '.join(SIDE_SUFFIXES)}; "
        "left out: the job's id with the format's suffix.",
    )
    format: ImageFormat = "jpeg"
    quality: int = Field(92, ge=1, le=100, description="Of JPEG and WebP; PNG has none.")
    overwrite: bool = Field(False, description="Replace what lies under the key; else that is the error output_exists.")
    report: bool = Field(False, description="Also store a contact sheet as <key>.report.png.")

    @field_validator("key")
    @classmethod
    def _key(cls, key: str | None) -> str | None:
        return key if key is None else _check_output_key(key)


SizePx = Annotated[
    int,
    Field(ge=MIN_SIDE_PX, le=MAX_SIZE_PX, description="Longest side of the output in pixels; the content is scaled."),
]
Strength = Annotated[
    float, Field(ge=0, le=1, description="0: the content; 1: almost only style; the same at any size.")
]
Colours = Annotated[
    ColoursName,
    Field(
        description="style: whatever the styles bring; luminance: the content's own, only lightness is painted; "
        "match: the styles' colours are moved to the content's before painting."
    ),
]
Weight = Annotated[float, Field(ge=0, le=MAX_WEIGHT)]
Layer = Annotated[str, Field(pattern=r"^block([12]_conv[12]|[345]_conv[1-4])$")]
Layers = Annotated[
    dict[Layer, Annotated[float, Field(gt=0, le=MAX_LAYER_WEIGHT)]],
    Field(min_length=1, max_length=16, description="Convolutions by their Keras names, each with its weight."),
]
StyleScale = Annotated[
    float,
    Field(
        ge=0.25,
        le=4,
        description=f"Longest side of the style picture over the output's, up to {MAX_SIZE_PX} px: stroke size.",
    ),
]
TimeBudget = Annotated[float, Field(gt=0, le=MAX_TIME_BUDGET_S)]
StopWhen = Annotated[float, Field(gt=0, lt=1)]


class FastRecipe(Contract):
    """One pass of a feed-forward network: seconds, any style, less depth than `optimize`."""

    method: Literal["fast"] = "fast"
    size: SizePx | None = None
    strength: Strength | None = None
    colours: Colours | None = None


class OptimizeRecipe(Contract):
    """Gradient descent on the picture itself: minutes, the best pictures."""

    method: Literal["optimize"] = "optimize"
    preset: PresetName = Field("painterly", description="Where every field left out comes from.")
    size: SizePx | None = None
    strength: Strength | None = None
    colours: Colours | None = None
    init: InitName | None = Field(None, description="What is painted over; style: the first one.")
    init_image: ImageRef | None = Field(None, description="With init 'image': squeezed to the content's shape.")
    seed: int | None = Field(None, ge=0, lt=2**32, description="Of the noise. Same seed, same machine: same bytes.")
    network: NetworkName | None = Field(None, description="auto: vgg19 if the worker has it, else vgg16.")
    pooling: PoolingName | None = None
    content_layers: Layers | None = None
    style_layers: Layers | None = None
    style_scale: StyleScale | None = None
    optimizer: OptimizerName | None = None
    steps: int | None = Field(None, ge=1, le=MAX_STEPS, description="Gradient evaluations, over all scales together.")
    content_weight: Weight | None = Field(None, description="Set by strength unless given.")
    style_weight: Weight | None = None
    variation_weight: Weight | None = None
    time_budget_s: TimeBudget | None = Field(
        None, description="Seconds of painting after which the picture is taken as it is; not a failure, not partial."
    )
    stop_when: StopWhen | None = Field(
        None, description="A scale ends once the loss fell by less than this share over its last 24 evaluations."
    )

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.init == "image") != (self.init_image is not None):
            raise ValueError("init 'image' and init_image belong together: give both or neither")
        return self

    @model_validator(mode="after")
    def _layers_of_the_network(self) -> Self:
        if self.network == "vgg16":
            layers = {**(self.content_layers or {}), **(self.style_layers or {})}
            if missing := sorted(layer for layer in layers if layer.endswith("conv4")):
                raise ValueError(f"vgg16 has no {', '.join(missing)}: vgg19 does")
        return self

    @model_validator(mode="after")
    def _one_balance(self) -> Self:
        if self.strength is None:
            return self
        if PRESETS[self.preset].strength is None:
            raise ValueError(f"preset {self.preset!r} reproduces a published recipe and takes no strength")
        if self.content_weight is not None:
            raise ValueError("strength and content_weight set the same thing: give one of them")
        return self


Recipe = Annotated[OptimizeRecipe | FastRecipe, Field(discriminator="method")]


class ResolvedFastRecipe(FastRecipe):
    """A `FastRecipe` with every field filled."""

    size: SizePx
    strength: Strength
    colours: Colours


class ResolvedOptimizeRecipe(OptimizeRecipe):
    """An `OptimizeRecipe` with every field filled.

    `strength` is None where the weights were given instead, `time_budget_s` and `stop_when` where there is none.
    """

    size: SizePx
    colours: Colours
    init: InitName
    seed: int = Field(ge=0, lt=2**32)
    network: NetworkName
    pooling: PoolingName
    content_layers: Layers
    style_layers: Layers
    style_scale: StyleScale
    optimizer: OptimizerName
    steps: int = Field(ge=0, le=MAX_STEPS)
    content_weight: Weight
    style_weight: Weight
    variation_weight: Weight

    @model_validator(mode="after")
    def _one_balance(self) -> Self:
        return self


ResolvedRecipe = Annotated[ResolvedOptimizeRecipe | ResolvedFastRecipe, Field(discriminator="method")]

FAST_DEFAULTS = ResolvedFastRecipe(size=512, strength=1.0, colours="style")


def content_weight_of(strength: float) -> float:
    """Content weight of the `painterly` preset for a strength in (0, 1]: falls monotonically, 0.16 at 0.5.

    From 15 on, a picture is hardly changed; at 0.01 only its large shapes are left.
    """
    return 0.15 * (1 - strength) / strength + 0.01


_STYLE_LAYERS = [f"block{block}_conv1" for block in range(1, 6)]
_ALIKE = dict.fromkeys(_STYLE_LAYERS, 1 / len(_STYLE_LAYERS))

PRESETS: dict[PresetName, ResolvedOptimizeRecipe] = {
    "painterly": ResolvedOptimizeRecipe(
        preset="painterly",
        size=512,
        strength=0.5,
        colours="style",
        init="content",
        seed=0,
        network="auto",
        content_layers={"block4_conv2": 1.0},
        style_layers=dict(zip(_STYLE_LAYERS, (0.3, 0.25, 0.2, 0.15, 0.1), strict=True)),
        pooling="max",
        style_scale=1.0,
        optimizer="adam",
        steps=140,
        content_weight=content_weight_of(0.5),
        style_weight=1.0,
        variation_weight=0.5,
    ),
    # TensorFlow documentation, "Neural style transfer" (2019).
    "tf-tutorial": ResolvedOptimizeRecipe(
        preset="tf-tutorial",
        size=512,
        strength=None,
        colours="style",
        init="content",
        seed=0,
        network="auto",
        content_layers={"block5_conv2": 1.0},
        style_layers=_ALIKE,
        pooling="max",
        style_scale=1.0,
        optimizer="adam",
        steps=1000,
        content_weight=1e4,
        style_weight=1e-2,
        variation_weight=30.0,
    ),
    # Raymond Yuan, "Neural style transfer: creating art with deep learning using tf.keras and eager execution" (2018).
    "tf-keras-2018": ResolvedOptimizeRecipe(
        preset="tf-keras-2018",
        size=512,
        strength=None,
        colours="style",
        init="content",
        seed=0,
        network="auto",
        content_layers={"block5_conv2": 1.0},
        style_layers=_ALIKE,
        pooling="max",
        style_scale=1.0,
        optimizer="adam",
        steps=1000,
        content_weight=1e3,
        style_weight=1e-2,
        variation_weight=0.0,
    ),
    # Gatys, Ecker and Bethge, "Image style transfer using convolutional neural networks" (CVPR 2016).
    "gatys-2016": ResolvedOptimizeRecipe(
        preset="gatys-2016",
        size=512,
        strength=None,
        colours="style",
        init="noise",
        seed=0,
        network="auto",
        content_layers={"block4_conv2": 1.0},
        style_layers=_ALIKE,
        pooling="average",
        style_scale=1.0,
        optimizer="lbfgs",
        steps=500,
        content_weight=1e-3,
        style_weight=1.0,
        variation_weight=0.0,
    ),
}


def resolve(recipe: OptimizeRecipe | FastRecipe) -> ResolvedOptimizeRecipe | ResolvedFastRecipe:
    """`recipe` with every field that was left out filled from its preset.

    Strength becomes a content weight here; strength 0 is the content itself and takes no steps.
    """
    given = {name: value for name in recipe.model_fields_set if (value := getattr(recipe, name)) is not None}
    if isinstance(recipe, FastRecipe):
        return FAST_DEFAULTS.model_copy(update=given)
    preset = PRESETS[recipe.preset]
    strength = None if recipe.content_weight is not None else given.get("strength", preset.strength)
    filled = {**given, "strength": strength}
    if strength == 0:
        filled["steps"] = 0
    elif strength is not None:
        filled["content_weight"] = content_weight_of(strength)
    return preset.model_copy(update=filled)


def _new_id() -> str:
    return str(uuid_utils.uuid7())


class Job(Contract):
    """One request: paint this content in these styles by this recipe, and put the picture there. Immutable."""

    id: str = Field(
        default_factory=_new_id,
        pattern=ID_PATTERN,
        max_length=MAX_ID_CHARS,
        description="Names this job for ever; the same id with the same content is the same job. Left out: a UUIDv7.",
    )
    schema_version: Literal[1] = SCHEMA_VERSION
    content: ImageRef
    styles: tuple[Style, ...] = Field(min_length=1, max_length=MAX_STYLES)
    output: Output
    recipe: Recipe = Field(default_factory=OptimizeRecipe)
    queue: QueueName | None = Field(None, description="Left out: fast for the fast method, else paint.")
    deadline: AwareDatetime | None = Field(
        None,
        description="No picture is wanted after it: the job expires. At most 30 days ahead: the client refuses one "
        "further off, the ledger brings it to that.",
    )
    labels: dict[
        Annotated[str, Field(min_length=1, max_length=MAX_LABEL_KEY_CHARS)],
        Annotated[str, Field(max_length=MAX_LABEL_VALUE_CHARS)],
    ] = Field(default_factory=dict, max_length=MAX_LABELS, description="Passed through to every event.")

    @model_validator(mode="after")
    def _fits_a_message(self) -> Self:
        if (size_bytes := len(self.canonical_json().encode())) > MAX_JOB_BYTES:
            raise ValueError(f"the job takes {size_bytes} bytes as JSON, at most {MAX_JOB_BYTES} are allowed")
        return self

    @model_validator(mode="after")
    def _lies_beside_no_other(self) -> Self:
        _check_output_key(self.output_key)
        return self

    def canonical_json(self) -> str:
        """The job as JSON, the same text for the same job."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True))

    @property
    def queue_name(self) -> QueueName:
        """The queue the job is sent to."""
        return self.queue or ("fast" if isinstance(self.recipe, FastRecipe) else "paint")

    @property
    def init_image(self) -> ImageRef | None:
        """What is painted over, where that is a picture of its own."""
        return getattr(self.recipe, "init_image", None)

    @property
    def output_key(self) -> str:
        """The key the picture is stored under."""
        return self.output.key or self.id + SUFFIXES[self.output.format]


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


_FAULTS = 8
"""Named in one message."""
_FAULT_CHARS = 200
"""Of each: some repeat the input."""
_M = TypeVar("_M", bound=BaseModel)


def parse(model: type[_M], data: object) -> _M:
    """`data` as a `model`, or InvalidJob with one line that names every wrong field and never repeats long input."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InvalidJob(
            "; ".join(
                shorten(f"{'.'.join(map(str, e['loc'])) or 'job'}: {e['msg']}", _FAULT_CHARS)
                for e in error.errors()[:_FAULTS]
            ),
            "see `stylequeue schema job` for the contract",
        ) from None


def is_job_id(text: str) -> bool:
    """Whether `text` can be a job's id."""
    return len(text) <= MAX_ID_CHARS and re.fullmatch(ID_PATTERN, text) is not None


def work_keys(job_id: str) -> list[str]:
    """Keys in the work bucket that belong to a job: its checkpoint and its preview."""
    return [checkpoint_key(job_id), preview_key(job_id)]


def checkpoint_key(job_id: str) -> str:
    """Key in the work bucket of the job's half-painted picture."""
    return f"{job_id}/checkpoint.npz"


def preview_key(job_id: str) -> str:
    """Key in the work bucket of a small picture of the work so far; the same while the job is painted."""
    return f"{job_id}/preview.webp"


def parse_job(data: object, *, default_id: str) -> Job:
    """A job as it came off the queue. One without an id, or with null for one, takes `default_id` (its task id).

    Raises InvalidJob with code `invalid_job`, or `schema_too_new` where a newer producer wrote it.
    """
    if not isinstance(data, Mapping):
        raise InvalidJob("job: not a JSON object", "send kwargs={'job': {...}}")
    version = data.get("schema_version", SCHEMA_VERSION)
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
    recipe: ResolvedOptimizeRecipe | ResolvedFastRecipe,
    output: Output,
    network_digest: str,
    engine_version: str,
) -> str:
    """SHA-256 (hex) of everything that determines the output's bytes.

    Versions are ETags or version ids of the pictures, `init_version` that of the recipe's `init_image`,
    `mask_versions` those of the styles' masks, if any has one; weights are taken relative to their sum.
    """
    total = sum(style_weights)
    parts = {
        "content": content_version,
        "styles": [[v, round(w / total, 9)] for v, w in zip(style_versions, style_weights, strict=True)],
        "masks": list(mask_versions),
        "init": init_version,
        "recipe": recipe.model_dump(mode="json", exclude={"init_image"}),
        "output": output.model_dump(mode="json", include={"format", "quality"}),
        "network": network_digest,
        "engine": engine_version,
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()
