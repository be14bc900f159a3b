"""All that can be counted, read in one go."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..contract.base import QUEUES
from ..contract.errors import Code, Unavailable
from . import uploads
from .histograms import Histogram, histograms
from .moves import RATE_MINUTES

if TYPE_CHECKING:
    from ..contract.status import EventGroup
    from ..contract.uploads import SourceCounts
    from ..contract.worker import LiveWorker
    from .aio import AsyncLedger

_LOOK_AT = 1000
"""Jobs of a queue whose message is due this very moment, for the oldest that waits: seldom there are as many."""
_SEPARATOR = "|"


@dataclass(frozen=True)
class QueueCount:
    """Of a queue's open jobs."""

    waiting: int
    """For a worker, now."""
    due: int
    """Later: they were put off, or their next attempt is."""
    parked: int
    """For another's picture, or for a worker with their network."""
    running: int
    oldest_s: float | None
    """Since the oldest that waits was accepted; None: none waits."""
    paused_s: float | None
    """Since nobody takes from it; None: workers do."""
    rate_per_min: float
    """Jobs that ended in the last minutes."""

    @property
    def load(self) -> int:
        """What workers are wanted for."""
        return self.running + (self.waiting if self.paused_s is None else 0)


@dataclass(frozen=True)
class EndpointCount:
    """Of an endpoint's deliveries."""

    waiting: int
    oldest_s: float | None
    """Since the oldest that has not arrived was made; None: there is none."""
    is_disabled: bool


@dataclass(frozen=True)
class Memory:
    """Of Redis."""

    used_bytes: int
    limit_bytes: int
    """0: there is none."""


@dataclass(frozen=True)
class Counts:
    """What the ledger holds, at one moment."""

    queues: Mapping[str, QueueCount]
    endpoints: Mapping[str, EndpointCount]
    counters: Mapping[tuple[str, ...], int]
    """By name and labels."""
    histograms: Sequence[Histogram]
    dead_letters: int
    dead_letters_bytes: int
    untold: int
    """Ended jobs of which whoever waits may not know yet."""
    keeper_s: float | None
    """Since a keeper made a round; None: none ever did."""

    def of(self, name: str) -> dict[tuple[str, ...], int]:
        """The counters of a name, by their labels."""
        return {what[1:]: number for what, number in self.counters.items() if what[0] == name}


@dataclass(frozen=True)
class Census:
    """All there is, counted one right after the other."""

    counts: Counts
    workers: Sequence[LiveWorker]
    groups: Sequence[EventGroup]
    uploads: Mapping[str, SourceCounts]
    """By source of notices."""
    memory: Memory | None
    """None where Redis does not say."""


async def take(ledger: AsyncLedger, *, endpoints: Sequence[str] = ()) -> Census:
    """Count all there is, and what is to be sent to these endpoints."""
    return Census(
        counts=await count(ledger, endpoints=endpoints),
        workers=await ledger.workers(),
        groups=await ledger.event_groups(),
        uploads=await uploads.counts(ledger),
        memory=await _memory(ledger),
    )


async def count(ledger: AsyncLedger, *, endpoints: Sequence[str] = ()) -> Counts:
    """Count what the ledger holds, in one go."""
    move = ledger._moves._move(
        "census",
        queues=QUEUES,
        endpoints=list(endpoints),
        minutes=RATE_MINUTES,
        look_at=_LOOK_AT,
        parse=_counts,
    )
    [counts] = await ledger.perform([move])
    return counts


async def _memory(ledger: AsyncLedger) -> Memory | None:
    try:
        found = await ledger._ask(lambda redis: redis.info("memory"))
    except Unavailable as error:
        if error.code != Code.BROKER_REFUSED:
            raise
        return None
    return Memory(int(found["used_memory"]), int(found.get("maxmemory", 0)))


def _counts(text: str) -> Counts:
    found = json.loads(text)
    now_ms = found["now_ms"]
    counters = _pairs(found["counters"])
    minutes = found["ended_over_ms"] / 60_000
    return Counts(
        queues={
            queue: QueueCount(
                waiting=count["waiting"],
                due=count["due"],
                parked=count["parked"],
                running=count["running"],
                oldest_s=_age_s(now_ms, count.get("oldest_ms")),
                paused_s=_age_s(now_ms, count.get("paused_ms")),
                rate_per_min=count["ended"] / minutes,
            )
            for queue, count in found["queues"].items()
        },
        endpoints={
            endpoint: EndpointCount(count["waiting"], _age_s(now_ms, count.get("oldest_ms")), count["disabled"])
            for endpoint, count in dict(found["endpoints"]).items()
        },
        counters={tuple(name.split(_SEPARATOR)): int(number) for name, number in counters.items()},
        histograms=histograms(_pairs(found["histograms"])),
        dead_letters=found["dead_letters"],
        dead_letters_bytes=int(counters.get("dead_letters_bytes", 0)),
        untold=found["untold"],
        keeper_s=_age_s(now_ms, found.get("keeper_ms")),
    )


def _age_s(now_ms: int, since_ms: float | None) -> float | None:
    return None if since_ms is None else max(0.0, (now_ms - since_ms) / 1000)


def _pairs(flat: Any) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}
