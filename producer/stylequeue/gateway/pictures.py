"""Pictures: what was made of them, and what of, to the caller."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from pydantic import AwareDatetime, BaseModel, Field
from starlette.types import Receive, Scope, Send

from ..aclient import AsyncStyleQueue
from ..contract.codes import Code
from ..contract.job import MAX_STYLES
from ..contract.objects import PictureKind, StoredObject, disposition
from .access import Reader
from .jobs import JobId
from .problems import Refused, document
from .reading import StrictRoute
from .state import GatewayState

router = APIRouter(prefix="/v1", tags=["pictures"], responses=document(), route_class=StrictRoute)


class Link(BaseModel):
    """Where a picture can be fetched."""

    url: str
    expires_at: AwareDatetime | None = Field(description="Until then; null: for as long as the key holds.")


_SHOWN: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture, where pictures pass through the gateway; with `as=json`, where it is.",
        "content": {"application/json": {"schema": Link.model_json_schema()}, "image/*": {}},
    },
    206: {"description": "The part of it that Range names.", "content": {"image/*": {}}},
    303: {"description": "Where it is, for some minutes."},
}
_As = Annotated[Literal["json"] | None, Query(alias="as", description="json: where it is, instead of going there.")]


_OF_A_JOB: dict[PictureKind, str] = {
    "result": "The picture of a job. 410 `object_changed` where another lies in its place by now.",
    "preview": "A small picture of the work so far, while a job is painted.",
    "report": "The contact sheet of a job that asked for one: its pictures, the scales, the losses.",
    "thumbnail": "A small one of the picture, of a job that asked for one (`output.thumbnail`).",
    "content": "The picture that a job paints, for whoever's own jobs might name it.",
}


def _route_of(kind: PictureKind, about: str) -> None:
    async def get(request: Request, gateway: GatewayState, caller: Reader, job_id: JobId, as_: _As = None) -> Response:
        return await _show(request, gateway, caller.queue, job_id, kind, as_)

    router.add_api_route(
        f"/jobs/{{job_id}}/{kind}",
        get,
        name=f"get_{kind}",
        operation_id=f"get_{kind}",
        description=about,
        status_code=303,
        responses=_SHOWN,
        response_model=None,
    )


for _kind, _about in _OF_A_JOB.items():
    _route_of(_kind, _about)


@router.get(
    "/jobs/{job_id}/styles/{number}", operation_id="get_style", status_code=303, responses=_SHOWN, response_model=None
)
async def get_style(
    request: Request,
    gateway: GatewayState,
    caller: Reader,
    job_id: JobId,
    number: Annotated[int, Path(ge=1, le=MAX_STYLES, description="In the order of the job's, from 1.")],
    as_: _As = None,
) -> Response:
    """A picture that a job paints like, likewise."""
    return await _show(request, gateway, caller.queue, job_id, "style", as_, number)


async def _show(
    request: Request,
    gateway: GatewayState,
    queue: AsyncStyleQueue,
    job_id: str,
    kind: PictureKind,
    as_: Literal["json"] | None,
    number: int = 1,
) -> Response:
    there = await queue.look(job_id, kind, number=number)
    if gateway.settings.gateway_stream:
        if as_ is not None:
            return _told(Link(url=request.url.path, expires_at=None))
        asked = request.headers
        return streamed(queue, there, job_id, range_=asked.get("range"), if_range=asked.get("if-range"))
    valid_s = gateway.settings.link_ttl_s
    expires_at = datetime.now(UTC) + timedelta(seconds=valid_s)
    url = await queue.link(there, valid_s=valid_s, filename=_filename(there, job_id))
    return RedirectResponse(url, 303) if as_ is None else _told(Link(url=url, expires_at=expires_at))


def _told(link: Link) -> JSONResponse:
    return JSONResponse(link.model_dump(mode="json"))


def streamed(
    queue: AsyncStyleQueue, there: StoredObject, job_id: str, *, range_: str | None = None, if_range: str | None = None
) -> StreamingResponse:
    """A picture, or the range of it that is asked for, as the answer. Raises Refused for a range that it has not."""
    first, last, status = 0, there.size_bytes - 1, 200
    headers = {
        "Content-Disposition": disposition(_filename(there, job_id)),
        "ETag": there.etag,
        "Accept-Ranges": "bytes",
    }
    if range_ and if_range in (None, there.etag) and (part := _range(range_, there.size_bytes)):
        (first, last), status = part, 206
        headers["Content-Range"] = f"bytes {first}-{last}/{there.size_bytes}"
    headers["Content-Length"] = str(last - first + 1)
    return _Closing(queue.read(there, first=first, last=last), status, headers, media_type=there.content_type)


class _Closing(StreamingResponse):
    """Gives back what it read from also where its reader leaves before the end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(cast("AsyncGenerator[bytes, None]", self.body_iterator)):
            await super().__call__(scope, receive, send)


def _range(text: str, size_bytes: int) -> tuple[int, int] | None:
    """The first and last byte that `Range` asks for; None: all, also for what is none or several (RFC 9110, 14.2)."""
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", text.replace(" ", ""), re.ASCII)
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        first, last = max(0, size_bytes - int(found[2])), size_bytes - 1
    else:
        first, last = int(found[1]), min(int(found[2] or size_bytes), size_bytes - 1)
        if found[2] and int(found[2]) < first:
            return None
    if first > last:
        raise Refused(
            Code.RANGE_NOT_SATISFIABLE,
            f"the picture has {size_bytes} bytes",
            "ask for others, or for all",
            {"Content-Range": f"bytes */{size_bytes}"},
        )
    return first, last


def _filename(there: StoredObject, job_id: str) -> str:
    """What a picture is saved as: by its key, or by its job where that says nothing."""
    name = PurePosixPath(there.key).name
    return f"{job_id}-{name}" if name.startswith("preview.") else name
