"""A Valkey that can be restarted: it comes back on its port, with its password, knowing what it knew."""

from __future__ import annotations

import itertools
from pathlib import Path

from stylequeue.local.process import Process
from stylequeue.local.valkey import Valkey, find_valkey

_START_TIMEOUT_S = 30


class LastingValkey(Valkey):
    """Keeps its files in a directory below `parent`, whatever becomes of the process."""

    def __init__(self, parent: Path) -> None:
        self._logs = itertools.count(1)
        super().__init__(parent)

    def restart(self) -> None:
        """End it as a deployment does (SIGTERM), start it anew, and return once it answers."""
        self.process.stop()
        self.process = Process(
            self.name,
            [find_valkey(), self.directory / "valkey.conf"],
            directory=self.directory,
            log=self.directory / f"{self.name}-{next(self._logs)}.log",
            env={"HOME": str(self.directory)},
        )
        self.process.wait_until(self._answers, _START_TIMEOUT_S)
