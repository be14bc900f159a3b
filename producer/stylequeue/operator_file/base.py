"""What all tables of the operator's file are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ..contract.base import ID_PATTERN, MAX_TENANT_CHARS

Name = Annotated[str, Field(pattern=ID_PATTERN, max_length=MAX_TENANT_CHARS)]
"""Of a template, an endpoint, a tenant."""


class Table(BaseModel):
    """Frozen; unknown names are errors, and none repeats what was given: that may be a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
