"""Who works: each live worker's word of itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..awaiting import run
from ..contract.base import QUEUES, QueueName
from ..contract.recipe import ALL_NEEDS, Needs, networks_of_queue
from ..contract.worker import PROCESSOR as PROCESSOR
from ..contract.worker import Draining
from ..contract.worker import LiveWorker as LiveWorker
from ..contract.worker import named as named
from . import names

if TYPE_CHECKING:
    from .ledger import Ledger
    from .moves import Move
    from .record import Record

HEARTBEATS = 3
"""Without a word of a worker, after which it is taken for gone."""
DRAINED_S = 7 * 24 * 3600
"""A worker stays drained, under its name, since it was last heard of."""
_WAKE = 10
"""Jobs of each kind that a worker wakes with a heartbeat: another one, which cannot paint them, may be quicker to take
them, and they go to sleep again."""


@dataclass(frozen=True)
class Heard:
    """What a worker hears when it says that it lives."""

    woken: int
    """Jobs that waited for what it has."""
    draining: Draining | None
    """Whether it is to take no more jobs, and what becomes of the one it has."""
    paused: frozenset[str]
    """Queues that no worker takes from."""


class Registry:
    """The live workers of a deployment. Any method raises Unavailable where Redis does not answer in time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def register(self, worker: LiveWorker) -> Heard:
        """Have a worker on record for three heartbeats, and wake some of the jobs that wait for what it has.

        Their messages are due now. One that is drained wakes none.
        """
        moves, settings = self._ledger._moves, self._ledger.settings
        move: Move[Heard] = moves._move(
            "register",
            worker_name=worker.name,
            worker=worker.model_dump_json(exclude={"draining"}),
            lives_ms=int(HEARTBEATS * settings.heartbeat_s * 1000),
            drain_ms=DRAINED_S * 1000,
            lacking=[lacking(queue, needs) for queue in worker.queues for needs in ALL_NEEDS if worker.has(needs)],
            wake=_WAKE,
            parse=lambda a: Heard(a[0], a[1] or None, frozenset(a[2:])),
        )
        return self._ledger._run([move])[0]

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

    def costs_told(self, turn_s: float) -> dict[str, int] | None:
        """What Kubernetes was told that stopping each pod costs, for whoever tells it for the next `turn_s`.

        None: it is somebody else's turn.
        """
        with self._ledger._reachable():
            redis = self._ledger.redis
            if not redis.set(names.DELETION_COSTS_TURN_KEY, "", nx=True, px=int(turn_s * 1000)):
                return None
            return {str(pod): int(cost) for pod, cost in redis.hgetall(names.DELETION_COSTS_KEY).items()}

    def tell_costs(self, costs: Mapping[str, int], gone: Collection[str]) -> None:
        """Keep what Kubernetes is told of pods now, and forget those that are gone."""
        with self._ledger._reachable():
            pipeline = self._ledger.redis.pipeline(transaction=True)
            if costs:
                pipeline.hset(names.DELETION_COSTS_KEY, items=[part for cost in costs.items() for part in cost])
            if gone:
                pipeline.hdel(names.DELETION_COSTS_KEY, *gone)
            pipeline.expire(names.DELETION_COSTS_KEY, DRAINED_S)
            pipeline.execute()

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
    """What a queued job waits for, in words, where none of the live `workers` takes it and can paint it; else None."""
    takers = [worker for worker in workers if queue in worker.queues and worker.draining is None]
    if any(worker.has(needs) for worker in takers):
        return None
    networks = " or ".join(needs)
    if not takers:
        return f"a worker that takes from queue {queue!r} and has the network {networks}: none takes from it now"
    return f"a worker with the network {networks}: none that takes from queue {queue!r} has it now"
