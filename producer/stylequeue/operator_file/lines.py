"""On which line of a TOML file something stands: the reader of the language does not say."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import TypeAlias

Place: TypeAlias = tuple[int | str, ...]
"""Of a value: names of tables and keys, numbers in lists."""


def lines_of(text: str) -> dict[Place, int]:
    """On which line each table and key of a file that can be read begins, from 1."""
    lines: dict[Place, int] = {}
    table: Place = ()
    newest: dict[Place, int] = {}
    statement, begins = "", 1
    for number, line in enumerate(StringIO(text), 1):
        begins = begins if statement else number
        statement += line
        try:
            paths = list(_paths(tomllib.loads(statement)))
        except tomllib.TOMLDecodeError:
            continue  # it goes on
        if statement.lstrip().startswith("["):
            names = tuple(part for part in paths[-1] if isinstance(part, str))
            if statement.lstrip().startswith("[["):
                newest[names] = newest.get(names, -1) + 1
            table = _numbered(names, newest)
            lines.setdefault(table, begins)
        else:
            lines |= {(*table, *path): begins for path in paths}
        statement = ""
    return lines


def _paths(value: object, path: Place = ()) -> Iterator[Place]:
    """Of all within, the outer ones first."""
    if path:
        yield path
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from _paths(part, (*path, name))


def _numbered(names: tuple[str, ...], newest: Mapping[Place, int]) -> Place:
    """Where a table lies, of those that are repeated in the newest one."""
    path: Place = ()
    for depth, name in enumerate(names, 1):
        path = (*path, name, *((newest[names[:depth]],) if names[:depth] in newest else ()))
    return path


def line_of(place: Place, lines: Mapping[Place, int]) -> int:
    """The line of a fault, as near as it can be told: pydantic's places hold more than the file's own names."""
    path: Place = ()
    for part in place:
        if any(known[: len(path) + 1] == (*path, part) for known in lines):
            path = (*path, part)
    return min(line for known, line in lines.items() if known[: len(path)] == path)
