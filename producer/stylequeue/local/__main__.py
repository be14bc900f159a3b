"""`python -m stylequeue.local`, which `stylequeue up` and `stylequeue demo` run."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from ..cli import console
from ..contract.errors import ExitCode
from ..settings import Settings
from .demo import PAINTED, make_models, run_demo
from .stack import Stack

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def up(
    data: Annotated[
        Path | None, typer.Option(help="Keep jobs and pictures in this directory. [default: gone at the end]")
    ] = None,
) -> None:
    """Start Valkey, SeaweedFS, a keeper and a worker on this machine; stop everything on Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with console.errors_told(as_json=False), Stack(data, Settings.load()) as stack:
        make_models()
        console.tell("# Valkey and SeaweedFS are up. In other terminals, first paste this:")
        for name, value in stack.env.items():
            print(f"export {name}='{value}'", flush=True)
        stack.process("keeper", [sys.executable, "-m", "stylequeue.cli", "keeper"])
        console.tell("# a worker is loading its models ...")
        worker = stack.worker()
        console.tell("# the worker is ready, waiting for jobs. Ctrl-C stops everything.")
        while not stop.wait(1):
            if not worker.running:
                console.tell(f"# the worker ended by itself; the end of its log:\n{worker.log_tail()}")
                sys.exit(ExitCode.JOB_FAILED)
        console.tell("# stopping")


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("demo-output"),
    size: Annotated[int | None, typer.Option(help="Longest side of the painted picture in pixels.")] = PAINTED.size,
    steps: Annotated[int | None, typer.Option(help="Its gradient evaluations. [default: the preset's]")] = None,
) -> None:
    """Paint the sample pictures, fast and well, on a stack of its own."""
    with console.errors_told(as_json=False):
        run_demo(output, size_px=size, steps=steps)


if __name__ == "__main__":
    app(prog_name="stylequeue")
