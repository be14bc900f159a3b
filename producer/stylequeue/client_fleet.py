"""What a client does for whoever operates a deployment: its workers, and what its queues hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .asking import Asking
from .awaiting import run
from .contract.base import QueueName
from .contract.status import QueueLoad
from .contract.worker import LiveWorker

if TYPE_CHECKING:
    from .ledger.census import Census


class FleetCalls:
    """A part of StyleQueue, which says what all of it raises. All but `workers` raise InvalidRequest for a tenant."""

    _asking: Asking

    def workers(self) -> list[str]:
        """Names of the live workers: those that were heard of in the last three heartbeats."""
        return run(self._asking.workers())

    def fleet(self) -> list[LiveWorker]:
        """The live workers, by name: what each is, and what it is at. What they say may be a heartbeat old."""
        return run(self._asking.fleet())

    def drain(self, worker: str, *, checkpoint: bool = False) -> None:
        """Have a live worker take no more jobs, from now on until it is undrained, also after a restart under its name.

        It finishes the job that it has; with `checkpoint`, another goes on with that, uncharged. What was drained and
        not heard of for 7 days is forgotten. Raises WorkerNotFound.
        """
        return run(self._asking.drain(worker, checkpoint=checkpoint))

    def undrain(self, worker: str) -> None:
        """Have a worker take jobs again. Raises WorkerNotFound where it neither was drained nor lives."""
        return run(self._asking.undrain(worker))

    def pause(self, queue: QueueName) -> None:
        """Have no worker take a job from a queue, from now on until it is resumed. Jobs are handed in as before, and
        those that workers have are painted. Raises InvalidRequest where there is no such queue.
        """
        return run(self._asking.pause(queue))

    def resume(self, queue: QueueName) -> None:
        """Have workers take jobs from a queue again: within a heartbeat. Raises InvalidRequest likewise."""
        return run(self._asking.resume(queue))

    def load(self, queue: QueueName) -> QueueLoad:
        """How much of a queue's work there is now, and for how many workers. Raises InvalidRequest likewise."""
        return run(self._asking.load(queue))

    def census(self) -> Census:
        """All that can be counted of the deployment, for who watches it: what metrics are made of."""
        return run(self._asking.census())
