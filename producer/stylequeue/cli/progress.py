"""How far a job is, while somebody waits: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import fcntl
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..contract.events import AnyEvent, Progress, Succeeded, TerminalEvent
from ..contract.text import printable
from . import console

if TYPE_CHECKING:
    from rich.console import Console

_LINE_EVERY_S = 10.0
"""Between two plain lines that only tell of steps."""
_MIN_BAR_CELLS = 10
_TIME_CELLS = 12
"""Of `1:02:03 left`."""


def follow(events: Iterable[AnyEvent], *, label: str = "", quiet: bool) -> Iterator[AnyEvent]:
    """Pass events on and show on standard error how far the job is, unless `quiet`.

    `label` says which of several jobs it is. A terminal shows one bar at a time: a second command that follows a job
    on the same one writes lines.
    """
    if quiet:
        yield from events
        return
    from rich.console import Console

    terminal = Console(stderr=True)
    with _alone_on_terminal(terminal) as alone:
        yield from _bar(events, terminal, label) if alone else _lines(events, label)


def _lines(events: Iterable[AnyEvent], label: str) -> Iterator[AnyEvent]:
    # On a terminal another command's bar may stand in this line: it is drawn anew in the next.
    begin = "\r\x1b[2K" if sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown") else ""
    said, said_at = "", 0.0
    for event in events:
        stage, now = console.stage_of(event), time.monotonic()
        if stage != said or now - said_at >= _LINE_EVERY_S:
            said, said_at = stage, now
            parts = [stage]
            if isinstance(event, Progress) and event.data.step:
                parts += [f"step {event.data.step}/{event.data.steps}", _left(event)]
            line = f"{label or f'job {event.subject}'}: {', '.join(filter(None, parts))}"
            sys.stderr.write(f"{begin}{printable(line)}\n")
            sys.stderr.flush()
        yield event


def _bar(events: Iterable[AnyEvent], terminal: Console, label: str) -> Iterator[AnyEvent]:
    from rich.cells import cell_len
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Time(ProgressColumn):
        """What is left where that is known, else what has gone by."""

        def render(self, task: Task) -> Text:
            return Text(task.fields["left"] or _clock(task.finished_time or task.elapsed or 0))

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[steps]}", markup=False),
        Time(),
        TextColumn("{task.fields[losses]}", style="dim", markup=False),
    )
    with Bars(*columns, console=terminal, expand=True) as bars:
        bar = bars.add_task(f"{label} queued".strip(), total=None, steps="", left="", losses="")
        for event in events:
            stage = f"{label} {printable(console.stage_of(event))}".strip()
            if isinstance(event, Progress) and event.data.step:
                data, steps = event.data, f"{event.data.step}/{event.data.steps}"
                room = terminal.width - cell_len(stage) - _MIN_BAR_CELLS - len(steps) - _TIME_CELLS - len(columns)
                bars.update(
                    bar,
                    description=stage,
                    total=data.steps,
                    completed=data.step,
                    steps=steps,
                    left=_left(event),
                    losses=_losses(data.losses, room),
                )
            elif isinstance(event, TerminalEvent):
                bars.update(bar, description=stage, left="", losses="")
                if isinstance(event, Succeeded):
                    bars.update(bar, total=1, completed=1)
            else:
                bars.update(bar, description=stage, left="")
            yield event


def _left(event: Progress) -> str:
    """The time left; nothing before it can be known, which takes more than one step."""
    left_s = event.data.left_s
    return f"{_clock(math.ceil(left_s))} left" if left_s and event.data.step < event.data.steps else ""


def _clock(seconds: float) -> str:
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest_s:02}" if hours else f"{minutes}:{rest_s:02}"


def _losses(losses: Mapping[str, float], room: int) -> str:
    """As many of the losses as there is room for."""
    from rich.cells import cell_len

    shown = ""
    for term, value in losses.items():
        longer = f"{shown} {printable(term)} {value:.3g}".strip()
        if cell_len(longer) > room:
            break
        shown = longer
    return shown


@contextmanager
def _alone_on_terminal(terminal: Console) -> Iterator[bool]:
    """Whether a bar may be drawn: on a terminal that can, in the foreground, and no other command's."""
    if not terminal.is_terminal or terminal.is_dumb_terminal or not sys.stderr.isatty():
        yield False
        return
    try:
        own = os.open(os.ttyname(sys.stderr.fileno()), os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(own)
        yield False
        return
    try:
        yield True
    finally:
        os.close(own)
