"""`python -m stylequeue.local`, which `stylequeue up` and `stylequeue demo` run."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..cli import console
from ..cli.deployment import data_home
from ..contract.errors import ExitCode, FileUnusable, InvalidRequest
from ..contract.recipe import MAX_SIZE_PX, MAX_STEPS, MIN_SIDE_PX
from ..settings import Settings
from ..variables import variable_of
from .announce import announced
from .demo import PAINTED, make_models, run_demo
from .gateway import open_door
from .private import private_directory
from .process import Process
from .shelf import prepare
from .stack import Stack

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def up(
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep jobs and pictures there. [default: ~/.local/share/stylequeue/up]"),
    ] = None,
    temporary: Annotated[bool, typer.Option("--temporary", help="Keep nothing: all is gone at the end.")] = False,
) -> None:
    """Start Valkey, SeaweedFS, a gateway, a keeper and a worker on this machine; stop everything on Ctrl-C.

    While it runs, the command finds it by itself, where STYLEQUEUE_REDIS_URL is not set.
    """
    with console.errors_told(as_json=False):
        if data and temporary:
            raise InvalidRequest("--data and --temporary exclude each other", "give one of them")
        directory = None if temporary else data or data_home() / "up"
        stack = Stack(directory, Settings.load())
        stop = _Stop(stack)
        try:
            _run(stack, directory, stop)
        except KeyboardInterrupt:
            sys.exit(ExitCode.DONE if stop.was_ready else ExitCode.INTERRUPTED)


class _Stop:
    """What the first Ctrl-C does, or SIGTERM: KeyboardInterrupt, wherever we are; and the second: SIGKILL to all."""

    def __init__(self, stack: Stack) -> None:
        self.was_ready = False
        self._stack = stack
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        if self._asked:
            self._stack.kill()
            os._exit(ExitCode.INTERRUPTED)
        self._asked = True
        os.write(2, b"\n# stopping; Ctrl-C again kills everything at once\n")  # print might be in the middle of a line
        raise KeyboardInterrupt


def _run(stack: Stack, directory: Path | None, stop: _Stop) -> None:
    console.tell("# starting Valkey, SeaweedFS and a gateway ...")
    with ExitStack() as running:
        running.enter_context(stack)
        door, gateway = open_door(stack, running.enter_context(_directory_of_gateway(directory)))
        variables = {**stack.env, variable_of("keys_file"): str(door.keys_file)}
        why_not = running.enter_context(announced(variables))
        for server in (stack.valkey, stack.seaweedfs):
            for port in server.moved:
                console.tell(f"# port {port} is another program's now: {server.name} has a new one, and new keys")
        console.tell(f"# data and logs: {directory or 'temporary, gone at the end'}")
        if why_not:
            console.tell(f"# `stylequeue` does not find this by itself: {why_not}. It needs:")
        else:
            console.tell("# `stylequeue` finds this by itself. Other programs need:")
        for name, value in sorted(variables.items()):
            print(f"export {name}='{value}'", flush=True)
        prepare(stack.settings, door.origins)
        console.tell("# making the networks, unless they are there ...")
        make_models()
        stack.process("keeper", [sys.executable, "-m", "stylequeue.cli", "keeper"])
        console.tell("# a worker is loading its models ...")
        worker = stack.worker()
        stop.was_ready = True
        console.tell(
            "# the worker is ready, waiting for jobs. In a browser, the page to paint at, with its key behind the #:\n"
            f"{door.page}\n"
            "# in another terminal:\n"
            f"#   {_command()} submit --content photo.jpg --style painting.jpg -o out.jpg\n"
            "# or, from any language, by HTTP, with this key (`stylequeue keys` makes others):\n"
            f"{door.line}\n"
            "# Ctrl-C stops everything."
        )
        _watch_over(worker, gateway)


def _command() -> str:
    """How a shell finds `stylequeue`."""
    return "stylequeue" if shutil.which("stylequeue") else str(Path(sys.executable).with_name("stylequeue"))


@contextmanager
def _directory_of_gateway(directory: Path | None) -> Iterator[Path]:
    """Where its keys are kept, or a directory that is gone at the end."""
    if directory:
        yield private_directory(directory / "gateway")
        return
    with tempfile.TemporaryDirectory(prefix="stylequeue-gateway-") as temporary:
        yield Path(temporary)


def _watch_over(*processes: Process) -> None:
    while all(process.running for process in processes):
        time.sleep(1)
    ended = next(process for process in processes if not process.running)
    console.tell(f"# the {ended.name} ended by itself; the end of its log:\n{ended.log_tail()}")
    sys.exit(ExitCode.JOB_FAILED)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the pictures go.")] = Path(
        "demo-output"
    ),
    size: Annotated[
        int | None,
        typer.Option(min=MIN_SIDE_PX, max=MAX_SIZE_PX, help="Longest side of the painted picture in pixels."),
    ] = PAINTED.size,
    steps: Annotated[
        int | None, typer.Option(min=1, max=MAX_STEPS, help="Its gradient evaluations. [default: the preset's]")
    ] = None,
) -> None:
    """Paint the sample pictures, fast and well, on a stack of its own."""
    with console.errors_told(as_json=False):
        try:
            run_demo(output, size_px=size, steps=steps)
        except OSError as error:
            raise FileUnusable(f"{output} cannot be used: {error}", "name another directory with --output") from None


if __name__ == "__main__":
    console.run(app, "stylequeue")
