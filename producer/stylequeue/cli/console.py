"""How the command speaks: results on standard output, all else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..contract.errors import ExitCode, StyleQueueError
from ..contract.events import AnyEvent, Cancelled, Expired, Failed, Progress, Succeeded


@contextmanager
def errors_told(*, as_json: bool) -> Iterator[None]:
    """Turn what goes wrong inside into a message on standard error and an exit code."""
    try:
        yield
    except StyleQueueError as error:
        tell_error(error.code, error.message, error.hint, as_json=as_json)
        sys.exit(error.exit_code)
    except TimeoutError as error:
        tell_error("timeout", str(error), "ask again with `stylequeue status` or `stylequeue watch`", as_json=as_json)
        sys.exit(ExitCode.JOB_FAILED)


def tell_error(code: str, message: str, hint: str, *, as_json: bool) -> None:
    """Say on standard error what went wrong and what to do."""
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message, "hint": hint}}), file=sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text.assemble(("error ", "bold red"), (f"[{code}] ", "red"), message))
    if hint:
        console.print(Text(f"      {hint}"))


def tell(message: str) -> None:
    """Say something on standard error."""
    print(message, file=sys.stderr)


def show_json(value: Any) -> None:
    """A result for machines, on standard output."""
    print(json.dumps(value, ensure_ascii=False))


def describe(event: AnyEvent) -> str:
    """An event in one line."""
    name = event.type.split(".")[-2]
    match event:
        case Progress(data=data) if data.stage == "painting":
            losses = " ".join(f"{term} {value:.4g}" for term, value in data.losses.items())
            return f"{name:9} step {data.step}/{data.steps} at {data.size_px} px  {losses}"
        case Progress(data=data):
            return f"{name:9} {data.stage}"
        case Succeeded(data=data):
            out = data.output
            seconds = sum(data.report.timings_s.values())
            return f"{name:9} s3://{out.bucket}/{out.key}  {out.width_px} x {out.height_px} px in {seconds:.1f} s"
        case Failed(data=data) | Cancelled(data=data) | Expired(data=data):
            return f"{name:9} [{data.code}] {data.message}" + (f" ({data.hint})" if data.hint else "")
        case _:
            return name


def follow(events: Iterable[AnyEvent], *, label: str, quiet: bool) -> Iterator[AnyEvent]:
    """Pass events on while a progress bar on standard error shows step, losses and time left."""
    if quiet:
        yield from events
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[steps]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[losses]}", style="dim"),
    )
    with Bars(*columns, console=Console(stderr=True), expand=True) as bars:
        bar = bars.add_task(f"{label} queued", total=None, steps="", left="", losses="")
        for event in events:
            stage = event.type.split(".")[-2]
            match event:
                case Progress(data=data) if data.stage == "painting":
                    bars.update(
                        bar,
                        description=f"{label} painting",
                        total=data.steps,
                        completed=data.step,
                        steps=f"step {data.step}/{data.steps}",
                        left="" if data.left_s is None else f"{data.left_s:.0f} s left",
                        losses=" ".join(f"{term} {value:.3g}" for term, value in data.losses.items()),
                    )
                case Progress(data=data):
                    bars.update(bar, description=f"{label} {data.stage}")
                case Succeeded():
                    bars.update(bar, description=f"{label} done", total=1, completed=1, left="")
                case _:
                    bars.update(bar, description=f"{label} {stage}")
            yield event
