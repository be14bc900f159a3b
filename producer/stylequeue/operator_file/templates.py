"""Templates: what a job takes from the operator where its sender leaves it out, until it is a whole job."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ..contract.base import Contract, QueueName, parse
from ..contract.errors import InvalidRequest
from ..contract.job import MAX_LABELS, MAX_STYLES, Job, Provenance, Style
from ..contract.objects import SUFFIXES, Bucket, ImageFormat, ImageRef, check_output_key
from ..contract.recipe import FastRecipe, OptimizeRecipe, Recipe
from .base import Table

_BY_FIELD = {"recipe", "output", "labels"}


def _at_address(value: object) -> object:
    """`s3://bucket/key` in place of a picture's fields."""
    return ImageRef.from_uri(value) if isinstance(value, str) else value


def _style(value: object) -> object:
    """A style as its fields, in which pictures may be named by address; or as its picture's address alone."""
    if isinstance(value, str):
        return {"image": _at_address(value)}
    if isinstance(value, Mapping):
        return {name: _at_address(part) if name in ("image", "mask") else part for name, part in value.items()}
    return value


StyleField = Annotated[Style, BeforeValidator(_style)]
"""As the operator writes it."""


def _check_pattern(key: str) -> str:
    """`key`, if it becomes an output key for each job and tenant. Raises ValueError."""
    names = {name for _, name, *_ in Formatter().parse(key) if name is not None}
    if unknown := sorted(names - {"id", "tenant"}):
        raise ValueError(f"{{{unknown[0]}}} is no placeholder: there are {{id}} and {{tenant}}")
    check_output_key(key.format(id="id", tenant="tenant"))
    return key


class TemplateOutput(Table):
    """Where the pictures of a template's jobs go, and as what; what is left out is as in a job."""

    bucket: Bucket | None = None
    key: Annotated[str, AfterValidator(_check_pattern)] | None = Field(
        default=None, description="With {id}, and for tenants' jobs {tenant}, in their places."
    )
    format: ImageFormat | None = None
    quality: int | None = Field(default=None, ge=1, le=100)
    overwrite: bool | None = None
    report: bool | None = None
    thumbnail: bool | None = None
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _one_key_for_each_job(self) -> Self:
        if self.key and not self.overwrite and "{id}" not in self.key:
            raise ValueError("key: without {id} every job would write the same, which only overwrite = true allows")
        return self


class Template(Table):
    """What a job takes from here where its sender leaves it out."""

    styles: Annotated[tuple[StyleField, ...], Field(max_length=MAX_STYLES)] = ()
    recipe: Recipe | None = None
    output: TemplateOutput = TemplateOutput()
    labels: dict[str, str] = Field(default={}, max_length=MAX_LABELS)
    queue: QueueName | None = None

    def fill(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A job's `fields`, with what they leave out taken from here, but for the output's key.

        Recipe, output and labels by their own fields; of a recipe of another method nothing is taken.
        """
        mine = self.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude={"output": {"key"}})
        given = {name: _as_json(value) for name, value in fields.items() if value is not None}
        for part in _BY_FIELD & given.keys() & mine.keys():
            theirs, default = given[part], mine[part]
            if isinstance(theirs, Mapping) and (part != "recipe" or _is_same_method(theirs, default)):
                given[part] = {**default, **{name: value for name, value in theirs.items() if value is not None}}
        return {**mine, **given}

    def whole(self, filled: Mapping[str, Any], *, bucket: str, tenant: str | None) -> Job:
        """A job of `filled` fields; its output in `bucket`, under a key by this template or its tenant, unless said.

        Raises InvalidJob; InvalidRequest where the key is for tenants' jobs, and the job is none's.
        """
        defaults: dict[str, dict[str, str]] = {
            "output": {"bucket": bucket},
            "recipe": {"method": OptimizeRecipe().method},
        }
        for part, default in defaults.items():
            given = filled.get(part, {})
            if isinstance(given, Mapping):
                filled = {**filled, part: {**default, **given}}
        job = parse(Job, filled)
        pattern = self.output.key or (tenant and "{tenant}/{id}" + SUFFIXES[job.output.format])
        if job.output.key or not pattern:
            return job
        if tenant is None and "{tenant}" in pattern:
            raise InvalidRequest("the template's output key is for tenants' jobs", "give an output key")
        key = pattern.format(id=job.id, tenant=tenant)
        return job.model_copy(update={"output": job.output.model_copy(update={"key": key})})


def _is_same_method(given: Mapping[str, Any], default: Mapping[str, Any]) -> bool:
    return bool(given.get("method", default["method"]) == default["method"])


def _as_json(value: object) -> Any:
    """A model of the contract as its JSON, with what was given of it."""
    if not isinstance(value, Contract):
        return value
    fields = value.model_dump(mode="json", exclude_unset=True)
    return {"method": value.method, **fields} if isinstance(value, OptimizeRecipe | FastRecipe) else fields
