"""Options of the command made from the fields of the contract's models: a new field is a new option at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, Literal, TypeVar

import typer
from pydantic import BaseModel

from ..contract.errors import InvalidRequest
from ..contract.objects import ImageRef

_F = TypeVar("_F", bound=Callable[..., None])

JsonOption = Annotated[bool, typer.Option("--json", help="Results on standard output as JSON, for machines.")]
LimitOption = Annotated[int, typer.Option(help="How many at most.")]
HostOption = Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all.")]
PortOption = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")]
ProxiesOption = Annotated[
    str, typer.Option(help="Addresses of proxies whose X-Forwarded-For and -Proto are believed, by commas; or *.")
]
AfterOption = Annotated[str | None, typer.Option(help="Go on where a list before this one ended.")]

_TYPES: dict[str, Any] = {"integer": int, "number": float, "string": str, "boolean": bool}
_UNITS = {"_s": "SECONDS", "_px": "PIXELS", "_bytes": "BYTES"}
_A_PICTURE = "image"
"""The word of a choice that stands for a picture of one's own, which lies in the field of that name."""


def pair(flag: str, text: str) -> tuple[str, str]:
    """`key=value` in two. Raises InvalidRequest."""
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequest(f"{flag} {text!r} has no '='", f"write {flag} key=value")
    return key, value


def duration_s(text: str) -> int | None:
    """The seconds of `90s`, `30m`, `2h`, `7d`; None for what is no such text."""
    units_s = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = text[:-1], text[-1:]
    return int(number) * units_s[unit] if number.isdecimal() and unit in units_s else None


@dataclass(frozen=True)
class Option:
    """One option, as the JSON Schema of its field describes it."""

    name: str
    schema: Mapping[str, Any]
    default: str = ""
    """For its help, where it is not the schema's."""
    or_picture: bool = False
    """Whether a picture may stand in place of its choices."""

    @property
    def kind(self) -> str:
        """The JSON type; `picture` for one in the store."""
        return "picture" if self.schema.get("model") == ImageRef.__name__ else str(self.schema.get("type", "string"))

    @property
    def unit(self) -> str:
        """The unit in the field's name, which the option's lacks."""
        return next((unit for unit in _UNITS if self.name.endswith(unit)), "")

    @property
    def flag(self) -> str:
        """`--time-budget` of `time_budget_s`; `--style-layer`, to be repeated, of `style_layers`."""
        name = self.name.removesuffix(self.unit)
        if self.kind in ("object", "array"):
            name = name.removesuffix("s")
        return "--" + name.replace("_", "-")

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that are allowed, where only some are."""
        return tuple(word for word in self.schema.get("enum", ()) if not (self.or_picture and word == _A_PICTURE))

    def parameter(self) -> Parameter:
        """As a parameter of a function that typer makes a command of."""
        kind: Any = _TYPES.get(self.kind, str)
        metavar = _UNITS.get(self.unit)
        if self.kind in ("object", "array"):
            kind, metavar = list[str], "NAME=VALUE" if self.kind == "object" else None
        elif self.kind == "picture":
            metavar = "PICTURE"
        elif self.or_picture:
            metavar = "[" + "|".join((*self.choices, "PICTURE")) + "]"
        elif self.choices:
            kind = Literal[self.choices]
        flag = self.flag
        if self.kind == "boolean" and self.schema.get("default") is not False:
            flag = f"{self.flag}/--no{self.flag[1:]}"
        info = typer.Option(flag, metavar=metavar, help=self.help)
        annotation = Annotated[kind | None, info]
        return Parameter(self.name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)

    @property
    def help(self) -> str:
        """Description, bounds and default."""
        schema = self.schema
        bounds = " ".join(
            f"{word} {_number(schema[name])}"
            for name, word in (
                ("minimum", "from"),
                ("exclusiveMinimum", "over"),
                ("maximum", "to"),
                ("exclusiveMaximum", "under"),
            )
            if name in schema
        )
        default = self.default
        if not default and self.kind != "boolean" and schema.get("default") is not None:
            default = str(schema["default"])
        parts = (schema.get("description", ""), bounds and f"[{bounds}]", default and f"[default: {default}]")
        return " ".join(part for part in parts if part)

    def given(self, value: Any, picture: Callable[[str, str], ImageRef]) -> Iterator[tuple[str, Any]]:
        """The fields that this option's value comes to; `picture` finds one by option and source."""
        if self.kind == "object":
            yield self.name, dict(pair(self.flag, text) for text in value)
        elif self.kind == "picture":
            yield self.name, picture(self.flag, value)
        elif self.or_picture and value not in self.choices:
            yield self.name, _A_PICTURE
            yield f"{self.name}_{_A_PICTURE}", picture(self.flag, value)
        else:
            yield self.name, value


class Options:
    """The options of some models' fields, those of all together: which belong to which, the models know.

    `defaults` gives, for a field, what its help says of where it comes from when it is left out.
    """

    def __init__(
        self,
        *models: type[BaseModel],
        leave_out: Collection[str] = (),
        defaults: Callable[[str], str] = lambda _: "",
    ) -> None:
        schemas: dict[str, dict[str, Any]] = {}
        for model in models:
            whole = model.model_json_schema()
            for name, field in whole["properties"].items():
                flat = _flat(field, whole.get("$defs", {}))
                known = schemas.setdefault(name, flat)
                if "const" in flat:  # what tells the models apart
                    known["enum"] = [*known.get("enum", ()), flat["const"]]
                    about = f"{flat['const']}: {whole['description'].splitlines()[0]}"
                    known["description"] = " ".join(filter(None, (known.get("description"), about)))
        self.by_name: dict[str, Option] = {}
        for name, schema in schemas.items():
            is_start = name.removesuffix(f"_{_A_PICTURE}") in schemas.keys() - {name}
            if name not in leave_out and not is_start:
                or_picture = f"{name}_{_A_PICTURE}" in schemas
                self.by_name[name] = Option(name, schema, defaults(name), or_picture)

    def flag(self, name: str) -> str:
        """The option of a field."""
        option = self.by_name.get(name) or self.by_name[name.removesuffix(f"_{_A_PICTURE}")]
        return option.flag

    def fields(self, given: Mapping[str, Any], picture: Callable[[str, str], ImageRef]) -> dict[str, Any]:
        """The fields that the options given on the command line come to."""
        return {
            field: value
            for name, option in self.by_name.items()
            if given[name] is not None
            for field, value in option.given(given[name], picture)
        }

    def in_words(self, text: str) -> str:
        """`text` about several fields at once, with options in their place."""
        return " ".join(self.flag(word) if word in self.by_name else word for word in text.split(" "))


def with_options(*groups: Options) -> Callable[[_F], _F]:
    """Give a command all options of `groups`, in place of its parameter `**options`."""

    def decorate(command: _F) -> _F:
        own = [p for p in signature(command, eval_str=True).parameters.values() if p.kind != Parameter.VAR_KEYWORD]
        made = [option.parameter() for group in groups for option in group.by_name.values()]
        keyword = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in own]
        command.__signature__ = Signature([*keyword, *made])  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in (*keyword, *made)}
        return command

    return decorate


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A field's schema in one piece: without the null it may be, with what it refers to, whose name is `model`."""
    flat = dict(field)
    for part in flat.pop("anyOf", ()):
        if part.get("type") != "null":
            flat = {**_flat(part, definitions), **flat}
    if reference := flat.pop("$ref", None):
        name = reference.rpartition("/")[2]
        flat = {**definitions[name], **flat, "model": name}
    return flat
