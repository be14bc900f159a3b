"""`stylequeue workers` and `stylequeue queues`: who works, and who is to; what waits, and what is to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from ..contract.base import QUEUES, QueueName
from . import console, deployment
from .options import JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..contract.status import QueueLoad
    from ..contract.worker import LiveWorker

workers = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who works, and who is to take no more jobs.")
queues = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What waits, and where nobody takes jobs.")

_Worker = Annotated[str, typer.Argument(metavar="WORKER", help="Name of the worker, as `workers list` has it.")]
_Queue = Annotated[QueueName, typer.Argument(help="fast, paint or bulk")]


@workers.command("list")
def list_workers(as_json: JsonOption = False) -> None:
    """List the live workers, and what each is at."""
    with deployment.client(as_json=as_json) as queue:
        found = queue.fleet()
    if as_json:
        console.show_json([worker.model_dump(mode="json") for worker in found])
        return
    for worker in found:
        console.show(f"{worker.name}  {_at(worker)}; {worker}")
    if not found:
        console.tell("no workers")
    elif len(versions := Counter(worker.version for worker in found)) > 1:
        mixed = ", ".join(f"{count} of {version}" for version, count in sorted(versions.items()))
        console.tell(f"they are of different versions: {mixed}")


def _at(worker: LiveWorker) -> str:
    at = "idle" if worker.job is None else f"job {worker.job}"
    if worker.job and worker.steps:
        at += f" step {worker.step}/{worker.steps}"
    elif worker.job and worker.stage:
        at += f" {worker.stage}"
    rate = "" if worker.steps_per_s is None else f", {worker.steps_per_s:.3g} steps/s"
    drained = "" if worker.draining is None else ", drained"
    return f"{at}{rate}{drained}, {worker.jobs_done} done"


@workers.command()
def drain(
    worker: _Worker,
    checkpoint: Annotated[
        bool, typer.Option("--checkpoint", help="Another worker goes on with its job, instead of this one.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Have a worker take no more jobs, until it is undrained; it finishes the one that it has."""
    with deployment.client(as_json=as_json) as queue:
        queue.drain(worker, checkpoint=checkpoint)
        _show_worker(queue.fleet(), worker, as_json=as_json)


@workers.command()
def undrain(worker: _Worker, as_json: JsonOption = False) -> None:
    """Have a worker take jobs again."""
    with deployment.client(as_json=as_json) as queue:
        queue.undrain(worker)
        _show_worker(queue.fleet(), worker, as_json=as_json)


def _show_worker(found: Sequence[LiveWorker], name: str, *, as_json: bool) -> None:
    for worker in found:
        if worker.name == name:
            shown = worker.model_dump(mode="json")
            console.show_json(shown) if as_json else console.show(f"{name}  {_at(worker)}")


@queues.command("list")
def list_queues(as_json: JsonOption = False) -> None:
    """List the queues: how much waits, for how many workers, and how long."""
    with deployment.client(as_json=as_json) as queue:
        loads = [queue.load(name) for name in QUEUES]
    if as_json:
        console.show_json([load.model_dump(mode="json") for load in loads])
        return
    for load in loads:
        console.show(_in_words(load))


def _in_words(load: QueueLoad) -> str:
    counts = f"{load.waiting} waiting, {load.running} running, {load.due} later, {load.parked} parked"
    oldest = "" if load.oldest_s is None else f", the oldest for {load.oldest_s:.0f} s"
    begins = "" if load.eta_s is None else f"; the next one begins in {load.eta_s:.0f} s"
    paused = " (paused)" if load.paused else ""
    return f"{load.queue:5}{paused}  {counts}{oldest}; {load.workers} workers, {load.rate_per_min:g} jobs/min{begins}"


@queues.command()
def pause(queue: _Queue, as_json: JsonOption = False) -> None:
    """Have no worker take jobs from a queue; they are handed in as before."""
    with deployment.client(as_json=as_json) as client:
        client.pause(queue)
        load = client.load(queue)
    console.show_json(load.model_dump(mode="json")) if as_json else console.show(_in_words(load))


@queues.command()
def resume(queue: _Queue, as_json: JsonOption = False) -> None:
    """Have workers take jobs from a queue again."""
    with deployment.client(as_json=as_json) as client:
        client.resume(queue)
        load = client.load(queue)
    console.show_json(load.model_dump(mode="json")) if as_json else console.show(_in_words(load))
