"""SeaweedFS's shape: an entry of its filer was created or changed, `/buckets/BUCKET/KEY`, the key as it is.

Of an object's size and ETag it says what is true of some only: whoever wants them looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ...contract.errors import InvalidNotice
from ..notices import Notice
from . import base

_BUCKETS = "/buckets/"
_CREATED = ("create", "update", "rename")
_OWN = ".uploads"
"""A folder in which the store keeps parts of what is not whole yet."""
_VERSION = re.compile(r"(?P<key>.+)\.versions/v_(?P<version>[^/]+)", re.DOTALL)
"""Where it keeps the versions of an object."""


def is_event(document: Any) -> bool:
    """Whether it is one."""
    return (
        isinstance(base.part(document, "event_type"), str)
        and isinstance(base.part(document, "key"), str)
        and isinstance(base.part(document, "message"), Mapping)
    )


def read_event(document: Any, source: str) -> Iterable[Notice]:
    """What it tells. Raises InvalidNotice."""
    event = document["event_type"]
    entry = base.part(document, "message", "new_entry")
    if event not in _CREATED or not isinstance(entry, Mapping) or base.part(entry, "is_directory"):
        return ()
    path = _path(document, entry)
    if not path.startswith(_BUCKETS):
        raise InvalidNotice("it is of a file that is no object: its path does not begin with /buckets/")
    bucket, _, key = path.removeprefix(_BUCKETS).partition("/")
    if not key or key.split("/", 1)[0] == _OWN:
        return ()
    versioned = _VERSION.fullmatch(key)
    return [
        Notice(
            source=source,
            bucket=base.bucket(bucket),
            key=base.key(versioned["key"] if versioned else key, encoded=False),
            event=event,
            version=base.version(versioned["version"]) if versioned else None,
            event_time=_moment(base.part(entry, "attributes", "mtime")),
        )
    ]


def _path(document: Any, entry: Any) -> str:
    """Where the entry lies now: `key` is where it was."""
    folder, name = base.part(document, "message", "new_parent_path"), base.part(entry, "name")
    if document["event_type"] == "rename" and isinstance(folder, str) and isinstance(name, str):
        return f"{folder}/{name}"
    return str(document["key"])


def _moment(seconds: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
