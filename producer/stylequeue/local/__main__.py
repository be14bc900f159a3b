"""`python -m stylequeue.local`, which `stylequeue up` and `stylequeue demo` run."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..cli import console
from ..cli.deployment import data_home
from ..client import StyleQueue
from ..contract.errors import ExitCode, FileUnusable, InvalidRequest
from ..contract.recipe import MAX_SIZE_PX, MAX_STEPS, MIN_SIDE_PX
from ..settings import Settings
from ..variables import variable_of
from .announce import announced
from .demo import PAINTED, command_line, make_models, run_demo
from .gateway import open_door
from .private import private_directory
from .process import Process
from .shelf import prepare
from .stack import Stack
from .watching import Pictures, Watched

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
    watch: Annotated[
        str | None,
        typer.Option(metavar="BUCKET/FOLDER/", help="Paint whatever is put there, by any S3 client; needs --style."),
    ] = None,
    style: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="In which style; repeat it for several.")
    ] = None,
) -> None:
    """Start Valkey, SeaweedFS, a gateway, a keeper and a worker on this machine; stop everything on Ctrl-C.

    While it runs, the command finds it by itself, where STYLEQUEUE_REDIS_URL is not set.
    """
    with console.errors_told(as_json=False):
        if data and temporary:
            raise InvalidRequest("--data and --temporary exclude each other", "give one of them")
        if style and not watch:
            raise InvalidRequest("--style is for what is put where --watch says", "give --watch BUCKET/FOLDER/")
        directory = None if temporary else data or data_home() / "up"
        settings = Settings.load()
        with _own_directory(directory) as own:
            watched = Watched.of(watch, style or [], own / "uploads", settings) if watch else None
            if watched:
                settings = settings.model_copy(update={"operator_file": watched.operator_file})
            stack = Stack(directory, settings, announced=[watched.place] if watched else [])
            stop = _Stop(stack)
            try:
                _run(stack, directory, own, stop, watched)
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


def _run(stack: Stack, directory: Path | None, own: Path, stop: _Stop, watched: Watched | None) -> None:
    console.tell("# starting Valkey, SeaweedFS and a gateway ...")
    with ExitStack() as running:
        running.enter_context(stack)
        if watched:
            watched.prepare(stack)
        door, gateway = open_door(stack, private_directory(own / "gateway"))
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
        processes = [stack.worker(), gateway]
        if watched:
            processes.append(watched.listen(stack))
        stop.was_ready = True
        console.tell(
            "# the worker is ready, waiting for jobs. In a browser, the page to paint at, with its key behind the #:\n"
            f"{door.page}\n"
            "# in another terminal:\n"
            f"#   {command_line()} submit --content photo.jpg --style painting.jpg -o out.jpg\n"
            "# or, from any language, by HTTP, with this key (`stylequeue keys` makes others):\n"
            f"{door.line}\n"
            "# Ctrl-C stops everything."
        )
        pictures: Pictures | None = None
        if watched:
            pictures = Pictures(running.enter_context(StyleQueue(stack.settings)))
            console.tell(
                f"# whatever is put into s3://{watched.place} is painted, by any S3 client, or by this:\n"
                f"#   {command_line()} upload photo.jpg s3://{watched.place}\n"
                "# each picture, with a link to it; what was painted before in this style comes no second time:"
            )
        _watch_over(processes, pictures)


@contextmanager
def _own_directory(directory: Path | None) -> Iterator[Path]:
    """Where is kept what is of no server, or a directory that is gone at the end."""
    if directory:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="stylequeue-up-") as temporary:
        yield Path(temporary)


def _watch_over(processes: Sequence[Process], pictures: Pictures | None) -> None:
    while all(process.running for process in processes):
        time.sleep(1)
        if pictures:
            pictures.tell()
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
