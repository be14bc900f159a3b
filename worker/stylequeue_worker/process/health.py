"""The file by which `stylequeue probe` knows how this worker is. Nobody but the worker can say that it lives."""

from __future__ import annotations

import logging
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

from stylequeue.contract.errors import InvalidSettings
from stylequeue.variables import variable_of

_OTHERS = stat.S_IWGRP | stat.S_IWOTH

log = logging.getLogger(__name__)


class HealthFile:
    """The file at `path`; None: there is none, and nothing happens."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._writing = threading.Lock()

    @property
    def is_kept(self) -> bool:
        """Whether there is one."""
        return self._path is not None

    def prepare(self) -> None:
        """Make it, and its directory. Raises InvalidSettings where others could write it, or this process cannot."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            directory = self._path.parent.stat()
            if directory.st_mode & _OTHERS or directory.st_uid not in (0, os.geteuid()):
                raise _unusable(self._path, "others may write into its directory")
            self._replace(self._path, "")
        except OSError as error:
            raise _unusable(self._path, f"{error.strerror or error}") from None

    def write(self, text: str) -> None:
        """Have it say this."""
        if self._path is None:
            return
        try:
            self._replace(self._path, text)
        except OSError as error:
            log.warning("the health file grows old: %s", error)

    def clear_up(self) -> None:
        """Take it away, for good."""
        with self._writing:
            path, self._path = self._path, None
            if path is not None:
                with suppress(OSError):
                    path.unlink()

    def _replace(self, path: Path, text: str) -> None:
        # What lies there may be an older worker's, or somebody's link: never written through, and never half there.
        aside = path.with_name(f".{path.name}.new")
        with self._writing:
            if self._path is None:
                return
            aside.unlink(missing_ok=True)
            with os.fdopen(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "w") as file:
                file.write(text)
            aside.replace(path)


def _unusable(path: Path, why: str) -> InvalidSettings:
    variable = variable_of("health_file")
    hint = "let it lie in a directory that nobody else may write; the worker makes it, if its parent is there"
    return InvalidSettings(f"{variable}: {path} cannot be the health file: {why}", hint)
