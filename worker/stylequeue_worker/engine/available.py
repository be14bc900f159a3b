"""How much memory this process may still take, as the operating system and the control groups above it have it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_SHARE_LEFT = 0.8
"""Of the memory at hand: the rest is for the pictures' own bytes and for what the prediction misses."""


def available_bytes(root: Path = Path("/")) -> int | None:
    """The least that the machine and any control group around this process have left; None where nothing says it.

    Page cache counts as left, for the kernel gives it up. `root`: where `proc` and `sys` lie.
    """
    left = list(_left_of_machine(root))
    for group in _groups(root):
        left.extend(_left_of_group(group))
    return int(_SHARE_LEFT * max(0, min(left))) if left else None


def _left_of_machine(root: Path) -> Iterator[int]:
    with suppress(OSError):
        if found := re.search(r"MemAvailable:\s+(\d+) kB", (root / "proc/meminfo").read_text()):
            yield int(found[1]) * 1024


def _groups(root: Path) -> Iterator[Path]:
    """The directories of this process's memory groups and of all groups around them, of both versions."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            # By itself, or beside version 1.
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif "memory" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / controllers, root / "sys/fs/cgroup/memory"]
        else:
            continue
        # In a container the path may be the host's, of which only the end lies under the mount: what is not there is
        # passed over, and the mount itself is the container's group then.
        own = Path(path.lstrip("/"))
        for mount in dict.fromkeys(mounts):
            yield from (mount / group for group in (own, *own.parents) if (mount / group).is_dir())


def _left_of_group(group: Path) -> Iterator[int]:
    """Nothing where it has no limit, or does not count memory."""
    for limit, usage, caches in (
        ("memory.max", "memory.current", ("inactive_file", "active_file")),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
    ):
        with suppress(OSError, ValueError):  # "max" is no number
            most, used = (int((group / name).read_text()) for name in (limit, usage))
            counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            yield most - used + sum(int(counts.get(cache, 0)) for cache in caches)
