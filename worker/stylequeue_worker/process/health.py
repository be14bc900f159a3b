"""A file that the parent keeps fresh, for whoever watches over the process: where it grows old, the loop stands still.

It needs no Redis, and nobody but this worker can say that it lives. While Redis is away it stays fresh: ending a worker
for that would only lose what its child paints.
"""

from __future__ import annotations

import logging
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Celery, bootsteps
from celery.worker.consumer.tasks import Tasks

from stylequeue.contract.errors import InvalidSettings
from stylequeue.variables import variable_of

STALE_S = 60
"""A file that is older belongs to a worker that stands still, or is gone."""
_BEAT_S = 5.0
_OTHERS = stat.S_IWGRP | stat.S_IWOTH

log = logging.getLogger(__name__)


class HealthFile:
    """The file at `path`; None: there is none, and nothing happens."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def prepare(self) -> None:
        """Make it. Raises InvalidSettings where others could write it, or this process cannot."""
        if self._path is None:
            return
        try:
            directory = self._path.parent.stat()
            if directory.st_mode & _OTHERS or directory.st_uid not in (0, os.geteuid()):
                raise _unusable(self._path, "others may write into its directory")
            self._make(self._path)
        except OSError as error:
            raise _unusable(self._path, f"{error.strerror or error}") from None

    def beat(self) -> None:
        """Make it fresh."""
        if self._path is None:
            return
        try:
            try:
                os.utime(self._path, follow_symlinks=False)
            except FileNotFoundError:
                self._make(self._path)
        except OSError as error:
            log.warning("the health file grows old: %s", error)

    def clear_up(self) -> None:
        """Take it away."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()

    def _make(self, path: Path) -> None:
        # What lies there is an older worker's, or somebody's link: never written through.
        path.unlink(missing_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))


def _unusable(path: Path, why: str) -> InvalidSettings:
    variable = variable_of("health_file")
    hint = "let it lie in a directory that is there and that only the worker's own user may write"
    return InvalidSettings(f"{variable}: {path} cannot be the health file: {why}", hint)


def keep_fresh(app: Celery, file: HealthFile) -> None:
    """Have the loop of the app's worker do so. To be called before the worker starts."""

    class Beat(bootsteps.StartStopStep):
        requires = (Tasks,)

        def start(self, consumer: Any) -> None:
            file.beat()
            # Celery forgets its timers with each connection.
            consumer.timer.call_repeatedly(_BEAT_S, file.beat)

    app.steps["consumer"].add(Beat)
