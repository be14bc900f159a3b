"""Whether each line that our programs log is an object, as docs/operate.md says: of all that tests start."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import REQUIRED

_PROGRAM = re.compile(r"-m (stylequeue_worker|celery|\S+ (gateway|keeper|listen|worker))\b")
_OLDER = ("older",)
"""Processes of versions whose lines were others."""
NATIVE = re.compile(
    r"WARNING: All log messages before absl|[IWEF]\d{4} "  # TensorFlow
    r"|\S+semaphore_tracker\.py:\d+: UserWarning|  warnings\.warn\("  # billiard's, of a worker that was killed
    r"|(Thread|Current thread) 0x|  File \"|$"  # where all threads are, for whoever sends SIGUSR1
)
"""What is printed beside the log, without asking anybody."""


_DOES_NOT_START = re.compile(r"error \[|Usage: ")
"""How a program's log begins that ends before it logs: it says why as commands do."""


def is_ours(name: str, command: Sequence[str | Path]) -> bool:
    """Whether a process runs a program of ours."""
    return name not in _OLDER and bool(_PROGRAM.search(" ".join(map(str, command))))


def no_objects(text: str) -> list[str]:
    """The lines of a log that are neither `NATIVE` nor objects with all that a line has.

    The last one may have no end: its process was killed.
    """
    if _DOES_NOT_START.match(text):
        return []
    return [line for line in text.split("\n")[:-1] if not (NATIVE.match(line) or _is_object(line))]


def _is_object(line: str) -> bool:
    try:
        read = json.loads(line)
    except ValueError:
        return False
    return isinstance(read, dict) and read.keys() >= REQUIRED
