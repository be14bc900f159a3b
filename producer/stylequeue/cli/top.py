"""`stylequeue top`: the deployment as it is now, on one screen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..contract.text import printable
from . import console, deployment
from .options import JsonOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..client import StyleQueue
    from ..contract.status import JobStatus
    from ..contract.worker import LiveWorker
    from ..ledger.census import Census

_ERRORS = 3
"""Of the newest jobs that failed."""
_BESIDE_ROWS = 14
"""Of a screen, that are not for workers: queues, what failed, headings."""
_LEAST_WORKERS = 3
_BAR_COLUMNS = 10


def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once, and end.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds from one look to the next.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Show queues, workers with what they are at, the newest failures and dead letters, until Ctrl-C."""
    from rich.console import Console

    with deployment.client(as_json=as_json) as queue:
        if as_json:
            while True:
                console.show_json(as_dict(*look(queue)))
                if once:
                    return
                time.sleep(interval)
        screen = Console()
        if once or not screen.is_terminal:
            screen.print(picture(*look(queue), rows=10_000))
            return
        from rich.live import Live

        with Live(screen=True, auto_refresh=False, console=screen) as live:
            while True:
                live.update(picture(*look(queue), rows=screen.height), refresh=True)
                time.sleep(interval)


def look(queue: StyleQueue) -> tuple[Census, Sequence[JobStatus]]:
    """What there is to show."""
    return queue.census(), queue.jobs(state="failed", limit=_ERRORS)


def as_dict(census: Census, failed: Sequence[JobStatus]) -> dict[str, Any]:
    """The same for programs."""
    counts = census.counts
    return {
        "queues": {name: {**asdict(queue), "load": queue.load} for name, queue in counts.queues.items()},
        "workers": [worker.model_dump(mode="json") for worker in census.workers],
        "dead_letters": counts.dead_letters,
        "keeper_s": counts.keeper_s,
        "redis": census.memory and asdict(census.memory),
        "failed": [{"id": job.id, "queue": job.queue, "error": _error(job)} for job in failed],
    }


def picture(census: Census, failed: Sequence[JobStatus], *, rows: int) -> RenderableType:
    """All of it in so many rows: of workers, those that paint come first, and those that have no room are counted."""
    from rich.console import Group
    from rich.text import Text

    fit = max(_LEAST_WORKERS, rows - _BESIDE_ROWS - len(failed))
    workers = sorted(census.workers, key=lambda worker: (worker.job is None, worker.name))
    parts: list[RenderableType] = [_queues(census), _workers(workers[:fit])]
    if not workers:
        parts.append(Text("no worker lives", style="bold red"))
    elif len(workers) > fit:
        parts.append(Text(f"... and {len(workers) - fit} more", style="dim"))
    versions = sorted({worker.version for worker in workers})
    if len(versions) > 1:
        parts.append(Text(f"different versions: {', '.join(versions)}", style="yellow"))
    parts.append(_below(census))
    for job in failed:
        line = Text(f"{job.id[:18]} ", style="dim", no_wrap=True, overflow="ellipsis")
        parts.append(line.append(printable(_error(job)), style="red"))
    return Group(*parts)


def _queues(census: Census) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("queue", no_wrap=True)
    for name in ("waiting", "running", "later", "parked", "oldest", "workers", "jobs/min"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, queue in census.counts.queues.items():
        takers = sum(name in worker.queues and worker.draining is None for worker in census.workers)
        lonely = "bold red" if queue.load and not takers else ""
        paused = " (paused)" if queue.paused_s is not None else ""
        numbers = (queue.waiting, queue.running, queue.due, queue.parked, _span(queue.oldest_s), takers)
        table.add_row(name + paused, *map(str, numbers), f"{queue.rate_per_min:.1f}", style=lonely)
    return table


def _workers(workers: Sequence[LiveWorker]) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("worker", no_wrap=True, overflow="ellipsis", ratio=3)
    table.add_column("device", no_wrap=True, overflow="ellipsis", ratio=2)
    table.add_column("job", no_wrap=True, overflow="ellipsis", ratio=3)
    table.add_column("", width=_BAR_COLUMNS)
    for name in ("step", "steps/s", "done"):
        table.add_column(name, justify="right", no_wrap=True)
    for worker in workers:
        paints = bool(worker.job and worker.steps)
        at = printable(worker.job or ("drained" if worker.draining else "idle"))
        table.add_row(
            printable(worker.name),
            printable(worker.device),
            at if paints or not worker.stage else f"{worker.stage} {at}",
            ProgressBar(total=worker.steps, completed=worker.step, width=_BAR_COLUMNS) if paints else "",
            f"{worker.step}/{worker.steps}" if paints else "",
            "" if worker.steps_per_s is None else f"{worker.steps_per_s:.3g}",
            str(worker.jobs_done),
            style="" if worker.job else "dim",
        )
    return table


def _below(census: Census) -> RenderableType:
    from rich.text import Text

    counts, memory = census.counts, census.memory
    keeper = "none ever" if counts.keeper_s is None else f"{_span(counts.keeper_s)} ago"
    said = [f"{counts.dead_letters} dead letters", f"keeper {keeper}"]
    if memory:
        share = f" of {memory.limit_bytes / 2**20:.0f}" if memory.limit_bytes else ""
        said.append(f"Redis {memory.used_bytes / 2**20:.0f}{share} MiB")
    return Text(" · ".join(said), style="bold yellow" if counts.dead_letters else "bold", no_wrap=True)


def _error(job: JobStatus) -> str:
    data = job.outcome.data if job.outcome else None
    return f"[{getattr(data, 'code', '')}] {getattr(data, 'message', '')}"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, unit_s in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f}{unit}"
    return f"{seconds:.0f}s"
