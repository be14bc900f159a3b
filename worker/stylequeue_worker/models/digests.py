"""Digests of what lies on disk, and whether it is what it is taken for."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path

from stylequeue.contract.errors import Code, Permanent

_State = tuple[int, int, int, int]


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file; of a directory, of the lines "<SHA-256> <path>" of its files, paths relative and sorted.

    Read once a process for each state of the files. Raises OSError where nothing is there.
    """
    if path.is_file():
        return _file_digest(path, _state(path), "sha256")
    whole = hashlib.sha256()
    for file in _files(path):
        whole.update(f"{_file_digest(file, _state(file), 'sha256')} {file.relative_to(path).as_posix()}\n".encode())
    return whole.hexdigest()


def require(what: str, path: Path, accepted: Collection[str], hint: str) -> None:
    """Raise Permanent(NETWORK_UNAVAILABLE) unless the digest of what lies at `path` is one of those accepted.

    One that begins with "md5:" is a file's MD5.
    """
    found = digest(path)
    if found in accepted:
        return
    if path.is_file() and f"md5:{_file_digest(path, _state(path), 'md5')}" in accepted:
        return
    raise Permanent(Code.NETWORK_UNAVAILABLE, f"{path} is not {what}: its SHA-256 is {found}", hint)


def _files(directory: Path) -> Iterator[Path]:
    yield from sorted(path for path in directory.rglob("*") if path.is_file())


def _state(path: Path) -> _State:
    """Another one whenever a file was written, whatever time it then shows as that of its last change."""
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=64)
def _file_digest(path: Path, _: _State, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
