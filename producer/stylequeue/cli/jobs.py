"""`stylequeue list`, `status`, `watch`, `wait`, `download`, `cancel`, `retry`, `delete`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, cast

import typer

from ..contract.errors import ExitCode, InvalidRequest
from ..contract.events import Succeeded
from ..contract.job import Output
from ..contract.objects import ImageFormat
from ..contract.status import JobResult, JobState, JobStatus
from ..contract.text import printable
from . import console, deployment, files
from .options import AfterOption, JsonOption, LimitOption, duration_s, pair
from .waiting import fetch, follow_to_end, going_on

_MIN_LABEL_CELLS = 12
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]
OutputOption = typer.Option("--output", "-o", metavar="FILE", help="Write the picture there; FILE ends as its format.")


def list_jobs(
    state: Annotated[JobState | None, typer.Option(help="Only those in this state.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Only those with this label; all, if repeated.")
    ] = None,
    limit: LimitOption = 20,
    after: AfterOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, the newest first."""
    with deployment.client(as_json=as_json) as client:
        wanted = dict(pair("--label", text) for text in label or [])
        page = client.jobs(state=state, label=wanted, after=after, limit=limit)
        if page.after:
            console.note(f"there are more: --after {page.after}", as_json=as_json)
        if as_json:
            console.show_json([job.model_dump(mode="json") for job in page])
            return
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in table(page, width=width):
            console.show(line)
        if not page:
            console.tell("no jobs")


def table(jobs: Sequence[JobStatus], *, width: int | None = None, now: datetime | None = None) -> Iterator[str]:
    """State, age, id and labels of jobs in columns; labels are cut to what a line of `width` has room for."""
    from rich.cells import cell_len, set_cell_size

    now = now or datetime.now(UTC)
    id_width = max((len(job.id) for job in jobs), default=2)
    if jobs:
        yield f"{'STATE':9}  {'AGE':>4}  {'ID':{id_width}}  LABELS"
    for job in jobs:
        labels = printable(" ".join(f"{name}={value}" for name, value in job.labels.items()))
        line = printable(f"{job.state:9}  {age(now - job.created_at):>4}  {job.id:{id_width}}  ")
        if width is not None and cell_len(labels) > (room := max(width - cell_len(line), _MIN_LABEL_CELLS)):
            labels = set_cell_size(labels, room - 3) + "..."
        yield (line + labels).rstrip()


def age(span: timedelta) -> str:
    """`42s`, `5m`, `3h`, `12d`."""
    seconds = max(0, int(span.total_seconds()))
    for unit, unit_s in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= unit_s:
            return f"{seconds // unit_s}{unit}"
    return f"{seconds}s"


def status(job_id: JobId, as_json: JsonOption = False) -> None:
    """Say what is known of a job."""
    with deployment.client(as_json=as_json) as client:
        known = client.status(job_id)
        if as_json:
            console.show_json(known.model_dump(mode="json"))
            return
        console.show(f"{known.id}  {known.state}  run {known.run}, attempt {known.attempt}, queue {known.queue}")
        created, deadline = (f"{moment:%Y-%m-%d %H:%M:%S} UTC" for moment in (known.created_at, known.deadline_at))
        console.show(f"created {created}, deadline {deadline}")
        if known.labels:
            console.show("labels " + " ".join(f"{name}={value}" for name, value in known.labels.items()))
        if known.waits_for:
            console.show(f"waits for {known.waits_for}")
        if known.standing and known.state == "queued":
            console.show(f"{known.standing.ahead} ahead of it, {known.standing.workers} workers")
        if known.standing and known.standing.eta_s is not None:
            console.show(f"done in about {known.standing.eta_s:.0f} s")
        if latest := known.outcome or known.progress:
            console.show(console.describe(latest))


def watch(
    job_id: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Left out: the lifecycle events of all jobs, from now on.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a job's events as they happen, until its end; exit code 1 if it ends without a picture."""
    with deployment.client(as_json=as_json) as client:
        if job_id is None:
            for _, event in client.events(after=client.newest_position()):
                line = f"{event.subject}  {console.describe(event)}"
                console.show_json(event.model_dump(mode="json")) if as_json else console.show(line)
            return
        with going_on(job_id):
            for event in client.watch(job_id):
                console.show_json(event.model_dump(mode="json")) if as_json else console.show(console.describe(event))
        if not isinstance(event, Succeeded):
            sys.exit(ExitCode.JOB_FAILED)


def wait(
    job_id: JobId,
    output: Annotated[Path | None, OutputOption] = None,
    timeout: Annotated[
        str | None, typer.Option(help="Stop waiting after: 90s, 30m, 2h; the job goes on all the same.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a job to its end; with -o, fetch its picture."""
    with deployment.client(as_json=as_json) as client:
        timeout_s = timeout and duration_s(timeout)
        if timeout and not timeout_s:
            raise InvalidRequest(f"--timeout {timeout!r} is no time", "write 90s, 30m or 2h")
        known = client.status(job_id)
        if output:
            files.check_target(output, _format_of(known))
        follow_to_end(client, job_id, output, as_json=as_json, timeout_s=timeout_s or None)


def download(job_id: JobId, output: Annotated[Path, OutputOption], as_json: JsonOption = False) -> None:
    """Fetch the picture of a job that has ended, and its contact sheet, if it has one."""
    with deployment.client(as_json=as_json) as client:
        known = client.status(job_id)
        files.check_target(output, _format_of(known))
        if not isinstance(known.outcome, Succeeded):
            client.download(job_id, output)  # says why there is none
            return
        made = JobResult(id=job_id, **dict(known.outcome.data))
        fetch(client, made, output)
        console.show_json(made.model_dump(mode="json")) if as_json else console.show(str(output))


def _format_of(known: JobStatus) -> ImageFormat:
    output = (known.job or {}).get("output", {})
    return cast("ImageFormat", output.get("format") or Output.model_fields["format"].default)


def cancel(
    job_id: JobId,
    keep: Annotated[bool, typer.Option("--keep", help="Store the picture as it is now, marked partial.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop a job: a queued one at once, a running one at its worker's next heartbeat."""
    with deployment.client(as_json=as_json) as client:
        state = client.cancel(job_id, keep=keep)
        console.show_json({"id": job_id, "state": state}) if as_json else console.show(f"{job_id}  {state}")


def retry(job_id: JobId, as_json: JsonOption = False) -> None:
    """Run a job again that ended without a picture."""
    with deployment.client(as_json=as_json) as client:
        client.retry(job_id)
        console.show_json({"id": job_id, "state": "queued"}) if as_json else console.show(f"{job_id}  queued")


def delete(job_id: JobId, as_json: JsonOption = False) -> None:
    """Forget an ended job: record, events, picture, checkpoint and preview."""
    with deployment.client(as_json=as_json) as client:
        client.delete(job_id)
        console.show_json({"id": job_id, "state": "deleted"}) if as_json else console.show(f"{job_id}  deleted")
