"""What a process uses, as the operating system counts it (Linux)."""

from __future__ import annotations

import os
import re
from pathlib import Path


class Usage:
    """Of a process, from now on."""

    def __init__(self, pid: int | None) -> None:
        self._process = Path(f"/proc/{pid}")
        (self._process / "clear_refs").write_text("5")
        self._began_s = self._spent_s()

    @property
    def cpu_s(self) -> float:
        """Processor seconds."""
        return self._spent_s() - self._began_s

    @property
    def peak_mb(self) -> float:
        """The most memory that was resident at once."""
        found = re.search(r"VmHWM:\s+(\d+) kB", (self._process / "status").read_text())
        assert found
        return int(found[1]) / 1024

    def _spent_s(self) -> float:
        user, system = (self._process / "stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
