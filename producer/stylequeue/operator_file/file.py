"""The file itself: read anew when it changes, and edited whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..contract.errors import FileUnusable, InvalidSettings
from ..variables import why
from .tables import HINT, Operator

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 1024**2
_Stamp: TypeAlias = tuple[int, int, int]
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What keeps a file from being written that is for somebody else to write."""


class OperatorFile:
    """The file as it is now. Safe to share between threads. Without a path it says nothing.

    One that cannot be read leaves in force what it said before, and that is logged.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.fault: InvalidSettings | None = None
        """What is wrong with it as it lies there, while what it said before is still in force."""
        self._in_force: Operator | None = None
        self._seen: _Stamp | None = None
        """What was read, or refused, last."""

    @property
    def now(self) -> Operator:
        """What is in force. Raises InvalidSettings where the file could never be read."""
        if self.path is None:
            return Operator()
        try:
            stamp = _stamp(self.path)
            if stamp != self._seen or self._in_force is None:
                self._seen = stamp
                self._in_force = Operator.parse(text_of(self.path), name=str(self.path))
                self.fault = None
        except OSError as error:
            self._seen = None
            self._refuse(_unreadable(self.path, error))
        except InvalidSettings as fault:
            self._refuse(fault)
        if self._in_force is None:
            raise self.fault or AssertionError("it was read")
        return self._in_force

    def _refuse(self, fault: InvalidSettings) -> None:
        if str(fault) != str(self.fault) and self._in_force is not None:
            log.error("what the operator's file said before stays in force: %s", fault)
        self.fault = fault


@contextmanager
def editing(path: Path) -> Iterator[TOMLDocument]:
    """The file as a document to be changed: written when the block ends, whole or not at all.

    Comments and order stay. Where there is no file one is made, which only its user may read. Two who edit wait for
    each other. Raises InvalidSettings, and leaves the file as it is, where that is, or would be, in no order;
    FileUnusable where this process may not write it.
    """
    import tomlkit
    from tomlkit.exceptions import ParseError

    path = path.resolve()
    try:
        with path.parent.joinpath(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = text_of(path) if path.exists() else ""
            Operator.parse(text, name=str(path))
            document = tomlkit.parse(text)
            yield document
            text = tomlkit.dumps(document)
            Operator.parse(text, name=str(path))
            _replace(path, text)
    except ParseError as error:
        raise InvalidSettings(f"{path}: {error}", HINT) from None
    except OSError as error:
        if error.errno in _NOT_OURS:
            hint = "edit it where it lies, or run the command as a user who may write there"
            raise FileUnusable(f"{path}: {why(error).lower()}", hint, because=error) from None
        raise _unreadable(path, error) from None


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if path.exists():
                os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _stamp(path: Path) -> _Stamp:
    """What changes with the file."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def text_of(path: Path) -> str:
    """What lies there. Raises OSError, or InvalidSettings for what is no such file."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise InvalidSettings(f"{path} has more than {MAX_FILE_BYTES} bytes", HINT)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidSettings(f"{path} is no UTF-8", HINT) from None


def _unreadable(path: Path, error: OSError) -> InvalidSettings:
    return InvalidSettings(f"{path}: {why(error).lower()}", "check the path and the rights there")
