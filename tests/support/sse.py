"""Server-sent events, read as browsers read them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sent:
    """One event of a stream."""

    kind: str
    id: str | None
    text: str

    @property
    def data(self) -> Any:
        return json.loads(self.text)

    @property
    def sequence(self) -> int:
        return int(self.data["sequence"])


def events(lines: Iterable[str]) -> Iterator[Sent]:
    """The events among a stream's lines; `retry` and comments are none."""
    fields: dict[str, str] = {}
    data: list[str] = []
    for line in lines:
        name, _, value = line.partition(": ")
        if line and name != "data":
            fields[name] = value
        elif line:
            data.append(value)
        else:
            if data:
                yield Sent(fields.get("event", "message"), fields.get("id"), "\n".join(data))
            fields, data = {}, []
