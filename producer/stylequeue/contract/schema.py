"""JSON Schemas of what travels, for those who write or read it without this package."""

from __future__ import annotations

import json
from typing import Any, Literal

from .events import EVENT, UnknownEvent
from .job import Job
from .status import JobStatus


def text(what: Literal["job", "event", "status"]) -> str:
    """The JSON Schema of jobs, of events or of what `status` answers, as indented JSON."""
    match what:
        case "job":
            schema = Job.model_json_schema()
        case "event":
            schema, unknown = EVENT.json_schema(), UnknownEvent.model_json_schema()
            schema["$defs"] |= {**unknown.pop("$defs"), UnknownEvent.__name__: unknown}
            schema["oneOf"].append({"$ref": f"#/$defs/{UnknownEvent.__name__}"})
            schema = _open(schema)
        case "status":
            schema = _open(JobStatus.model_json_schema(mode="serialization"))
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def _open(schema: Any) -> Any:
    """The schema where it forbids nothing that a newer worker may add."""
    if isinstance(schema, dict):
        return {key: _open(value) for key, value in schema.items() if (key, value) != ("additionalProperties", False)}
    return [_open(part) for part in schema] if isinstance(schema, list) else schema
