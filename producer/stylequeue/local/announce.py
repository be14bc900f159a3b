"""Where `stylequeue up` says what it runs, so that the command finds it: read by `cli/deployment.py`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..cli.deployment import up_file
from ..contract.errors import Unavailable
from .lock import lock, write
from .private import private_directory

_READERS_S = 1.0
"""For commands that look at this moment whether the file is locked."""


@contextmanager
def announced(variables: Mapping[str, str]) -> Iterator[str]:
    """While the block runs, the command finds what these variables lead to; yields why it does not, or ""."""
    path = up_file()
    try:
        private_directory(path.parent)
        descriptor = lock(path, wait_s=_READERS_S)
    except Unavailable as error:
        yield error.message
        return
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
