"""What needs no key: whether the gateway lives and is ready, and what the codes of its problems mean."""

from __future__ import annotations

from html import escape
from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field

from ..contract.codes import STATUS, Code
from .problems import Refused, document, meanings, title_of
from .state import GatewayState

router = APIRouter(tags=["probes"], responses=document())


class Health(BaseModel):
    """Of a process that lives."""

    status: str = Field(default="ok", examples=["ok"])


class Readiness(BaseModel):
    """Whether requests are to be sent here, and why not."""

    ready: bool
    reasons: dict[str, str] = Field(description="What stands in the way, by where: gateway, redis, store.")


@router.get("/healthz", operation_id="health")
async def health() -> Health:
    """Whether the process lives; nothing else is looked at."""
    return Health()


@router.get("/readyz", operation_id="ready", responses={503: {"model": Readiness, "description": "It is not."}})
async def ready(gateway: GatewayState) -> Readiness:
    """Whether requests are to be sent here: Redis and the store answer, and nobody told it to stop."""
    reasons = await gateway.obstacles.found()
    readiness = Readiness(ready=not reasons, reasons=reasons)
    if reasons:
        return JSONResponse(readiness.model_dump(), 503)  # type: ignore[return-value]
    return readiness


@router.get("/problems/{code}", operation_id="describe_problem", response_class=HTMLResponse)
async def describe_problem(code: Annotated[str, Path(max_length=64, examples=["job_not_found"])]) -> Response:
    """A page about a code, which is what the `type` of a problem names."""
    if code not in STATUS:
        raise Refused(Code.ADDRESS_NOT_FOUND, "there is no such code", "/openapi.json says what is served")
    text = meanings()[code] or title_of(code) + "."
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title_of(code))}</title>"
        f"<h1>{escape(title_of(code))}</h1><p><code>{escape(code)}</code>, HTTP status {STATUS[Code(code)]}</p>"
        f"<p>{escape(text)}</p></html>"
    )
    return HTMLResponse(page)
