"""All settings, each with its default, written once. Environment variables carry the prefix `STYLEQUEUE_`.

Nothing is guessed: a variable with the prefix that is no setting is refused, since allow-lists depend on some, and so
is one that is empty. Secrets may lie in files: `STYLEQUEUE_REDIS_URL_FILE` names the file that holds the address.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from .address import RedisAddress, check_http
from .contract.errors import InvalidSettings
from .contract.objects import Bucket
from .setting_values import (
    DAY_S,
    MANY,
    MANY_BYTES,
    MAX_DEADLINE_S,
    Buckets,
    HubHandle,
    LabelName,
    MarkSecret,
    NetworkName,
    PodName,
    RedisUrl,
    Seconds,
    Secret,
    Sha256,
    SizePx,
    check_certificates,
)
from .variables import HINT, PREFIX, Environment, variable_of


class Settings(BaseSettings):
    """How this process finds Redis and the store, and how far it may go. Read from the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )

    deployment: str = Field(
        default="default", pattern=r"^[A-Za-z0-9._-]+$", description="Names this deployment in events."
    )

    redis_url: RedisUrl = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="Broker, ledger and results; one database of its own. `rediss://`: TLS; `sentinel://`: Sentinel.",
    )
    redis_ca_file: Path | None = Field(
        default=None, description="Certificates, PEM, that Redis's own must be signed by; left out: the system's."
    )
    redis_client_cert_file: Path | None = Field(default=None, description="To sign in to Redis with, PEM.")
    redis_client_key_file: Path | None = Field(
        default=None, description="Its key; left out: in the certificate's file."
    )
    redis_verify: bool = Field(
        default=True, description="Off: whoever stands between here and Redis may read and change everything."
    )
    redis_sentinel_master: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9._-]+$", description="Name by which the sentinels know this Redis."
    )
    redis_sentinel_password: Secret | None = Field(default=None, description="Of the sentinels themselves.")
    redis_timeout_s: Seconds = Field(default=5, description="For connecting to Redis and for each command.")

    s3_endpoint_url: Annotated[str, AfterValidator(check_http)] | None = Field(
        default=None, description="Of an S3 look-alike, `http://` or `https://`; left out: AWS."
    )
    s3_region: str = Field(default="us-east-1", pattern=r"^[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")
    s3_access_key: Secret | None = Field(default=None, description="Left out: boto3's own chain (role, profile, ...).")
    s3_secret_key: Secret | None = None
    s3_addressing: Literal["auto", "path", "virtual"] = "auto"
    s3_checksums: Literal["when_supported", "when_required"] = Field(
        default="when_supported", description="when_required for look-alikes that stumble over checksum trailers."
    )
    s3_connect_timeout_s: Seconds = Field(default=5)
    s3_read_timeout_s: Seconds = Field(default=60)
    s3_attempts: int = Field(default=5, ge=1, le=100, description="Tries of each request in all.")

    s3_public_endpoint_url: Annotated[str, AfterValidator(check_http)] | None = Field(
        default=None,
        description="By which browsers and other backends know the store: links and uploads are signed for it. Left "
        "out: the same as for us.",
    )

    upload_bucket: Bucket = Field(default="uploads", description="Where the client puts local files.")
    output_bucket: Bucket = Field(default="results", description="Where the command lets pictures be put.")
    work_bucket: Bucket = Field(
        default="work", description="For checkpoints and previews of jobs that are being painted."
    )
    read_buckets: Buckets = Field(default=("uploads", "styles"), description="Workers read nowhere else (JSON list).")
    write_buckets: Buckets = Field(default=("results",), description="Workers write nowhere else (JSON list).")

    mark_secrets: Annotated[Sequence[MarkSecret], AfterValidator(tuple)] = Field(
        default=(),
        description="Workers and keepers mark with the first what they store, and believe each (JSON list, at least 32 "
        "characters each). Left out: one that is kept in Redis.",
    )

    max_image_bytes: int = Field(
        default=64 * 1024**2, gt=0, le=MANY_BYTES, description="Of one input picture as stored."
    )
    max_image_pixels: int = Field(default=75_000_000, gt=0, le=MANY, description="Of one input picture, decoded.")
    image_cpu_s: int = Field(
        default=60, gt=0, le=MAX_DEADLINE_S, description="Processor seconds for decoding one input picture."
    )

    model_dir: Path = Field(default=Path("~/.cache/stylequeue/models"), description="Where networks lie on disk.")
    hub_handle: HubHandle | None = Field(
        default=None, description="A fast network at TensorFlow Hub or elsewhere: `https://...`, or a whole path."
    )
    network_sha256: dict[NetworkName, Sha256] = Field(
        default={}, description="Of networks that are not the published ones, by name (JSON object); Hub's is `fast`."
    )

    job_time_limit_s: int = Field(
        default=3600, gt=0, le=MAX_DEADLINE_S, description="Of one attempt; one that takes longer is ended."
    )
    child_memory_mb: int | None = Field(
        default=None,
        gt=0,
        le=MANY_BYTES // 1024**2,
        description="A worker's child that holds more after a job makes way for a new one; left out: never.",
    )
    memory_mb: int | None = Field(
        default=None,
        gt=0,
        le=MANY_BYTES // 1024**2,
        description="What a painting on a processor may take beside what is loaded; left out: most of what is there.",
    )
    gpu_memory_mb: int | None = Field(
        default=None,
        gt=0,
        le=MANY_BYTES // 1024**2,
        description="All that a worker takes of its GPU; left out: as much as it comes to need.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Of networks, where a preset allows less than float32; auto: what the kind of device is faster in.",
    )
    deterministic: bool = Field(
        default=False, description="On: the same job gives the same bytes on a GPU, too, more slowly."
    )
    tensor_float_32: bool = Field(
        default=False, description="On: a GPU paints published presets in TensorFloat-32, much faster."
    )
    xla: bool = Field(default=False, description="On: a GPU's networks are compiled by XLA.")
    compilation_cache_dir: Path | None = Field(
        default=None, description="Where XLA keeps what it compiled, for the next process; left out: nowhere."
    )
    warm_up_px: Annotated[Sequence[SizePx], AfterValidator(tuple)] = Field(
        default=(), description="Sizes of pictures that a worker is ready for before its first job (JSON list)."
    )
    lease_s: Seconds = Field(default=15, description="A worker not heard of for so long has lost its job.")
    heartbeat_s: Seconds = Field(default=4, description="Between two signs of life of a job.")
    max_attempts: int = Field(default=3, ge=1, le=100, description="Tries of a job before it is a dead letter.")
    retry_delay_s: float = Field(
        default=5, ge=0, le=MAX_DEADLINE_S, description="Before a second attempt; doubles with each, with jitter."
    )
    retry_delay_max_s: float = Field(default=600, ge=0, le=MAX_DEADLINE_S)
    grace_s: float = Field(
        default=20, ge=2, le=MAX_DEADLINE_S, description="A worker told to stop has ended after so long."
    )
    health_file: Path | None = Field(
        default=None,
        description="A worker makes it and keeps it fresh; one for each, in a directory that only its user may write. "
        "Left out: none.",
    )
    keeper_interval_s: Seconds = Field(default=2, description="Between two rounds of the keeper.")
    max_open_jobs: int = Field(
        default=100_000, ge=1, le=MANY, description="Of one queue; past it, submitting is refused."
    )
    max_dead_letters: int = Field(default=10_000, ge=1, le=MANY, description="Kept of them; past it, the oldest go.")
    max_dead_letters_bytes: int = Field(
        default=64 * 1024**2,
        ge=1024**2,
        le=MANY_BYTES,
        description="What dead letters may take together; past it, the oldest go.",
    )
    visibility_timeout_s: int = Field(
        default=4 * 3600,
        gt=0,
        le=2 * MAX_DEADLINE_S,
        description="After it Redis hands an unacknowledged message out again.",
    )
    job_deadline_s: int = Field(
        default=7 * DAY_S, gt=0, le=MAX_DEADLINE_S, description="For jobs that name no deadline."
    )
    record_ttl_s: int = Field(default=7 * DAY_S, gt=0, le=90 * DAY_S, description="How long ended jobs are remembered.")
    indexed_labels: Annotated[Sequence[LabelName], AfterValidator(tuple)] = Field(
        default=(),
        max_length=4,
        description="Labels by which lists find jobs quickly, those accepted since (JSON list); the same for all.",
    )
    job_events: int = Field(default=1000, ge=10, le=MANY, description="Newest events kept of each job.")
    deployment_events: int = Field(
        default=100_000, ge=10, le=MANY, description="Newest lifecycle events kept of the deployment."
    )
    deliver: bool = Field(
        default=True, description="Off: `stylequeue keeper` sends no events to the endpoints of the operator's file."
    )
    max_deliveries: int = Field(
        default=10_000, ge=1, le=MANY, description="Kept of each endpoint for 7 days; past it, the oldest go."
    )
    delivery_proxy: str | None = Field(
        default=None,
        pattern=r"^http://([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$",
        description="An `http://` proxy that webhooks go through; it looks after which addresses they may reach.",
    )
    progress_interval_s: float = Field(
        default=1.0, ge=0, le=MAX_DEADLINE_S, description="Between two progress events of a job."
    )

    checkpoint_interval_s: Seconds = Field(default=20, description="Between two checkpoints of a job, at least.")
    preview_interval_s: Seconds = Field(default=5, description="Between two previews of a job.")

    upload_method: Literal["post", "put"] = Field(
        default="post",
        description="How callers of the gateway put pictures into the store: a form with a policy, or, for stores that "
        "take none (R2, B2, GCS), a PUT of signed length and type.",
    )
    link_ttl_s: int = Field(
        default=600, ge=1, le=7 * DAY_S, description="For how long links and uploads hold that the gateway signs."
    )
    browser_origins: Annotated[Sequence[Annotated[str, AfterValidator(check_http)]], AfterValidator(tuple)] = Field(
        default=(),
        description="Of pages that send pictures to the store and fetch them there, such as `https://shop.example` "
        "(JSON list); `doctor --fix` tells the store.",
    )
    gateway_stream: bool = Field(
        default=False, description="On: pictures pass through the gateway, where callers do not reach the store."
    )

    operator_file: Path | None = Field(
        default=None,
        description="TOML: templates, endpoints, tenants' limits, sources and rules of uploads; read anew if changed.",
    )
    keys_file: Path | None = Field(
        default=None, description="Who may ask the gateway: `stylequeue keys` writes it. Its owner's alone (mode 600)."
    )
    gateway_wait_s: float = Field(
        default=60, ge=0, le=600, description="The longest that a request to the gateway may wait for its job's end."
    )
    gateway_body_timeout_s: Seconds = Field(
        default=20, description="In which a request's body comes; more time has one that comes at 16 KiB a second."
    )
    gateway_notices: bool = Field(
        default=False,
        description="On: the gateway takes notices of uploads, too, as `stylequeue listen` does by itself.",
    )
    gateway_notice_s: float = Field(
        default=1,
        ge=0,
        le=600,
        description="A gateway told to stop takes requests for so long, and says it is not ready.",
    )

    pod_name: PodName | None = Field(
        default=None, description="Of a worker's pod, by Kubernetes's downward API; left out: it is in none."
    )
    pod_deletion_cost: bool = Field(
        default=False,
        description="On: `stylequeue keeper`, in a pod that may patch pods, tells Kubernetes which workers paint, and "
        "for how long: others are stopped first.",
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def _nothing_that_would_lose_or_double_jobs(self) -> Self:
        if self.visibility_timeout_s < 2 * self.job_time_limit_s:
            raise ValueError(
                "STYLEQUEUE_VISIBILITY_TIMEOUT_S must be at least twice STYLEQUEUE_JOB_TIME_LIMIT_S: "
                "Redis would hand out a job again while it is being painted"
            )
        if self.lease_s < 3 * self.heartbeat_s:
            raise ValueError(
                "STYLEQUEUE_LEASE_S must be at least three times STYLEQUEUE_HEARTBEAT_S: "
                "one late heartbeat would cost a living worker its job"
            )
        return self

    @model_validator(mode="after")
    def _endpoint_of_boto3_s_own(self) -> Self:
        if self.s3_endpoint_url is None:
            for name in _BOTO3_ENDPOINTS:
                try:
                    check_http(os.environ.get(name) or "http://left.out")
                except ValueError as error:
                    raise ValueError(
                        f"{name}, which boto3 reads where STYLEQUEUE_S3_ENDPOINT_URL is left out: {error}"
                    ) from None
        return self

    @model_validator(mode="after")
    def _no_job_reaches_what_others_left(self) -> Self:
        for name in ("read_buckets", "write_buckets"):
            if self.work_bucket in getattr(self, name):
                raise ValueError(
                    f"STYLEQUEUE_WORK_BUCKET, {self.work_bucket}, is among {variable_of(name)}: jobs could read and "
                    "replace what others have half done; give it a bucket of its own"
                )
        return self

    @model_validator(mode="after")
    def _what_belongs_together(self) -> Self:
        if (self.s3_access_key is None) != (self.s3_secret_key is None):
            raise ValueError("STYLEQUEUE_S3_ACCESS_KEY and STYLEQUEUE_S3_SECRET_KEY are given together or not at all")
        address = self.redis
        given = {variable_of(name) for name in self.model_fields_set if getattr(self, name) not in (None, True)}
        for_tls = given & {variable_of(name) for name in _FOR_TLS}
        if for_tls and not address.is_tls:
            raise ValueError(f"{min(for_tls)} is for TLS, but STYLEQUEUE_REDIS_URL does not begin with rediss://")
        if self.redis_client_key_file and not self.redis_client_cert_file:
            raise ValueError("STYLEQUEUE_REDIS_CLIENT_KEY_FILE is given without STYLEQUEUE_REDIS_CLIENT_CERT_FILE")
        if address.is_sentinel and not self.redis_sentinel_master:
            raise ValueError("STYLEQUEUE_REDIS_URL names sentinels, so STYLEQUEUE_REDIS_SENTINEL_MASTER must be given")
        for_sentinel = given & {variable_of(name) for name in _FOR_SENTINEL}
        if for_sentinel and not address.is_sentinel:
            raise ValueError(f"{min(for_sentinel)} is given, but STYLEQUEUE_REDIS_URL does not begin with sentinel://")
        if address.is_tls:
            check_certificates(self.redis_ca_file, self.redis_client_cert_file, self.redis_client_key_file)
        return self

    # Last, and so around all others.
    @model_validator(mode="wrap")
    @classmethod
    def _refuse_by_name(cls, values: Any, validate: Callable[[Any], Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            faults = (
                (variable_of(e["loc"][0]) + ": " if e["loc"] else "") + e["msg"].removeprefix("Value error, ")
                for e in error.errors(include_input=False, include_url=False)
            )
            raise InvalidSettings("; ".join(faults), HINT) from None

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given in the program, else what the environment says."""
        return init_settings, Environment(settings_cls)

    @classmethod
    def load(cls) -> Self:
        """The settings of this process. Raises InvalidSettings, which names the variables but never their values."""
        return cls()

    @property
    def redis(self) -> RedisAddress:
        """`redis_url`, read."""
        return RedisAddress.parse(self.redis_url.get_secret_value())

    def mark_secrets_in_clear(self) -> list[str]:
        """`mark_secrets`, for whoever makes and reads marks."""
        return [secret.get_secret_value() for secret in self.mark_secrets]

    @property
    def buckets(self) -> dict[str, list[str]]:
        """All buckets of a deployment, which must be there, each with the settings that name it."""
        named: dict[str, list[str]] = {}
        for name in ("upload_bucket", "output_bucket", "read_buckets", "write_buckets", "work_bucket"):
            value = getattr(self, name)
            for bucket in dict.fromkeys((value,) if isinstance(value, str) else value):
                named.setdefault(bucket, []).append(name)
        return named

    @property
    def models(self) -> Path:
        """`model_dir` with `~` expanded. Raises InvalidSettings where this user has no home directory."""
        try:
            return self.model_dir.expanduser()
        except RuntimeError:
            raise InvalidSettings(
                f"STYLEQUEUE_MODEL_DIR: {self.model_dir} begins with a home directory, and this user has none",
                "give the whole path, or set HOME",
            ) from None


_BOTO3_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_FOR_TLS = ("redis_ca_file", "redis_client_cert_file", "redis_client_key_file", "redis_verify")
_FOR_SENTINEL = ("redis_sentinel_master", "redis_sentinel_password")
