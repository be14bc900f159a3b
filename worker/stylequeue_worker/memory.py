"""How much memory there is, and how much of it this process holds, as the system counts it; and giving it back."""

from __future__ import annotations

import ctypes
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

_PROCESS = Path("/proc/self")
_GROUP = Path("/sys/fs/cgroup")
_LIBRARY = ctypes.CDLL(None)


def available_bytes() -> int | None:
    """What this machine, or the container's limit, has left; None where the system does not say (Linux does)."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    left = [int(found[1]) * 1024] if found else []
    with suppress(OSError, ValueError):  # no limit
        left.append(int((_GROUP / "memory.max").read_text()) - int((_GROUP / "memory.current").read_text()))
    return min(left, default=None)


def resident_bytes() -> int | None:
    """What of this process is resident now; None where the system does not say (Linux does)."""
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", (_PROCESS / "status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def forget_peak() -> None:
    """Begin anew with `peak_bytes`, where the system can (Linux); else the peak is that of the process's life."""
    with suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")


def peak_bytes() -> int:
    """The most that was resident at once since `forget_peak`."""
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", (_PROCESS / "status").read_text()):
            return int(found[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def give_back() -> None:
    """Keep no memory that nothing is in, where the system's C library can be told so (glibc)."""
    if trim := getattr(_LIBRARY, "malloc_trim", None):
        trim(0)
