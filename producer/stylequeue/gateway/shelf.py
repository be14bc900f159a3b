"""The styles that are there to choose from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field

from ..contract.objects import ImageRef
from .access import Reader
from .problems import document
from .reading import StrictRoute
from .state import GatewayState

router = APIRouter(prefix="/v1", tags=["pictures"], responses=document(), route_class=StrictRoute)


class ShelfStyle(BaseModel):
    """A style picture that whoever runs the deployment has put on the shelf."""

    name: str = Field(description="For people: its file's, without suffix.")
    image: ImageRef = Field(description="To be named in a job.")
    size_bytes: int
    url: str = Field(description="Where the picture can be fetched, until `expires_at`.")
    expires_at: AwareDatetime


class Shelf(BaseModel):
    """All of them."""

    styles: list[ShelfStyle]


@router.get("/styles", operation_id="list_styles")
async def list_styles(gateway: GatewayState, caller: Reader) -> Shelf:
    """The styles on the shelf: pictures under `shelf/` in the buckets of styles, by name."""
    valid_s = gateway.settings.link_ttl_s
    expires_at = datetime.now(UTC) + timedelta(seconds=valid_s)
    return Shelf(
        styles=[
            ShelfStyle(
                name=PurePosixPath(there.key).stem,
                image=ImageRef(bucket=there.bucket, key=there.key, etag=there.etag),
                size_bytes=there.size_bytes,
                url=await caller.queue.link(there, valid_s=valid_s),
                expires_at=expires_at,
            )
            for there in await caller.queue.shelf()
        ]
    )
