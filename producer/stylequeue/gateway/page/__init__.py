"""The page: where a person paints. Its files are served as they lie in `static`; all else it asks of the API."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from ...contract.codes import Code
from ...contract.errors import StyleQueueError
from ...contract.objects import ImageRef
from ..problems import Refused
from ..state import Gateway, GatewayState

router = APIRouter(include_in_schema=False)

_STATIC = Path(__file__).parent / "static"
_FILES = {path.relative_to(_STATIC).as_posix(): path for path in _STATIC.rglob("*") if path.is_file()}
"""All that is served, by name."""
_SMALL_BYTES = 500
"""What is shorter hardly gets so by packing."""


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request, gateway: GatewayState) -> Response:
    """The page itself. It takes its key from behind the `#`, of which no server hears."""
    response = _answer(request, "index.html")
    response.headers["Content-Security-Policy"] = await _policy(gateway)
    return response


@router.api_route("/page/{name:path}", methods=["GET", "HEAD"])
async def file(request: Request, name: str) -> Response:
    """What the page is made of."""
    return _answer(request, name)


@dataclass(frozen=True)
class _File:
    body: bytes
    packed: bytes | None
    etag: str
    media_type: str


def _answer(request: Request, name: str) -> Response:
    path = _FILES.get(name)
    if path is None:
        raise Refused(Code.ADDRESS_NOT_FOUND, "the page has no such file", "the page is at /")
    there = _read(path, path.stat().st_mtime_ns)
    # Looked at anew each time: a gateway that was upgraded must not be met with an older page's half.
    headers = {"ETag": there.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if there.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    body = there.body
    if there.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = there.packed, "gzip"
    return Response(body, headers=headers, media_type=there.media_type)


@lru_cache(maxsize=256)
def _read(path: Path, _written_ns: int) -> _File:
    body = path.read_bytes()
    packed = gzip.compress(body, 9, mtime=0) if len(body) > _SMALL_BYTES else None
    media_type = mimetypes.guess_type(path.name)[0] or "text/plain"
    return _File(body, packed, f'W/"{hashlib.sha256(body).hexdigest()[:16]}"', media_type)


async def _policy(gateway: Gateway) -> str:
    """What the page may load and whom it may ask: this gateway, and the store, where browsers reach it."""
    store = " ".join(sorted(await _store_origins(gateway)))
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src 'self' blob: {store}".rstrip(),
            f"connect-src 'self' {store}".rstrip(),
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


async def _store_origins(gateway: Gateway) -> set[str]:
    """Of the addresses that pictures are fetched from and sent to: what is signed says it, whatever the addressing."""
    known = gateway.store_origins
    if not known and not gateway.settings.gateway_stream:
        # No keys to sign with: then there is nothing to fetch either.
        with suppress(StyleQueueError):
            links = [await gateway.queue.link(ImageRef(bucket=bucket, key="a")) for bucket in gateway.settings.buckets]
            known.update("{0.scheme}://{0.netloc}".format(urlsplit(link)) for link in links)
    return known
