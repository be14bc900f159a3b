"""How the command speaks: results on standard output, all else on standard error."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from traceback import format_exception
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from ..contract.errors import ExitCode, StyleQueueError
from ..contract.events import AnyEvent, Cancelled, Expired, Failed, Progress, Succeeded, UploadRefused
from ..contract.text import printable

if TYPE_CHECKING:
    from typer import Typer

_HINT_INDENT = " " * 6


def run(app: Typer, name: str) -> NoReturn:
    """Run a command line to its end, as all of ours end."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # not a text file's: somebody reads along
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.excepthook = _tell_uncaught
    logging.basicConfig(level=logging.WARNING, handlers=[_FirstLine()])
    try:
        try:
            app(prog_name=name)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read has enough. What is left in the buffers goes nowhere, lest the interpreter complain at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        sys.exit(ExitCode.PIPE_CLOSED)
    sys.exit(ExitCode.DONE)


class _FirstLine(logging.Handler):
    """Sets logging up when something is logged: most commands log nothing, and need not wait for what that takes."""

    def emit(self, record: logging.LogRecord) -> None:
        """This line, and all that follow, as all programs of ours log."""
        from ..logs import configure

        configure("WARNING")
        logging.getLogger().handle(record)


def _tell_uncaught(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    """A fault of ours, whose text may be anybody's."""
    tell("".join(format_exception(kind, error, at)).rstrip().replace("\n", "\n" + _HINT_INDENT))


@contextmanager
def errors_told(*, as_json: bool) -> Iterator[None]:
    """Turn what goes wrong inside into a message on standard error and an exit code."""
    try:
        yield
    except StyleQueueError as error:
        tell_error(error.code, error.message, error.hint, as_json=as_json)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(ExitCode.PIPE_CLOSED)


def tell_error(code: str, message: str, hint: str, *, as_json: bool) -> None:
    """Say on standard error what went wrong and what to do."""
    if as_json:
        print(_json({"error": {"code": code, "message": message, "hint": hint}}), file=sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text.assemble(("error ", "bold red"), (f"[{printable(code)}] ", "red"), printable(message)))
    # A hint may show the end of a log: set off, its lines pass for nothing else.
    for line in hint.splitlines():
        console.print(Text(_HINT_INDENT + printable(line)))


def tell(message: str) -> None:
    """Say something on standard error, in as many lines as it has."""
    # In one piece: others may write to the same terminal.
    sys.stderr.write("".join(f"{printable(line)}\n" for line in message.split("\n")))
    sys.stderr.flush()


def note(message: str, *, as_json: bool) -> None:
    """Say something on standard error that is neither result nor error."""
    tell(_json({"note": message}) if as_json else f"# {printable(message)}")


def show(line: str) -> None:
    """A line of the result for people, on standard output."""
    print(printable(line), flush=True)


def show_json(value: Any) -> None:
    """A result for machines, on standard output: one line, and no character in it that a terminal would obey."""
    print(_json(value), flush=True)


def _json(value: Any) -> str:
    # In ASCII, of which a terminal obeys nothing but what JSON escapes, and this.
    return json.dumps(value).replace("\x7f", r"\u007f")


def describe(event: AnyEvent) -> str:
    """An event in one line."""
    name = event.kind
    match event:
        case Progress(data=data) if data.stage == "painting" and data.step:
            losses = " ".join(f"{term} {value:.4g}" for term, value in data.losses.items())
            return f"{name:9} step {data.step}/{data.steps} at {data.size_px} px  {losses}"
        case Progress(data=data):
            return f"{name:9} {stage_of(event)}"
        case Succeeded(data=data):
            out = data.output
            seconds = sum(data.report.timings_s.values())
            notes = "".join(f" ({note})" for note in data.report.notes)
            return (
                f"{name:9} s3://{out.bucket}/{out.key}  {out.width_px} x {out.height_px} px in {seconds:.1f} s{notes}"
            )
        case Failed(data=data) | Cancelled(data=data) | Expired(data=data):
            return f"{name:9} [{data.code}] {data.message}" + (f" ({data.hint})" if data.hint else "")
        case UploadRefused(data=data):
            return f"{name:9} [{data.code}] s3://{data.bucket}/{data.key}: {data.message} ({data.hint})"
        case _:
            return name


def stage_of(event: AnyEvent) -> str:
    """What is being done, in a word."""
    if isinstance(event, Progress):
        # Networks are compiled for the picture's shape before the first step.
        return "preparing" if event.data.stage == "painting" and not event.data.step else event.data.stage
    return {"accepted": "queued", "succeeded": "done"}.get(event.kind, event.kind)
