"""Objects in the store: what names a picture, and what lies beside it."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator

from .base import Contract, parse
from .errors import InvalidJob

MAX_BUCKET_CHARS = 63
MAX_KEY_BYTES = 1024
"""S3's own limit."""
EVENT_SUFFIX = ".json"
"""Of the terminal event, as it lies beside its picture."""
REPORT_SUFFIX = ".report.png"
"""Of the contact sheet beside its picture."""
SIDE_SUFFIXES = (EVENT_SUFFIX, REPORT_SUFFIX)
"""Under a picture's key and these lie others beside it; no picture's own key ends so."""
MAX_OUTPUT_KEY_BYTES = MAX_KEY_BYTES - max(map(len, SIDE_SUFFIXES))

ImageFormat = Literal["jpeg", "png", "webp"]
CONTENT_TYPES: dict[ImageFormat, str] = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
SUFFIXES: dict[ImageFormat, str] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}

Bucket = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$", min_length=3, max_length=MAX_BUCKET_CHARS)]


def check_key(key: str) -> str:
    """`key`, if S3 and all stores that speak it take it for what it is. Raises ValueError."""
    if not 1 <= len(key.encode()) <= MAX_KEY_BYTES:
        raise ValueError(f"a key has 1 to {MAX_KEY_BYTES} bytes")
    if re.search(r"[\x00-\x1f\x7f]", key):
        raise ValueError("a key holds no control characters")
    if any(part in (".", "..") for part in key.split("/")):
        # Stores that keep objects as files would resolve them: two keys, one object.
        raise ValueError("a key has no '.' or '..' between its slashes")
    return key


def check_new_key(key: str) -> str:
    """`key`, if what is written there will lie there, whatever the store. Raises ValueError.

    S3 may read such keys as well as any other. But stores that keep objects as files take `a//b` for `a/b`, `/a` for
    `a`, and `a/` for a directory, in which the picture would be lost.
    """
    if key.endswith("/"):
        raise ValueError("a key to write to does not end in '/': stores take it for a directory's")
    if key.startswith("/") or "//" in key:
        raise ValueError("a key to write to neither begins with '/' nor has '//' in it: not all stores keep them apart")
    return check_key(key)


def check_output_key(key: str) -> str:
    """`key`, if a picture of ours may lie there. Raises ValueError."""
    if len(key.encode()) > MAX_OUTPUT_KEY_BYTES:
        raise ValueError(f"an output key has at most {MAX_OUTPUT_KEY_BYTES} bytes: others lie beside it")
    if key.endswith(SIDE_SUFFIXES):
        raise ValueError(f"an output key does not end in {' or '.join(SIDE_SUFFIXES)}: what lies beside a picture does")
    return check_new_key(key)


class ImageRef(Contract):
    """A picture in the store."""

    bucket: Bucket = Field(description="Bucket; the worker must be allowed to read it.")
    key: str = Field(description=f"Object key, at most {MAX_KEY_BYTES} bytes of UTF-8.")
    version_id: str | None = Field(
        default=None, max_length=1024, description="A version of the object; else the newest."
    )
    etag: str | None = Field(
        default=None,
        pattern=r'^"[!#-~]{1,1024}"$',
        description="What the object's ETag must be, with its quotes: other bytes under its key are refused.",
    )

    _key = field_validator("key")(check_key)

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """The picture at `s3://bucket/key`, percent-encoding undone, with an optional `?versionId=...`.

        Raises InvalidJob where the URI is not of that form.
        """
        try:
            parts = urlsplit(uri)
        except ValueError as error:
            raise InvalidJob(f"{uri!r} is no address: {error}", "write s3://bucket/key") from None
        if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
            raise InvalidJob(f"{uri!r} is no S3 address", "write s3://bucket/key")
        version = re.fullmatch(r"versionId=(.+)", parts.query)
        if (parts.query and not version) or parts.fragment:
            raise InvalidJob(f"{uri!r} has a '?' or '#' in its key", "write them as %3F and %23")
        return parse(
            cls,
            {
                "bucket": parts.netloc,
                "key": unquote(parts.path[1:]),
                "version_id": version and unquote(version[1]),
            },
        )


def event_key(output_key: str) -> str:
    """Key of the terminal event beside the picture."""
    return output_key + EVENT_SUFFIX


def report_key(output_key: str) -> str:
    """Key of the contact sheet beside the picture."""
    return output_key + REPORT_SUFFIX


def work_keys(job_id: str) -> list[str]:
    """Keys in the work bucket that belong to a job: its checkpoint and its preview."""
    return [checkpoint_key(job_id), preview_key(job_id)]


def checkpoint_key(job_id: str) -> str:
    """Key in the work bucket of the job's half-painted picture."""
    return f"{job_id}/checkpoint.npz"


def preview_key(job_id: str) -> str:
    """Key in the work bucket of a small picture of the work so far; the same while the job is painted."""
    return f"{job_id}/preview.webp"
