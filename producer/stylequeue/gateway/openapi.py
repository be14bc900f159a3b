"""The gateway's description of itself: what FastAPI makes of the routes, completed by what it cannot know."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ..contract.events import EVENT
from .bodies import JobRequest
from .problems import MEDIA_TYPE, Problem

_SCHEMAS = "#/components/schemas/{model}"
JOB = {
    "content": {"bucket": "uploads", "key": "photo.jpg"},
    "styles": [{"image": {"bucket": "styles", "key": "wave.jpg"}}],
    "recipe": {"method": "fast"},
    "labels": {"order": "7"},
}
"""An example of a request."""
_BODIES: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {"JobRequest": (JobRequest, JOB)}
_OWN = ("x-body", "x-items")
"""How routes say what is read of a body that FastAPI takes as it comes."""


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the bodies' schemas, problems as the only answer to what fails, and what is delivered."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model, _ in _BODIES.values():
        _add(schemas, model.model_json_schema(ref_template=_SCHEMAS), model.__name__)
    schemas.setdefault("Problem", Problem.model_json_schema(ref_template=_SCHEMAS))
    for path in document["paths"].values():
        for operation in path.values():
            _complete(operation, schemas)
    document["webhooks"] = {"job_ended": {"post": _delivered(schemas)}}
    return document


def _complete(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    if "default" in responses:
        responses["default"]["content"] = {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS.format(model="Problem")}}}
    body, items = (operation.pop(name, None) for name in _OWN)
    if body:
        model, example = _BODIES[body]
        content = {"schema": {"$ref": _SCHEMAS.format(model=model.__name__)}, "example": example}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    if items:
        model, example = _BODIES[items]
        content = operation["requestBody"]["content"]["application/json"]
        content["example"] = {"jobs": [example]}
        name = content["schema"]["$ref"].rpartition("/")[2]
        schemas[name]["properties"]["jobs"]["items"] = {"$ref": _SCHEMAS.format(model=model.__name__)}


def _delivered(schemas: dict[str, Any]) -> dict[str, Any]:
    """What endpoints of the operator's file are sent."""
    event = EVENT.json_schema(ref_template=_SCHEMAS)
    _add(schemas, event, "Event")
    return {
        "operationId": "job_ended",
        "summary": "A job has ended",
        "description": "Sent to the endpoints that the job names, signed as Standard Webhooks has it; docs/events.md.",
        "requestBody": {
            "required": True,
            "content": {"application/cloudevents+json": {"schema": {"$ref": _SCHEMAS.format(model="Event")}}},
        },
        "responses": {
            "2XX": {"description": "Taken."},
            "410": {"description": "Never again: the endpoint is disabled."},
        },
        "security": [],
    }


def _add(schemas: dict[str, Any], schema: dict[str, Any], name: str) -> None:
    for part, definition in schema.pop("$defs", {}).items():
        schemas.setdefault(part, definition)
    schemas[name] = schema
