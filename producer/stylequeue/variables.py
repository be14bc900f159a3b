"""The environment's variables, read strictly: one that begins with `STYLEQUEUE_` is a setting and has a value."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, get_origin

from pydantic import SecretStr
from pydantic_settings import PydanticBaseSettingsSource

from .contract.errors import InvalidSettings

PREFIX = "STYLEQUEUE_"
"""Of each setting's environment variable. What processes of ours tell each other begins with `_STYLEQUEUE_` instead."""
HINT = "docs/operate.md lists all settings"
_FILE = "_FILE"
_SERVICE_LINK = re.compile(
    rf"{PREFIX}(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
"""What Kubernetes puts into every pod for a Service whose name begins with "stylequeue"."""
_SERVICE_ADDRESS = re.compile(rf"{PREFIX}(?:\w+_)?PORT=(?:tcp|udp|sctp)://.*")
"""The same: a variable and its value."""


class Environment(PydanticBaseSettingsSource):
    """The variables with our prefix, each of which must be known."""

    def __call__(self) -> dict[str, Any]:
        """Values by setting. Raises InvalidSettings."""
        return dict(self._values())

    def get_field_value(self, field: object, field_name: str) -> NoReturn:
        """Not asked: all are read at once."""
        raise NotImplementedError

    def _values(self) -> Iterator[tuple[str, Any]]:
        fields = self.settings_cls.model_fields
        settings = {variable_of(name): name for name in fields}
        files = {
            variable_of(name) + _FILE: name for name, field in fields.items() if SecretStr in _parts(field.annotation)
        }
        for variable, text in os.environ.items():
            if not variable.upper().startswith(PREFIX):
                continue
            name = settings.get(variable) or files.get(variable)
            if name is None:
                if not _SERVICE_LINK.fullmatch(variable) and not _SERVICE_ADDRESS.fullmatch(f"{variable}={text}"):
                    raise _unknown(variable, [*settings, *files])
            elif not text.strip():
                raise InvalidSettings(f"{variable} is empty", "give it a value, or leave it out")
            elif variable in files:
                if variable_of(name) in os.environ:
                    raise InvalidSettings(f"{variable_of(name)} and {variable} are both given", "leave one of them out")
                content = _content(variable, text)
                yield name, _value(fields[name].annotation, variable, content)
            else:
                yield name, _value(fields[name].annotation, variable, text)


def variable_of(name: str | int) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name}".upper()


def _parts(annotation: Any) -> tuple[Any, ...]:
    inner = tuple(part for arg in getattr(annotation, "__args__", ()) for part in _parts(arg))
    return (annotation, *inner)


def _unknown(variable: str, known: list[str]) -> InvalidSettings:
    near = get_close_matches(variable.upper(), known, n=1)
    return InvalidSettings(f"{variable} is no setting", f"did you mean {near[0]}? {HINT}" if near else HINT)


def _content(variable: str, path: str) -> str:
    try:
        text = Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{variable}: the file cannot be read: {why(error)}", HINT) from None
    if not text:
        raise InvalidSettings(f"{variable}: the file is empty", HINT)
    return text


def _value(annotation: Any, variable: str, text: str) -> Any:
    origin = get_origin(annotation)
    if origin is Sequence:
        return _json(variable, text, list, "list", '["a", "b"]')
    if origin is dict:
        return _json(variable, text, dict, "object", '{"a": "b"}')
    return text


def _json(variable: str, text: str, kind: type, name: str, example: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise InvalidSettings(f"{variable} is no JSON {name}", f"{name}s are written as {example}")
    return value


def why(error: Exception) -> str:
    """What went wrong with a file; not the error's text, which would repeat the path, or what lies there."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
