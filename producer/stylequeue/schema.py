"""JSON Schemas of what travels, for those who write or read it without this package."""

from __future__ import annotations

import json
from typing import Literal

from .events import EVENT
from .job import Job


def text(what: Literal["job", "event"]) -> str:
    """The JSON Schema of jobs or of events, as indented JSON."""
    schema = Job.model_json_schema() if what == "job" else EVENT.json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"
