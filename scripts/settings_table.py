"""Writes the table of settings in docs/operations.md from the model, so that it is written once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from stylequeue.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "operate.md"
_BEGIN, _END = "<!-- settings: made by scripts/settings_table.py -->\n", "<!-- end of settings -->\n"
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def table() -> str:
    """All settings as Markdown: variable, default, limits, meaning."""
    rows = [
        f"| `STYLEQUEUE_{name.upper()}` | {_default(field.default)} | {_limits(field)} | {field.description or ''} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | limits | meaning |", "| --- | --- | --- | --- |", *rows]) + "\n"


def with_table(page: str) -> str:
    """`page` with its table of settings as it should be."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has lost the comments that say where the table goes")
    return before + begin + table() + end + after


def _default(value: Any) -> str:
    if value in (None, {}):
        return ""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return f"`{json.dumps(value) if isinstance(value, tuple) else value}`"


def _limits(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(map(str, get_args(field.annotation)))
    return ", ".join(
        f"{sign} {limit}"
        for constraint in field.metadata
        for name, sign in _SIGNS.items()
        if (limit := getattr(constraint, name, None)) is not None
    )


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
