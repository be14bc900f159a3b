"""JSON from strangers, read as what it says and nothing else.

Celery's own reader makes objects of marked values (`{"__type__": "decimal", ...}`), Python's makes numbers of any
length, infinities that JSON does not have, and of a name that comes twice whatever came last. Here nothing of that is
made: a marked value stays the object that is written there, the rest is refused while it is read.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_NESTING = 64
"""Lists and objects inside each other. A job needs 5; Python gives up at some hundreds, Celery sooner."""
MAX_NUMBER_CHARS = 64
"""Of a number as it is written; the longest that a double needs takes 24."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(text: str | bytes | bytearray | memoryview) -> Any:
    """What the text says. Raises ValueError, saying why, where it is not plain JSON in UTF-8.

    Refused are numbers that are infinite, no number, or too long; names that come twice in an object; half a character
    (a lone surrogate); more than `MAX_NESTING` lists and objects inside each other.
    """
    if not isinstance(text, str):
        text = bytes(text).decode()
    try:
        value = json.loads(
            text, parse_int=_int, parse_float=_float, parse_constant=_constant, object_pairs_hook=_object
        )
    except RecursionError:
        raise _too_deep() from None
    _look_through(value, MAX_NESTING, look_at_text=bool(_HALF.search(text)))
    return value


def _int(text: str) -> int:
    _check_length(text)
    return int(text)


def _float(text: str) -> float:
    _check_length(text)
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is too large")
    return number


def _check_length(text: str) -> None:
    if len(text) > MAX_NUMBER_CHARS:
        raise ValueError(f"a number of {len(text)} characters, at most {MAX_NUMBER_CHARS} are allowed")


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r:.80} comes twice in one object")
    return found


def _look_through(value: object, levels: int, *, look_at_text: bool) -> None:
    if isinstance(value, str):
        if look_at_text:
            _check_text(value)
        return
    if isinstance(value, dict):
        if look_at_text:
            for name in value:
                _check_text(name)
        value = value.values()
    elif not isinstance(value, list):
        return
    if not levels:
        raise _too_deep()
    for part in value:
        _look_through(part, levels - 1, look_at_text=look_at_text)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half a character") from None


def _too_deep() -> ValueError:
    return ValueError(f"more than {MAX_NESTING} lists and objects inside each other")
