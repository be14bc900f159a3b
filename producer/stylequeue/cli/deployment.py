"""Which deployment the command speaks to: the one that the environment names, else the one that runs on this machine.

`stylequeue up` keeps a file with the variables that lead to its servers, and a lock on it while it runs; what a killed
one leaves behind is locked by nobody. Only the command looks there, never the library.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..contract.errors import InvalidSettings, with_extra
from ..settings import Settings
from . import console

if TYPE_CHECKING:
    from ..client import StyleQueue


@contextmanager
def client(*, as_json: bool) -> Iterator[StyleQueue]:
    """A client of the deployment, inside which what goes wrong is told."""
    from ..client import StyleQueue

    with console.errors_told(as_json=as_json), StyleQueue(settings(as_json=as_json)) as queue:
        yield queue


def settings(*, as_json: bool = False) -> Settings:
    """Those of the environment; where it names no Redis and `stylequeue up` runs here, with what leads there.

    These are then put into the environment, for what the command starts. Raises InvalidSettings.
    """
    found = Settings.load()
    if "redis_url" not in found.model_fields_set and (variables := variables_of_up()):
        for name, value in variables.items():
            os.environ[name] = value
            os.environ.pop(f"{name}_FILE", None)
        console.note("using what `stylequeue up` runs on this machine", as_json=as_json)
        return Settings.load()
    return found


def needs(extra: str, **packages: str) -> None:
    """Return if these are installed, given as `module="what people call it"`, else raise InvalidSettings: how to."""
    if not all(find_spec(module) for module in packages):
        lacking = " or ".join(packages.values())
        raise InvalidSettings(f"{lacking} is not installed", with_extra(extra))


def variables_of_up() -> dict[str, str]:
    """The variables that lead to what `stylequeue up` runs; none where it does not run."""
    try:
        with up_file().open() as file:
            if not _is_ours_alone(file):
                return {}
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return dict(json.load(file)["variables"])
    except (OSError, ValueError, KeyError, InvalidSettings):
        pass  # there is none, or it is being written
    return {}


def _is_ours_alone(file: TextIO) -> bool:
    """Whether nobody else could have written it, to lead us, and our keys, to servers of their own."""
    status = os.fstat(file.fileno())
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def up_file() -> Path:
    """Where `stylequeue up` says what it runs. Raises InvalidSettings where there is no home."""
    return _home("XDG_STATE_HOME", ".local/state") / "up.json"


def data_home() -> Path:
    """Where `stylequeue up` keeps jobs and pictures. Raises InvalidSettings where there is no home."""
    return _home("XDG_DATA_HOME", ".local/share")


def _home(variable: str, default: str) -> Path:
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():  # any other is to be ignored, as the XDG specification has it
        return named / "stylequeue"
    try:
        return Path.home() / default / "stylequeue"
    except RuntimeError:
        raise InvalidSettings("this user has no home directory", f"set HOME or {variable}") from None
