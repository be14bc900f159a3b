"""What all of the contract is made of: frozen models, ids, queues, JSON, errors that name every wrong field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import InvalidJob, InvalidRequest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Of a job's id: safe as part of a key in Redis and in the store."""
MAX_ID_CHARS = 128
MAX_TENANT_CHARS = 64

QueueName = Literal["fast", "paint", "bulk"]
"""`fast`: seconds a job. `paint`: minutes. `bulk`: whenever there is time."""
QUEUES: tuple[QueueName, ...] = ("fast", "paint", "bulk")
DEFAULT_QUEUE: QueueName = "paint"
"""Of a job that names none and is not of the fast method."""


class Contract(BaseModel):
    """Frozen; unknown fields are errors; numbers are finite. Whoever makes one of what breaks it gets an InvalidJob."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=False)

    if not TYPE_CHECKING:  # the signatures are pydantic's own

        def __init__(self, /, **fields):
            with _refused():
                super().__init__(**fields)

        # Else pydantic would call this for a model within a model too, and lose where in the whole the fault is.
        __init__.__pydantic_base_init__ = True

        @classmethod
        def model_validate(cls, *args, **kwargs):
            """As pydantic's, but for the error."""
            with _refused():
                return super().model_validate(*args, **kwargs)

        @classmethod
        def model_validate_json(cls, *args, **kwargs):
            """As pydantic's, but for the error."""
            with _refused():
                return super().model_validate_json(*args, **kwargs)

        def model_copy(self, *, update=None, deep=False):
            """As pydantic's, but what is put in is looked at: many jobs are made of one in this way."""
            copied = super().model_copy(update=update, deep=deep)
            if not update:
                return copied
            checked = parse(type(self), dict(copied))
            # As pydantic sets it, past the model's being frozen.
            object.__setattr__(checked, "__pydantic_fields_set__", copied.model_fields_set)
            return checked


class Told(BaseModel):
    """What is read by those who asked or listen: frozen; unknown fields are passed over, a newer service tells more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


_FAULTS = 8
"""Named in one message."""
_FAULT_CHARS = 200
"""Of each: some repeat the input."""
_HINT = "see `stylequeue schema job` for the contract"
_M = TypeVar("_M", bound=BaseModel)


def _in_the_contracts_words(fault: ErrorDetails) -> str:
    return f"{'.'.join(map(str, fault['loc'])) or 'job'}: {fault['msg']}"


def parse(
    model: type[_M],
    data: object,
    *,
    in_words: Callable[[ErrorDetails], str] = _in_the_contracts_words,
    hint: str = _HINT,
) -> _M:
    """`data` as a `model`, or InvalidJob with one line that names every wrong field and never repeats long input.

    `in_words` says what is wrong with one field.
    """
    with _refused(in_words, hint):
        parsed: _M = model.__pydantic_validator__.validate_python(data)
        return parsed


@contextmanager
def _refused(in_words: Callable[[ErrorDetails], str] = _in_the_contracts_words, hint: str = _HINT) -> Iterator[None]:
    """Turn what pydantic finds wrong into an InvalidJob."""
    try:
        yield
    except ValidationError as error:
        faults = [shorten(in_words(fault), _FAULT_CHARS) for fault in error.errors()[:_FAULTS]]
        raise InvalidJob("; ".join(faults), hint) from None


def check_tenant(name: str) -> str:
    """`name`, if it can be a tenant's: as a job's id, and shorter. Raises InvalidRequest."""
    return check_name(name, "a tenant", MAX_TENANT_CHARS)


def check_name(name: str, whose: str, max_chars: int = MAX_ID_CHARS) -> str:
    """`name`, if it is as a job's id. Raises InvalidRequest."""
    if not isinstance(name, str) or len(name) > max_chars or not re.fullmatch(ID_PATTERN, name):
        raise InvalidRequest(
            f"{shorten(repr(name), _FAULT_CHARS)} is no name of {whose}",
            f"1 to {max_chars} of A-Z a-z 0-9 . _ -, the first a letter or a digit",
        )
    return name


def is_job_id(text: str) -> bool:
    """Whether `text` can be a job's id."""
    return len(text) <= MAX_ID_CHARS and re.fullmatch(ID_PATTERN, text) is not None
