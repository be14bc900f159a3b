"""What a worker says of itself, as the registry has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .recipe import Needs

Draining = Literal["finish", "checkpoint"]
"""What becomes of the job that a drained worker has: it is finished, or goes on elsewhere from a checkpoint."""
PROCESSOR = "CPU"
"""How the name of a device begins that is no GPU."""
_DIGEST_CHARS = 12
"""Of a network's digest, where a person reads it."""


class LiveWorker(BaseModel):
    """What a worker says of itself. Fields that a newer one adds are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(description="As Celery calls it: name@host; unique.")
    host: str
    pod: str | None = Field(None, description="That it runs in, where that is Kubernetes's; null: it does not say.")
    started_at: datetime
    version: str = Field(description="Of stylequeue.")
    python: str = ""
    celery: str = ""
    tensorflow: str = Field("", description="Empty where the worker paints without it.")
    device: str = Field(description="What it paints on.")
    precision: str = Field(description="The fastest that its device does well.")
    queues: tuple[str, ...] = Field(description="That it takes jobs from.")
    networks: Mapping[str, str] = Field(description="SHA-256 (hex) of the weights, by the network's name.")
    rates: Mapping[str, float] = Field(
        default_factory=dict, description="Seconds that a megapixel-step takes, as measured, by `cost.kind`."
    )
    memory_bytes: int | None = Field(None, description="What a painting may take; null: as much as there is.")
    resident_bytes: int | None = Field(None, description="What its painting process holds now.")
    draining: Draining | None = Field(
        None, description="It is to take no more jobs, and this becomes of the one it has; null: it takes them."
    )
    gpu_memory_bytes: int | None = Field(None, description="What of its GPU's memory is taken, by whomever.")
    gpu_utilisation: float | None = Field(None, description="How much of the time its GPU computes, from 0 to 1.")
    job: str | None = Field(None, description="The job that it has; null: none.")
    job_since: datetime | None = Field(None, description="When it began with that job.")
    stage: str | None = Field(None, description="Of that job: what is being done.")
    step: int = Field(0, description="Of its painting: the newest.")
    steps: int = Field(0, description="Of its painting: how many there will be; 0: none yet.")
    steps_per_s: float | None = Field(None, description="Of its newest steps.")
    jobs_done: int = Field(0, description="That have ended here since it began, in whatever way.")
    stage_s: Mapping[str, float] = Field(
        default_factory=dict, description="Seconds that the pictures made here have taken, by stage."
    )

    @property
    def on_processor(self) -> bool:
        """Whether it paints without a GPU."""
        return self.device.startswith(PROCESSOR)

    def has(self, needs: Needs) -> bool:
        """Whether it has a network that a job which `needs` one of these can be painted with."""
        return any(network in self.networks for network in needs)

    def __str__(self) -> str:
        return (
            f"stylequeue {self.version} on {self.device}, {self.precision}; "
            f"networks {named(self.networks)}; queues {', '.join(self.queues)}"
        )


def named(networks: Mapping[str, str]) -> str:
    """Networks with the beginnings of their digests, for a person."""
    return ", ".join(f"{name} {digest[:_DIGEST_CHARS]}" for name, digest in networks.items()) or "none"
