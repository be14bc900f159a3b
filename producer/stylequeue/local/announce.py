"""Where `stylequeue up` says what it runs, so that the command finds it: read by `cli/deployment.py`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..cli.deployment import up_file
from .lock import lock, write

_READERS_S = 1.0
"""For commands that look at this moment whether the file is locked."""


@contextmanager
def announced(variables: Mapping[str, str]) -> Iterator[str]:
    """While the block runs, the command finds what these variables lead to; yields why it does not, or ""."""
    path = up_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = lock(path, wait_s=_READERS_S)
    except OSError as error:
        yield f"{path} cannot be written: {error.strerror}"
        return
    if descriptor is None:
        yield "it uses what another `stylequeue up` runs"
        return
    try:
        os.fchmod(descriptor, 0o600)
        write(descriptor, json.dumps({"variables": dict(variables)}))
        yield ""
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
