"""Who works: each live worker's word of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from ..awaiting import run
from ..contract.base import QUEUES, QueueName
from ..contract.recipe import ALL_NEEDS, Needs, networks_of_queue
from . import names

if TYPE_CHECKING:
    from .ledger import Ledger
    from .record import Record

PROCESSOR = "CPU"
"""How the name of a device begins that is no GPU."""
_DIGEST_CHARS = 12
"""Of a network's digest, where a person reads it."""


class LiveWorker(BaseModel):
    """What a worker says of itself. Fields that a newer one adds are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(description="As Celery calls it: name@host; unique.")
    host: str
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
    job: str | None = Field(None, description="The job that it has; null: none.")
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


class Registry:
    """The live workers of a deployment. Any method raises Unavailable where Redis does not answer in time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def register(self, worker: LiveWorker) -> int:
        """Have a worker on record for three heartbeats; returns how many jobs this woke that wait for what it has.

        Their messages are due now.
        """
        return self._ledger._run([self._ledger._moves.register(worker)])[0]

    def unregister(self, name: str) -> None:
        """Forget a worker that takes no more jobs."""
        with self._ledger._reachable():
            pipeline = self._ledger.redis.pipeline(transaction=True)
            pipeline.delete(names.worker_key(name))
            pipeline.zrem(names.WORKERS_KEY, name)
            pipeline.execute()

    def workers(self) -> list[LiveWorker]:
        """The live workers, by name. One that was killed is among them for three heartbeats more."""
        return run(self._ledger.asked.workers())

    def lacking(self) -> dict[tuple[str, Needs], int]:
        """How many jobs wait for a worker with a network, by their queue and the networks any of which would do."""
        kinds = [(queue, needs) for queue in QUEUES for needs in ALL_NEEDS]
        with self._ledger._reachable():
            pipeline = self._ledger.redis.pipeline(transaction=True)
            for queue, needs in kinds:
                pipeline.zcard(names.lacking_key(lacking(queue, needs)))
            return {kind: count for kind, count in zip(kinds, pipeline.execute(), strict=True) if count}


def lacking(queue: str, needs: Needs) -> str:
    """What `names.lacking_key` names a key for."""
    return f"{queue}:{any_of(needs)}"


def any_of(needs: Needs) -> str:
    """As the scripts know them."""
    return ",".join(needs)


def named(networks: Mapping[str, str]) -> str:
    """Networks with the beginnings of their digests, for a person."""
    return ", ".join(f"{name} {digest[:_DIGEST_CHARS]}" for name, digest in networks.items()) or "none"


def not_served(queues: Iterable[str], networks: Iterable[str]) -> list[QueueName]:
    """Those of `queues` whose own jobs a worker with `networks` cannot paint."""
    at_hand = set(networks)
    return [queue for queue in QUEUES if queue in set(queues) and at_hand.isdisjoint(networks_of_queue(queue))]


def waiting_for(record: Record, workers: Sequence[LiveWorker]) -> str | None:
    """What a queued job waits for, in words; None: its turn, or for nothing."""
    if record.state != "queued":
        return None
    if record.waits_for:
        return "another job, which paints the same picture now"
    lacks = waits_for(record.queue, record.needs, workers) if record.needs else None
    if lacks is None and record.not_before and record.not_before > datetime.now(UTC):
        return f"its time: {record.not_before.isoformat(timespec='seconds')}"
    return lacks


def waits_for(queue: str, needs: Needs, workers: Sequence[LiveWorker]) -> str | None:
    """What a queued job waits for, in words, where none of the live `workers` can paint it; else None."""
    takers = [worker for worker in workers if queue in worker.queues]
    if any(worker.has(needs) for worker in takers):
        return None
    networks = " or ".join(needs)
    if not takers:
        return f"a worker that takes from queue {queue!r} and has the network {networks}: none takes from it now"
    return f"a worker with the network {networks}: none that takes from queue {queue!r} has it now"
