"""Directories and files on this machine that are nobody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..contract.errors import Code, Unavailable

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private_directory(path: Path) -> Path:
    """A directory that only this user may enter, made where it is absent, as are those above it; its absolute path.

    What is there already is left as it is. Raises Unavailable where that is a link, another user's or open to others,
    or lies in a directory in which anybody may put another in its place; OSError where it cannot be made.
    """
    path = path.absolute()
    for part in reversed((path, *path.parents)):  # with `parents=True` those would be open to all
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise _refused(f"{path} is a link", "name the directory that it leads to")
    if not stat.S_ISDIR(status.st_mode):
        raise _refused(f"{path} is no directory", "take another one")
    if status.st_uid != os.geteuid():
        raise _refused(f"{path} belongs to another user", "take another directory")
    if status.st_mode & _OTHERS:
        raise _refused(f"other users of this machine may enter {path}", f"chmod 700 {path}, or take another directory")
    # The system's own links are root's: macOS's /tmp, say.
    for parent in path.parents:
        status = parent.lstat()
        if stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, os.geteuid()):
            raise _refused(f"{path} may be replaced: the link {parent} is another user's", "take another directory")
    for parent in dict.fromkeys((*path.parents, *path.resolve().parents)):
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise _refused(f"{path} may be replaced: everybody may write to {parent}", "take another directory")
    return path


def write_private(path: Path, text: str) -> Path:
    """Write a file, new, that only this user may read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def _refused(what: str, hint: str) -> Unavailable:
    return Unavailable(Code.LOCAL_STACK_FAILED, what, hint)
