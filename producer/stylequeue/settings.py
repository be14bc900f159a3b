"""All settings, each with its default, written once. Environment variables carry the prefix `STYLEQUEUE_`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from .contract.errors import InvalidSettings

_DAY_S = 24 * 3600
MAX_DEADLINE_S = 30 * _DAY_S
"""The furthest deadline of a job."""
_HINT = "docs/operations.md lists all settings"

Buckets = tuple[str, ...]


class Settings(BaseSettings):
    """How this process finds Redis and the store, and how far it may go. Read from the environment."""

    model_config = SettingsConfigDict(env_prefix="STYLEQUEUE_", frozen=True, extra="forbid")

    deployment: str = Field("default", pattern=r"^[A-Za-z0-9._-]+$", description="Names this deployment in events.")

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Broker, ledger and results; one database of its own."
    )
    redis_timeout_s: float = Field(5, gt=0, description="For connecting to Redis and for each command.")

    s3_endpoint_url: str | None = Field(None, description="Of an S3 look-alike; left out: AWS.")
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr | None = Field(None, description="Left out: boto3's own chain (role, profile, ...).")
    s3_secret_key: SecretStr | None = None
    s3_addressing: Literal["auto", "path", "virtual"] = "auto"
    s3_checksums: Literal["when_supported", "when_required"] = Field(
        "when_supported", description="when_required for look-alikes that stumble over checksum trailers."
    )
    s3_connect_timeout_s: float = Field(5, gt=0)
    s3_read_timeout_s: float = Field(60, gt=0)
    s3_attempts: int = Field(5, ge=1, description="Tries of each request in all.")

    upload_bucket: str = Field("uploads", description="Where the client puts local files.")
    output_bucket: str = Field("results", description="Where the command lets pictures be put.")
    work_bucket: str = Field("work", description="For checkpoints and previews of jobs that are being painted.")
    read_buckets: Buckets = Field(("uploads", "styles"), description="Workers read nowhere else (JSON list).")
    write_buckets: Buckets = Field(("results",), description="Workers write nowhere else (JSON list).")

    max_image_bytes: int = Field(64 * 1024**2, gt=0, description="Of one input picture as stored.")
    max_image_pixels: int = Field(75_000_000, gt=0, description="Of one input picture, decoded.")

    model_dir: Path = Field(Path("~/.cache/stylequeue/models"), description="Where networks lie on disk.")
    hub_handle: str | None = Field(
        None, description="TensorFlow Hub handle of the fast network; left out: the one in the model directory."
    )

    job_time_limit_s: int = Field(3600, gt=0, description="Of one attempt; one that takes longer is ended.")
    child_memory_mb: int | None = Field(
        None, gt=0, description="A worker's child that holds more after a job makes way for a new one; left out: never."
    )
    lease_s: float = Field(15, gt=0, description="A worker not heard of for so long has lost its job.")
    heartbeat_s: float = Field(4, gt=0, description="Between two signs of life of a job.")
    max_attempts: int = Field(3, ge=1, le=100, description="Tries of a job before it is a dead letter.")
    retry_delay_s: float = Field(5, ge=0, description="Before a second attempt; doubles with each, with jitter.")
    retry_delay_max_s: float = Field(600, ge=0)
    grace_s: float = Field(20, ge=2, description="A worker told to stop has ended after so long.")
    keeper_interval_s: float = Field(2, gt=0, description="Between two rounds of the keeper.")
    max_open_jobs: int = Field(100_000, ge=1, description="Of one queue; past it, submitting is refused.")
    max_dead_letters: int = Field(10_000, ge=1, description="Kept of them; past it, the oldest go.")
    max_dead_letters_bytes: int = Field(
        64 * 1024**2, ge=1024**2, description="What dead letters may take together; past it, the oldest go."
    )
    visibility_timeout_s: int = Field(
        4 * 3600, gt=0, description="After it Redis hands an unacknowledged message out again."
    )
    job_deadline_s: int = Field(7 * _DAY_S, gt=0, le=MAX_DEADLINE_S, description="For jobs that name no deadline.")
    record_ttl_s: int = Field(7 * _DAY_S, gt=0, le=90 * _DAY_S, description="How long ended jobs are remembered.")
    job_events: int = Field(1000, ge=10, description="Newest events kept of each job.")
    deployment_events: int = Field(100_000, ge=10, description="Newest lifecycle events kept of the deployment.")
    progress_interval_s: float = Field(1.0, ge=0, description="Between two progress events of a job.")

    checkpoint_interval_s: float = Field(20, gt=0, description="Between two checkpoints of a job, at least.")
    preview_interval_s: float = Field(5, gt=0, description="Between two previews of a job.")

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

    @classmethod
    def load(cls) -> Self:
        """The settings of this process. Raises InvalidSettings, which names the variables but never their values."""
        try:
            return cls()
        except ValidationError as error:
            wrong = "; ".join(
                f"{'_'.join(('STYLEQUEUE', *map(str, e['loc']))).upper()}: {e['msg']}" if e["loc"] else e["msg"]
                for e in error.errors(include_input=False)
            )
            raise InvalidSettings(wrong, _HINT) from None
        except SettingsError as error:
            # Says which field, never the value; only lists are parsed before they are validated.
            raise InvalidSettings(f"{error}: not JSON", 'lists are written as ["a", "b"]') from None

    @property
    def models(self) -> Path:
        """`model_dir` with `~` expanded."""
        return self.model_dir.expanduser()
