"""A lock on a file: one holder at a time, and none once it has ended, however it ended."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_POLL_S = 0.05


def lock(path: Path, *, wait_s: float = 0) -> int | None:
    """Lock a file, made for this user alone where it is absent: a descriptor to write to; None while another holds it.

    The lock lasts until all copies of the descriptor are closed, also those that processes were given. Raises OSError.
    """
    ends_at = time.monotonic() + wait_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() >= ends_at:
                return None
            time.sleep(_POLL_S)
            continue
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)  # its last holder has removed it in between


def write(descriptor: int, text: str) -> None:
    """Make `text` all that a locked file holds."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
