"""What is shown while somebody waits: one line that fits, on one terminal at a time; lines where there is none."""

from __future__ import annotations

import io
import itertools
import os
import pty
import re
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len
from rich.console import Console

from stylequeue.cli import progress
from stylequeue.contract.events import (
    Accepted,
    AcceptedData,
    AnyEvent,
    EventData,
    Failed,
    FailedData,
    Progress,
    ProgressData,
    Started,
    StartedData,
)

_QUIET_S = 0.2
"""What was written to a terminal can be read from its other end at once; after so long there is no more."""
LOSSES = {"content": 0.61234, "style": 1.23e-5, "variation": 4000.0}


def told(kind: Callable[..., AnyEvent], data: EventData) -> AnyEvent:
    return kind(id="1", source="/", subject="job-7", time=datetime.now(UTC), data=data)


def painting(step: int, left_s: float | None = None) -> AnyEvent:
    losses = LOSSES if step else {}
    data = ProgressData(number=1, stage="painting", step=step, steps=140, size_px=512, losses=losses, left_s=left_s)
    return told(Progress, data)


def events() -> Iterator[AnyEvent]:
    yield told(Accepted, AcceptedData(queue="paint"))
    yield told(Started, StartedData(worker="w"))
    yield told(Progress, ProgressData(number=1, stage="fetching"))
    yield painting(0)
    yield painting(1, 0.0)
    yield painting(2, 725.0)
    yield told(Failed, FailedData(code="x", message="no"))


def frame(width: int, count: int, *, label: str = "") -> str:
    """What stands on a terminal after so many of the events."""
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=width, color_system="standard", legacy_windows=False)
    for _ in progress._bar(itertools.islice(events(), count), terminal, label):
        pass
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    return re.split(r"[\r\n]+", shown.strip())[-1].rstrip()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("count", range(1, 8))
def test_it_is_one_line_that_fits(width: int, count: int) -> None:
    assert cell_len(frame(width, count)) <= width
    assert cell_len(frame(width, count, label="paint")) <= width


@pytest.mark.parametrize("width", [60, 80])
def test_stage_bar_step_time_left_then_losses(width: int) -> None:
    assert re.fullmatch(r"painting [^ ]{10,}( +[^ ]+)? 2/140 12:05 left content 0\.612.*", frame(width, 6))


def test_losses_are_whole_or_not_there() -> None:
    assert "style" not in frame(60, 6)
    assert frame(120, 6).endswith("content 0.612 style 1.23e-05 variation 4e+03")
    assert "content" not in frame(40, 6)
    assert "12:05 left" in frame(40, 6)


def test_before_the_first_step_it_prepares() -> None:
    assert frame(80, 1).startswith("queued")
    assert frame(80, 3).startswith("fetching")
    assert frame(80, 4).startswith("preparing")


def test_after_one_step_nobody_knows_what_is_left() -> None:
    assert "left" not in frame(80, 5)
    assert "1/140" in frame(80, 5)


def test_no_time_is_left_of_a_job_that_ended() -> None:
    assert frame(80, 7).startswith("failed")
    assert "left" not in frame(80, 7)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (59, "0:59"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (90061, "25:01:01")],
)
def test_a_clock(seconds: int, shown: str) -> None:
    assert progress._clock(seconds) == shown


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    passed_on = list(progress.follow(events(), quiet=False))
    assert len(passed_on) == 7
    stages = ["queued", "started", "fetching", "preparing", "painting, step 1/140", "failed"]
    assert capsys.readouterr().err.splitlines() == [f"job job-7: {stage}" for stage in stages]


def test_steps_are_told_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0)
    list(progress.follow(events(), label="paint", quiet=False))
    assert "paint: painting, step 2/140, 12:05 left" in capsys.readouterr().err


def test_nothing_where_it_is_to_be_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(progress.follow(events(), quiet=True))) == 7
    assert capsys.readouterr().err == ""


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, name: str = "xterm") -> Iterator[Callable[[], str]]:
    """Standard error is a terminal; the answer is what it was sent."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream, monkeypatch.context() as patched:
        patched.setattr("sys.stderr", stream)
        patched.setenv("TERM", name)

        def said() -> str:
            text = b""
            while select.select([master], [], [], _QUIET_S)[0]:
                text += os.read(master, 10_000)
            return text.decode()

        yield said
    os.close(master)


def test_one_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as said:
        bar = progress._alone_on_terminal
        with bar(Console(stderr=True)) as first, bar(Console(stderr=True)) as second:
            assert (first, second) == (True, False)
            list(progress.follow(events(), quiet=False))
        # Where the other's bar stands, the line is wiped first; the bar is drawn anew below.
        assert said().count("\r\x1b[2Kjob job-7: ") == 6
        with bar(Console(stderr=True)) as again:
            assert again


@pytest.mark.parametrize("name", ["dumb", "unknown"])
def test_a_terminal_that_can_do_nothing_gets_lines(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with terminal(monkeypatch, name) as said:
        list(progress.follow(events(), quiet=False))
        text = said()
    assert text.splitlines()[-1] == "job job-7: failed"
    assert "\x1b" not in text
