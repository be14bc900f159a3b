"""What is done to processes in the tests, which programs they need, and how their end is waited for."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from stylequeue.broker.app import READY_FOR_JOBS
from stylequeue.local import Process

_T = TypeVar("_T")
_POLL_S = 0.02


def wait_for(condition: Callable[[], _T], timeout_s: float, what: str) -> _T:
    """Ask until the answer is true, and return it. AssertionError, which says `what` was waited for, otherwise."""
    ends_at = time.monotonic() + timeout_s
    while not (answer := condition()):
        if time.monotonic() > ends_at:
            raise AssertionError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(_POLL_S)
    return answer


def children_of(worker: Process) -> list[int]:
    """The worker's children that said they were ready for jobs, the newest last; some may be gone by now."""
    return [int(pid) for pid in re.findall(rf'"pid": (\d+), .*{READY_FOR_JOBS}', worker.log_text())]


REQUIRED = {"time", "level", "pid", "logger", "message"}
"""What every line of a log has."""


def logged(*processes: Process) -> list[dict[str, Any]]:
    """The lines of their logs, but for what native code prints there (`log_lines.py`)."""
    said = [line for process in processes for line in process.log_text().splitlines()]
    return [json.loads(line) for line in said if line.startswith("{")]


def child_of(worker: Process) -> int:
    """The newest of its children."""
    children = children_of(worker)
    assert children, f"no child of {worker.name} was ready yet; the end of its log:\n{worker.log_tail()}"
    return children[-1]


def processes_below(pid: int) -> list[int]:
    """The processes that this one has started, and theirs, as this machine counts them; itself not."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):  # it may end meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *processes_below(int(child))]
    return found


def arguments_below(pid: int) -> list[str]:
    """The command lines, as every user of this machine may read them, of the processes that this one has started."""
    lines = []
    for below in processes_below(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # it may end meanwhile
            lines.append(Path(f"/proc/{below}/cmdline").read_text(errors="replace").replace("\0", " "))
    return lines


def kill(pid: int) -> None:
    """SIGKILL; nothing is told, nothing is tidied."""
    os.kill(pid, signal.SIGKILL)


def pause(pid: int) -> None:
    """SIGSTOP: it stands still until `resume`."""
    os.kill(pid, signal.SIGSTOP)


def resume(pid: int) -> None:
    """SIGCONT."""
    os.kill(pid, signal.SIGCONT)


def wait_gone(pid: int, timeout_s: float) -> None:
    """Return when the process has ended; one that only nobody has buried yet has."""
    wait_for(lambda: _stat(pid)[0] in _ENDED, timeout_s, f"process {pid} to end")


def living_group(group: int) -> list[int]:
    """The processes of a process group that have not ended."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    stats = {pid: _stat(pid) for pid in pids}
    return [pid for pid, (state, its_group) in stats.items() if its_group == group and state not in _ENDED]


_ENDED = ("gone", "Z", "X")


def _stat(pid: int) -> tuple[str, int]:
    """State, as one letter or "gone", and process group."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "gone", 0
    # Behind the name, which is in brackets and may hold anything: state, parent, group.
    state, _, group = stat.rpartition(")")[2].split()[:3]
    return state, int(group)


def needed(program: str) -> str:
    """Where the program is; without it the test is skipped, but not where everything has to be tried."""
    path = shutil.which(program)
    if path:
        return path
    if os.environ.get("CI"):
        pytest.fail(f"{program} is not installed, and CI is set")
    pytest.skip(f"{program} is not installed")
