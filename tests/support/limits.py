"""The limits of the contract's fields, read off its models."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stylequeue.contract.objects import ImageRef

SOMEWHERE = {"bucket": "uploads", "key": "start.jpg"}
LAYERS = [f"block{block}_conv{number}" for block in range(1, 6) for number in range(1, 5)]


def limits(annotation: Any, constraints: tuple[Any, ...] = ()) -> list[Any]:
    """The least and the greatest value that a field may have, or all that it may; an error where it cannot say."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = itertools.chain(*(one.metadata if isinstance(one, FieldInfo) else [one] for one in arguments[1:]))
        return limits(arguments[0], (*constraints, *inner))
    if origin in (Union, UnionType):
        return [value for one in arguments if one is not type(None) for value in limits(one, constraints)]
    if origin is Literal:
        return list(arguments)
    if annotation is bool:
        return [False, True]
    if annotation in (int, float):
        return [least(annotation, constraints), greatest(annotation, constraints)]
    if origin is dict:
        low, high = limits(arguments[1])
        layers = [layer for layer in LAYERS if any(re.search(one.pattern, layer) for one in patterns(arguments[0]))]
        of_vgg16 = [layer for layer in layers if not re.search("[345]_conv4", layer)]
        return [{layers[0]: low}, {of_vgg16[-1]: low}, dict.fromkeys(of_vgg16, high), dict.fromkeys(layers, high)]
    if isinstance(annotation, type) and issubclass(annotation, ImageRef):
        return [SOMEWHERE]
    raise NotImplementedError(f"what are the limits of {annotation}?")


def patterns(key: Any) -> Iterator[Any]:
    for one in get_args(key)[1:]:
        yield from (constraint for constraint in one.metadata if getattr(constraint, "pattern", None))


def least(kind: type, constraints: tuple[Any, ...]) -> Any:
    for one in constraints:
        if isinstance(one, annotated_types.Ge):
            return one.ge
        if isinstance(one, annotated_types.Gt):
            return one.gt + 1 if kind is int else math.nextafter(one.gt, math.inf)  # type: ignore[operator, arg-type]
    raise NotImplementedError("a number without a least value")


def greatest(kind: type, constraints: tuple[Any, ...]) -> Any:
    for one in constraints:
        if isinstance(one, annotated_types.Le):
            return one.le
        if isinstance(one, annotated_types.Lt):
            return one.lt - 1 if kind is int else math.nextafter(one.lt, -math.inf)  # type: ignore[operator, arg-type]
    raise NotImplementedError("a number without a greatest value")


def fields_of(model: type[BaseModel], *names: str) -> dict[str, list[Any]]:
    """The extremes of each field of a model, or of those named."""
    fields = {name: field for name, field in model.model_fields.items() if not names or name in names}
    return {name: limits(field.annotation, tuple(field.metadata)) for name, field in fields.items()}
