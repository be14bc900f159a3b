"""What both clients do with workers and queues, written once, as all else that they do (`asking`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .asking_pictures import AskingPictures
from .contract.base import QUEUES, QueueName
from .contract.errors import InvalidRequest, WorkerNotFound
from .contract.status import QueueLoad
from .contract.worker import LiveWorker

if TYPE_CHECKING:
    from .ledger.census import Census


class AskingFleet(AskingPictures):
    """A deployment as its operator sees it. StyleQueue says what each method does."""

    async def workers(self) -> list[str]:
        return [worker.name for worker in await self._access.asked.workers()]

    async def fleet(self) -> list[LiveWorker]:
        self._for_operators()
        return await self._access.asked.workers()

    async def drain(self, worker: str, *, checkpoint: bool = False) -> None:
        from .ledger import fleet

        self._for_operators()
        if worker not in await self.workers():
            raise WorkerNotFound(worker)
        await fleet.drain(self._access.asked, worker, "checkpoint" if checkpoint else "finish")

    async def undrain(self, worker: str) -> None:
        from .ledger import fleet

        self._for_operators()
        if not await fleet.undrain(self._access.asked, worker) and worker not in await self.workers():
            raise WorkerNotFound(worker)

    async def pause(self, queue: QueueName) -> None:
        from .ledger import fleet

        self._for_operators()
        await fleet.pause(self._access.asked, _known(queue))

    async def resume(self, queue: QueueName) -> None:
        from .ledger import fleet

        self._for_operators()
        await fleet.resume(self._access.asked, _known(queue))

    async def load(self, queue: QueueName) -> QueueLoad:
        from .ledger import census

        self._for_operators()
        _known(queue)
        counted = (await census.count(self._access.asked)).queues[queue]
        workers = [worker for worker in await self.fleet() if queue in worker.queues and worker.draining is None]
        return QueueLoad(
            queue=queue,
            waiting=counted.waiting,
            due=counted.due,
            parked=counted.parked,
            running=counted.running,
            load=counted.load,
            oldest_s=counted.oldest_s,
            workers=len(workers),
            rate_per_min=round(counted.rate_per_min, 2),
            eta_s=await self._access.asked.begins_s(queue),
            paused=counted.paused_s is not None,
        )

    async def census(self) -> Census:
        from .ledger import census

        self._for_operators()
        return await census.take(self._access.asked, endpoints=list(self._access.operator_file.now.endpoints))

    def _for_operators(self) -> None:
        """Raises InvalidRequest where this client is a tenant's: workers and queues are everybody's."""
        if self.tenant is not None:
            raise InvalidRequest(
                "workers and queues are not a tenant's to look at or change", "use a client without a tenant"
            )


def _known(queue: str) -> str:
    if queue not in QUEUES:
        raise InvalidRequest(f"there is no queue {queue!r}", f"there are {', '.join(QUEUES)}")
    return queue
