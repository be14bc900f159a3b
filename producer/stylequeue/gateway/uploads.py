"""Pictures on their way in: past the gateway into the store, or where callers do not reach that, through it."""

from __future__ import annotations

import mimetypes
import time
import uuid
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from ..contract.codes import Code
from ..contract.objects import CONTENT_TYPES, ImageRef, UploadForm
from .access import Submitter
from .forms import ANY_BYTES, pieces_of
from .problems import Refused, closing, document
from .reading import StrictRoute
from .state import GatewayState

router = APIRouter(prefix="/v1", tags=["pictures"], responses=document(), route_class=StrictRoute)
streams = APIRouter(prefix="/v1", tags=["pictures"], responses=document())
"""Of those whose bodies are pictures."""

_CLOCKS_APART_S = 5
"""As far as the clocks of two gateways may be apart."""
_PICTURE = {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}


class UploadRequest(BaseModel):
    """A picture that is to be uploaded."""

    filename: str = Field(max_length=255, description="Its suffix becomes the key's.")
    content_type: str = Field(max_length=64, description="image/jpeg, image/png or image/webp.")
    size: int = Field(description="Bytes: a form takes no more, a PUT to the store just as many.")


@router.post("/uploads", operation_id="create_upload", status_code=201)
async def create_upload(
    request: Request, gateway: GatewayState, caller: Submitter, wanted: UploadRequest
) -> UploadForm:
    """An address to which one picture may be sent, past the gateway, and the `image` to name in a job then.

    With `method` POST, send a form of `fields` and then the picture as `file`; with PUT, the picture with `headers`.
    Where pictures pass through the gateway, the address is its own (`put_upload`), and wants the key as well.
    What no job names is deleted by the bucket's lifecycle rule: a day after the longest that a job may take.
    """
    form = await caller.queue.upload_form(wanted.filename, content_type=wanted.content_type, size_bytes=wanted.size)
    if not gateway.settings.gateway_stream:
        return form
    url = f"{request.url.path}/{PurePosixPath(form.image.key).name}"
    headers = {"Content-Type": wanted.content_type}
    return form.model_copy(update={"method": "PUT", "url": url, "fields": {}, "headers": headers})


@streams.put(
    "/uploads/{name}",
    operation_id="put_upload",
    status_code=201,
    max_body_size=ANY_BYTES,
    openapi_extra={"requestBody": _PICTURE},
)
async def put_upload(
    request: Request,
    gateway: GatewayState,
    caller: Submitter,
    name: Annotated[str, Path(max_length=64, description="As `create_upload` gave it.")],
) -> ImageRef:
    """Send a picture by the gateway, to an address that `create_upload` gave, while that holds."""
    if not (gateway.settings.gateway_stream and _is_given_now(name, gateway.settings.link_ttl_s)):
        raise Refused(
            Code.ADDRESS_NOT_FOUND, "no picture is taken at this address, or no longer", "ask for one: POST /v1/uploads"
        )
    said, wanted = request.headers.get("content-type", ""), mimetypes.guess_type(name)[0]
    if said != wanted:
        raise Refused(Code.MEDIA_TYPE_UNSUPPORTED, f"it is to be {wanted}, and not {said!r}", "send it as was said")
    try:
        return await caller.queue.upload_stream(pieces_of(request), name=name)
    except Exception as error:
        raise closing(error) from None


def _is_given_now(name: str, valid_s: float) -> bool:
    """Whether an upload asked for in the last `valid_s` seconds may be called so: its UUIDv7 says when that was."""
    stem = PurePosixPath(name).stem
    try:
        given = uuid.UUID(stem)
    except ValueError:
        return False
    is_ours = str(given) == stem and given.version == 7 and mimetypes.guess_type(name)[0] in CONTENT_TYPES.values()
    return is_ours and -_CLOCKS_APART_S <= time.time() - (given.int >> 80) / 1000 <= valid_s
