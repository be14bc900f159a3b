"""The styles that are there to choose from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, Field

from ..contract.codes import Code
from ..contract.objects import ImageRef, StoredObject
from .access import Reader
from .pictures import streamed
from .problems import Refused, document
from .reading import StrictRoute
from .state import GatewayState

router = APIRouter(prefix="/v1", tags=["pictures"], responses=document(), route_class=StrictRoute)


class ShelfStyle(BaseModel):
    """A style picture that whoever runs the deployment has put on the shelf."""

    name: str = Field(description="For people: its file's, without suffix.")
    image: ImageRef = Field(description="To be named in a job.")
    size_bytes: int
    url: str = Field(description="Where the picture can be fetched.")
    expires_at: AwareDatetime = Field(description="Until then at least; ask for the styles anew after it.")


class Shelf(BaseModel):
    """All of them."""

    styles: list[ShelfStyle]


@router.get("/styles", operation_id="list_styles")
async def list_styles(request: Request, gateway: GatewayState, caller: Reader) -> Shelf:
    """The styles on the shelf: pictures under `shelf/` in the buckets of styles, by name."""
    valid_s, passes = gateway.settings.link_ttl_s, gateway.settings.gateway_stream

    async def url(there: StoredObject) -> str:
        if passes:
            return f"{request.url.path}/{there.bucket}/{quote(there.key)}"
        return await caller.queue.link(there, valid_s=valid_s)

    expires_at = datetime.now(UTC) + timedelta(seconds=valid_s)
    return Shelf(
        styles=[
            ShelfStyle(
                name=PurePosixPath(there.key).stem,
                image=ImageRef(bucket=there.bucket, key=there.key, etag=there.etag),
                size_bytes=there.size_bytes,
                url=await url(there),
                expires_at=expires_at,
            )
            for there in await caller.queue.shelf()
        ]
    )


@router.get(
    "/styles/{bucket}/{key:path}",
    operation_id="get_shelf_style",
    response_model=None,
    responses={200: {"description": "The picture.", "content": {"image/*": {}}}},
)
async def get_shelf_style(
    request: Request,
    caller: Reader,
    bucket: Annotated[str, Path(max_length=64, description="As `list_styles` names it.")],
    key: Annotated[str, Path(max_length=1024, description="Likewise.")],
) -> StreamingResponse:
    """A style on the shelf, for who does not reach the store."""
    found = next((one for one in await caller.queue.shelf() if (one.bucket, one.key) == (bucket, key)), None)
    if found is None:
        raise Refused(Code.OBJECT_NOT_FOUND, "there is no such style on the shelf", "GET /v1/styles names all")
    name, asked = PurePosixPath(key).name, request.headers
    return streamed(caller.queue, found, name, range_=asked.get("range"), if_range=asked.get("if-range"))
