"""Rules: which uploads become which jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ..contract.base import QueueName
from ..contract.job import MAX_LABEL_KEY_CHARS, MAX_LABEL_VALUE_CHARS, MAX_LABELS, MAX_STYLES, Provenance
from ..contract.objects import Bucket, ImageFormat, check_output_key
from ..contract.recipe import Recipe
from ..contract.text import check_text
from .base import Name, Table
from .templates import StyleField

DEFAULT_KEY = "{dir}/{stem}-{version}.{format}"
"""Of the output of a rule that names none, and whose template names none."""
PLACEHOLDERS = ("dir", "stem", "ext", "key", "date", "version", "format")
"""In outputs and labels, beside `{meta.NAME}`."""
_META = re.compile(r"meta\.([A-Za-z0-9._-]{1,64})", re.ASCII)
_MAX_PATTERN_CHARS = 1024


def parts(pattern: str) -> Iterator[tuple[str, str | None]]:
    """A pattern as pairs of what stands there and the placeholder behind it, None for none. Raises ValueError."""
    for literal, name, spec, conversion in Formatter().parse(pattern):
        if name is not None and (spec or conversion):
            raise ValueError(f"{{{name}}} stands for itself alone: no ':' and no '!'")
        yield literal, name


def meta_name(placeholder: str) -> str | None:
    """Which metadata a placeholder stands for, in small letters; None: it is another."""
    found = _META.fullmatch(placeholder)
    return found[1].lower() if found else None


def _check_placeholders(pattern: str) -> str:
    for _, name in parts(pattern):
        if name is not None and name not in PLACEHOLDERS and meta_name(name) is None:
            known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            raise ValueError(f"{{{name}}} is no placeholder: there are {known} and {{meta.NAME}}")
    return pattern


def _check_key_pattern(pattern: str) -> str:
    """`pattern`, if it becomes an output key of an ordinary upload. Raises ValueError."""
    _check_placeholders(pattern)
    check_output_key("".join(literal + ("x" if name else "") for literal, name in parts(pattern)))
    return pattern


def _check_prefix(prefix: str) -> str:
    if prefix.startswith("/"):
        raise ValueError("a key does not begin with '/'")
    return check_text(prefix)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _check_suffix(suffix: str) -> str:
    if not suffix:
        raise ValueError("is empty: leave it out to take all")
    return check_text(suffix)


Pattern = Annotated[str, Field(max_length=_MAX_PATTERN_CHARS), AfterValidator(_check_placeholders)]


class RuleOutput(Table):
    """Where the pictures go, and as what; what is left out is the template's, or as in a job."""

    bucket: Bucket | None = None
    key: Annotated[str, Field(max_length=_MAX_PATTERN_CHARS), AfterValidator(_check_key_pattern)] | None = Field(
        default=None, description=f"With placeholders; left out: the template's, else {DEFAULT_KEY}."
    )
    format: ImageFormat | None = None
    quality: int | None = Field(default=None, ge=1, le=100)
    overwrite: bool | None = None
    report: bool | None = None
    thumbnail: bool | None = None
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _one_key_for_each_version(self) -> Self:
        if self.key and not self.overwrite and "version" not in {name for _, name in parts(self.key)}:
            raise ValueError(
                "key: without {version} a second upload of one name finds the first one's picture there, which only "
                "overwrite = true allows"
            )
        return self


class Rule(Table):
    """Which uploads become jobs, and which jobs. The first rule that is for an upload has it."""

    name: Name
    bucket: Bucket
    prefix: Annotated[str, Field(max_length=_MAX_PATTERN_CHARS), AfterValidator(_check_prefix)] = Field(
        default="", description="Of the key."
    )
    suffix: Annotated[
        tuple[Annotated[str, AfterValidator(_check_suffix)], ...], BeforeValidator(_as_list), Field(max_length=32)
    ] = Field(default=(), description="Of the key, one of them, in small letters or capitals.")
    metadata: dict[str, str] = Field(
        default={}, max_length=16, description="The object's own, all of it; `*`: whatever it says."
    )
    min_bytes: int | None = Field(default=None, ge=0)
    max_bytes: int | None = Field(default=None, ge=1)

    template: Name | None = None
    styles: Annotated[tuple[StyleField, ...], Field(max_length=MAX_STYLES)] = ()
    recipe: Recipe | None = None
    output: RuleOutput = RuleOutput()
    labels: dict[
        Annotated[str, Field(min_length=1, max_length=MAX_LABEL_KEY_CHARS)],
        Annotated[str, Field(max_length=MAX_LABEL_VALUE_CHARS), AfterValidator(_check_placeholders)],
    ] = Field(default={}, max_length=MAX_LABELS)
    queue: QueueName | None = Field(default=None, description="Left out: the template's, else bulk.")
    tenant: Name | None = None
    notify: tuple[Name, ...] = ()

    continues: bool = Field(default=False, alias="continue", description="On: rules behind it have the upload too.")
    on_missing: Literal["drop", "dead"] = Field(
        default="drop", description="An upload that is gone when it is looked at: forgotten, or a dead letter."
    )

    @model_validator(mode="after")
    def _says_how_to_paint(self) -> Self:
        if self.template is None and not self.styles:
            raise ValueError("has neither a template nor styles: nothing says how to paint")
        if None not in (self.min_bytes, self.max_bytes) and (self.min_bytes or 0) > (self.max_bytes or 0):
            raise ValueError("min_bytes is over max_bytes: it is for no upload")
        return self

    @property
    def placeholders(self) -> frozenset[str]:
        """All that stand in its output's key and its labels."""
        patterns: Sequence[str] = (self.output.key or DEFAULT_KEY, *self.labels.values())
        return frozenset(name for pattern in patterns for _, name in parts(pattern) if name is not None)
