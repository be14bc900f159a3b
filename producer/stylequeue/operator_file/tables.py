"""The tables of the operator's file, and all of them together."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import Field, PrivateAttr, ValidationError, field_validator

from ..contract.errors import InvalidRequest, InvalidSettings
from .base import Name, Table
from .endpoints import Endpoint
from .lines import Place, line_of, lines_of
from .rules import Rule
from .sources import Source
from .templates import Template

MAX_RULES = 256
MAX_NOTIFY = 4
"""Endpoints that one job names."""
HINT = "docs/operations.md says what the operator's file holds"
_FAULTS = 8
"""Named in one message."""


class TenantLimits(Table):
    """How much a tenant may ask for; what is left out is not limited."""

    rate_per_s: float | None = Field(default=None, gt=0, le=1e6, description="Requests, in the long run.")
    burst: int | None = Field(default=None, ge=1, le=10**6, description="Requests at once.")
    open_jobs: int | None = Field(default=None, ge=1, le=10**9)
    job_megapixel_steps: float | None = Field(
        default=None, gt=0, le=1e12, description="Of one job: megapixels of a square x steps x styles."
    )


class Operator(Table):
    """All that the file says."""

    templates: dict[Name, Template] = Field(default={}, alias="template")
    endpoints: dict[Name, Endpoint] = Field(default={}, alias="endpoint")
    tenants: dict[Name, TenantLimits] = Field(default={}, alias="tenant")
    sources: dict[Name, Source] = Field(default={}, alias="source")
    rules: tuple[Rule, ...] = Field(default=(), alias="rule", max_length=MAX_RULES)

    _name: str = PrivateAttr(default="the operator's file")
    _lines: Mapping[Place, int] = PrivateAttr(default={})

    def model_post_init(self, context: tuple[str, Mapping[Place, int]] | None) -> None:
        """Remember where it stands."""
        if context is not None:
            self._name, self._lines = context

    @field_validator("rules")
    @classmethod
    def _each_by_its_own_name(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.name for rule in rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"there are two of the name {twice[0]!r}: their jobs would be the same")
        return rules

    @classmethod
    def parse(cls, text: str, *, name: str) -> Self:
        """What `text` says. Raises InvalidSettings with each fault's line and reason; `name` says what was read."""
        try:
            return cls.model_validate(tomllib.loads(text), context=(name, lines_of(text)))
        except tomllib.TOMLDecodeError as error:
            raise InvalidSettings(f"{name}: {error}", HINT) from None
        except ValidationError as error:
            lines = lines_of(text)
            faults = (
                f"line {line_of(fault['loc'], lines)}: {'.'.join(map(str, fault['loc']))}: "
                + fault["msg"].removeprefix("Value error, ")
                for fault in error.errors(include_input=False, include_url=False)[:_FAULTS]
            )
            raise InvalidSettings(f"{name}: {'; '.join(faults)}", HINT) from None

    def faults(self, found: Sequence[tuple[Place, str]]) -> InvalidSettings:
        """What is wrong with the file beside what it is by itself, by where."""
        said = (f"line {line_of(place, self._lines)}: {'.'.join(map(str, place))}: {why}" for place, why in found)
        return InvalidSettings(f"{self._name}: {'; '.join(list(said)[:_FAULTS])}", HINT)

    def template(self, name: str) -> Template:
        """One of the templates. Raises InvalidRequest."""
        if name not in self.templates:
            there = ", ".join(sorted(self.templates)) or "none"
            raise InvalidRequest(f"{name!r} is no template", f"the operator's file has: {there}")
        return self.templates[name]

    def named(self, names: Sequence[str], *, tenant: str | None) -> tuple[str, ...]:
        """The endpoints that a `tenant`'s job names, each once. Raises InvalidRequest where it may not.

        To a tenant another's, and nobody's, are as those that there are not.
        """
        if isinstance(names, str) or len(named := tuple(dict.fromkeys(names))) > MAX_NOTIFY:
            raise InvalidRequest(f"notify is no list of at most {MAX_NOTIFY} endpoints", "give their names")
        theirs = sorted(name for name, endpoint in self.endpoints.items() if endpoint.tenant == tenant)
        for name in named:
            if name not in theirs:
                there = f"there are: {', '.join(theirs)}" if theirs else "there is none in the operator's file"
                raise InvalidRequest(f"{name!r} is no endpoint to be notified", there)
        return named
