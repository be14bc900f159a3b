"""How the parts of a notification are read, all alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from ...contract.errors import InvalidNotice
from ...contract.objects import MAX_KEY_BYTES, MAX_VERSION_BYTES

_MAX_NAME_CHARS = 255
_ETAG = re.compile(r"[!#-~]{1,1000}", re.ASCII)
_META = "x-amz-meta-"


def part(value: Any, *path: str) -> Any:
    """What stands in an object under these names, one within the other; None where there is nothing."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def bucket(value: Any) -> str:
    """A bucket's name. Raises InvalidNotice."""
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_NAME_CHARS or not value.isascii():
        raise InvalidNotice("it names no bucket")
    return value


def key(value: Any, *, encoded: bool) -> str:
    """An object's key, `encoded` as in a form (a blank as `+`) or as it is. Raises InvalidNotice."""
    if not isinstance(value, str) or not value:
        raise InvalidNotice("it names no object")
    try:
        decoded = unquote_plus(value, errors="strict") if encoded else value
        size_bytes = len(decoded.encode())
    except UnicodeError:
        raise InvalidNotice("the object's key is no UTF-8") from None
    if size_bytes > MAX_KEY_BYTES:
        raise InvalidNotice(f"the object's key has {size_bytes} bytes, no key has over {MAX_KEY_BYTES}")
    return decoded


def etag(value: Any) -> str | None:
    """An ETag with its quotes, however it is written; None for what is none."""
    if not isinstance(value, str):
        return None
    bare = value.removeprefix("W/").strip('"')
    return f'"{bare}"' if _ETAG.fullmatch(bare) else None


def version(value: Any) -> str | None:
    """A version's id; None where the bucket keeps no versions."""
    if not isinstance(value, str) or value in ("", "null") or not value.isprintable() or len(value) > MAX_VERSION_BYTES:
        return None
    return value


def size_bytes(value: Any) -> int | None:
    """A size, which some write as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def text(value: Any) -> str | None:
    """A short text, if it is one."""
    return value if isinstance(value, str) and 1 <= len(value) <= _MAX_NAME_CHARS and value.isprintable() else None


def moment(value: Any) -> datetime | None:
    """A moment as ISO 8601 has it; without a zone, in UTC."""
    try:
        read = datetime.fromisoformat(value)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def metadata(value: Any) -> dict[str, str] | None:
    """An object's own metadata of all that is said of it, by names in small letters; None where nothing is."""
    if not isinstance(value, Mapping):
        return None
    named = {name.lower(): said for name, said in value.items() if isinstance(name, str) and isinstance(said, str)}
    return {name.removeprefix(_META): said for name, said in named.items() if name.startswith(_META)}
