"""Every number of the contract at its edges: whatever is accepted resolves, is hashed and travels."""

from __future__ import annotations

import math
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from stylequeue.contract.job import Job, Output, Style, fingerprint
from stylequeue.contract.recipe import (
    FastRecipe,
    OptimizeRecipe,
    ResolvedFastRecipe,
    ResolvedOptimizeRecipe,
    resolve,
)
from tests.support.limits import fields_of

PICTURE = {"bucket": "uploads", "key": "p.jpg"}
SMALLEST, TINIEST = 5e-324, 2.2250738585072014e-308
"""The least of all positive doubles, and the least that is not subnormal."""


def numbers(model: type[BaseModel], *names: str) -> dict[str, list[float]]:
    """A model's numbers, or those of its `names`: at their limits, just inside, far inside, as small as they may be."""
    found: dict[str, list[float]] = {}
    for name, extremes in fields_of(model, *names).items():
        if len(extremes) != 2 or not all(type(one) in (int, float) for one in extremes):
            continue
        low, high = extremes
        if re.search(r"\bfloat\b", str(model.model_fields[name].annotation)):
            inside = [math.nextafter(low, math.inf), math.nextafter(high, -math.inf), (low + high) / 2]
            found[name] = [
                low,
                high,
                *inside,
                *(one for one in (SMALLEST, 1e-320, TINIEST, 1e-30) if low <= one <= high),
            ]
        else:
            found[name] = [low, high, low + 1, high - 1, (low + high) // 2]
    return found


def edges(model: type[BaseModel], *names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Some of a model's numbers, each at one of its edges."""
    fields = {name: st.sampled_from(values) for name, values in numbers(model, *names).items()}
    return st.fixed_dictionaries({}, optional=fields)


def test_the_edges_are_read_off_the_contract() -> None:
    optimize = numbers(OptimizeRecipe)
    assert {"size", "strength", "seed", "style_scale", "steps", "content_weight", "time_budget_s"} <= optimize.keys()
    assert SMALLEST in optimize["strength"]
    assert {16, 17, 4095, 4096} <= set(optimize["size"])
    assert numbers(Output, "quality") == {"quality": [1, 100, 2, 99, 50]}


@given(edges(OptimizeRecipe), edges(Style, "weight"), edges(Output, "quality"))
def test_what_is_accepted_resolves(recipe: dict[str, Any], style: dict[str, Any], output: dict[str, Any]) -> None:
    if recipe.keys() >= {"strength", "content_weight"}:
        del recipe["content_weight"]
    job = Job.model_validate(
        {
            "content": PICTURE,
            "styles": [{"image": PICTURE, **style}, {"image": PICTURE}],
            "output": {"bucket": "results", **output},
            "recipe": {"method": "optimize", **recipe},
        }
    )
    resolved = resolve(job.recipe)
    assert isinstance(resolved, ResolvedOptimizeRecipe)
    check(job, resolved)
    assert ResolvedOptimizeRecipe.model_validate(resolved.model_dump()) == resolved


@given(edges(FastRecipe))
def test_what_fast_accepts_resolves(recipe: dict[str, Any]) -> None:
    job = Job.model_validate(
        {
            "content": PICTURE,
            "styles": [{"image": PICTURE}],
            "output": {"bucket": "results"},
            "recipe": {"method": "fast", **recipe},
        }
    )
    resolved = resolve(job.recipe)
    assert isinstance(resolved, ResolvedFastRecipe)
    check(job, resolved)


def check(job: Job, resolved: ResolvedOptimizeRecipe | ResolvedFastRecipe) -> None:
    assert Job.model_validate_json(job.canonical_json()) == job
    numbers_in = [value for value in resolved.model_dump().values() if isinstance(value, int | float)]
    assert all(math.isfinite(value) for value in numbers_in)
    mark = fingerprint(
        content_version="1",
        style_versions=("2", "3"),
        style_weights=tuple(style.weight for style in job.styles) + (1.0,) * (2 - len(job.styles)),
        recipe=resolved,
        output=job.output,
        network_digest="4",
        engine_version="5",
    )
    assert re.fullmatch(r"[0-9a-f]{64}", mark)
