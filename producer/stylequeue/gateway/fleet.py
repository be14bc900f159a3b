"""Queues and workers, as whoever scales and looks after a deployment sees them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from ..aclient import AsyncStyleQueue
from ..contract.base import QueueName
from ..contract.codes import Code
from ..contract.status import QueueLoad
from ..contract.worker import LiveWorker
from .access import Admin, Caller, Monitor
from .keys import INCLUDES
from .problems import Refused, document
from .reading import StrictRoute

router = APIRouter(prefix="/v1", tags=["fleet"], responses=document(), route_class=StrictRoute)


def _everybodys(caller: Caller) -> AsyncStyleQueue:
    if caller.tenant is not None:
        raise Refused(
            Code.FORBIDDEN,
            "queues and workers are all tenants', and no tenant's own",
            "it takes a key without a tenant: `stylequeue keys new --role monitor`, or `--role admin`",
        )
    return caller.queue


async def _looked_at(caller: Monitor) -> AsyncStyleQueue:
    return _everybodys(caller)


async def _changed(caller: Admin) -> AsyncStyleQueue:
    return _everybodys(caller)


Looked = Annotated[AsyncStyleQueue, Depends(_looked_at)]
"""Of a route: the deployment, for who may see how it fares."""
Changed = Annotated[AsyncStyleQueue, Depends(_changed)]
"""Likewise, for who may do all."""
Queue = Annotated[QueueName, Path(description="fast, paint or bulk.")]
Name = Annotated[str, Path(max_length=300, description="The worker's.")]


class WorkerList(BaseModel):
    """All there are."""

    workers: list[LiveWorker]


class Drain(BaseModel):
    """How a worker is drained."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: bool = Field(
        default=False, description="Another worker goes on with the job that it has; else it finishes that."
    )


@router.get("/queues/{queue}", operation_id="get_queue")
async def get_queue(deployment: Looked, queue: Queue) -> QueueLoad:
    """Look at how much of a queue's work there is; `load` is what to scale workers by."""
    return await deployment.load(queue)


@router.post("/admin/queues/{queue}/pause", operation_id="pause_queue")
async def pause_queue(deployment: Changed, queue: Queue) -> QueueLoad:
    """Have no worker take jobs from a queue; they are handed in as before."""
    await deployment.pause(queue)
    return await deployment.load(queue)


@router.post("/admin/queues/{queue}/resume", operation_id="resume_queue")
async def resume_queue(deployment: Changed, queue: Queue) -> QueueLoad:
    """Have workers take jobs from a queue again."""
    await deployment.resume(queue)
    return await deployment.load(queue)


@router.get("/workers", operation_id="list_workers")
async def list_workers(caller: Monitor, deployment: Looked) -> WorkerList:
    """List the live workers, and what each is at; of which job, where the key's role may look at jobs."""
    workers = await deployment.fleet()
    if "read" not in INCLUDES[caller.role]:
        workers = [worker.model_copy(update={"job": None}) for worker in workers]
    return WorkerList(workers=workers)


@router.post("/admin/workers/{name}/drain", operation_id="drain_worker", status_code=204)
async def drain_worker(deployment: Changed, name: Name, how: Drain | None = None) -> Response:
    """Have a worker take no more jobs, until it is undrained."""
    await deployment.drain(name, checkpoint=how is not None and how.checkpoint)
    return Response(status_code=204)


@router.post("/admin/workers/{name}/undrain", operation_id="undrain_worker", status_code=204)
async def undrain_worker(deployment: Changed, name: Name) -> Response:
    """Have a worker take jobs again."""
    await deployment.undrain(name)
    return Response(status_code=204)
