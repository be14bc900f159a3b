"""Objects in the store: what names a picture, and what lies beside it."""

from __future__ import annotations

import mimetypes
import re
from pathlib import PurePosixPath
from textwrap import shorten
from typing import Annotated, Literal, Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import AfterValidator, AwareDatetime, Field

from .base import Contract, Told, parse
from .errors import Code, InvalidJob, Permanent
from .text import check_text

MAX_BUCKET_CHARS = 63
MAX_KEY_BYTES = 1024
"""S3's own limit."""
MAX_VERSION_BYTES = 1024
"""Likewise."""
EVENT_SUFFIX = ".json"
"""Of the terminal event, as it lies beside its picture."""
REPORT_SUFFIX = ".report.png"
"""Of the contact sheet beside its picture."""
THUMBNAIL_SUFFIX = ".thumb.webp"
"""Of the small picture beside its picture."""
SIDE_SUFFIXES = (EVENT_SUFFIX, REPORT_SUFFIX, THUMBNAIL_SUFFIX)
"""Under a picture's key and these lie others beside it; no picture's own key ends so."""
MAX_OUTPUT_KEY_BYTES = MAX_KEY_BYTES - max(map(len, SIDE_SUFFIXES))

ImageFormat = Literal["jpeg", "png", "webp"]
CONTENT_TYPES: dict[ImageFormat, str] = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
SUFFIXES: dict[ImageFormat, str] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


def check_bucket(name: str) -> str:
    """`name`, if S3 would let a bucket have it. Raises ValueError."""
    if ".." in name:
        raise ValueError("a bucket's name has no two dots in a row")
    if re.fullmatch(r"\d+(\.\d+){3}", name, re.ASCII):
        raise ValueError("a bucket's name is no IP address")
    if name.startswith(("xn--", "sthree-", "amzn-s3-demo-")):
        raise ValueError("a bucket's name does not begin with what S3 keeps for itself: xn--, sthree-, amzn-s3-demo-")
    return name


Bucket = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$", min_length=3, max_length=MAX_BUCKET_CHARS),
    AfterValidator(check_bucket),
]


def check_key(key: str) -> str:
    """`key`, if it names one object and no other key does, whatever the store. Raises ValueError.

    S3 takes keys as they are. Stores that keep objects as files take `a//b`, `a/./b` and `a\\b` for `a/b`, `/a` for
    `a`, and `a/` for a directory; and they keep things of their own beside the objects. For reading as for writing: who
    may read one object must not get another. Nothing else is taken for the same: keys that differ in case, in percent
    signs, or in how Unicode writes a letter are different objects, and stay so.
    """
    try:
        size_bytes = len(check_text(key).encode())
    except ValueError as error:
        raise ValueError(f"a key {error}") from None
    if not 1 <= size_bytes <= MAX_KEY_BYTES:
        raise ValueError(f"a key has 1 to {MAX_KEY_BYTES} bytes")
    parts = key.replace("\\", "/").split("/")
    cleaned = [part for part in parts if part not in ("", ".", "..")]
    if "/".join(cleaned) != key:
        instead = f": write {'/'.join(cleaned)!r}" if cleaned and ".." not in parts else ""
        raise ValueError(f"some stores take it for another key (empty parts, '.', '..' or a backslash){instead}")
    if ".uploads" in parts or any(part.endswith(".versions") for part in parts[:-1]):
        raise ValueError("a key has no part .uploads and no folder named *.versions: stores keep what is theirs there")
    return key


def check_output_key(key: str) -> str:
    """`key`, if a picture of ours may lie there. Raises ValueError."""
    check_key(key)
    if len(key.encode()) > MAX_OUTPUT_KEY_BYTES:
        raise ValueError(f"an output key has at most {MAX_OUTPUT_KEY_BYTES} bytes: others lie beside it")
    # In capitals too: some disks take them for the same.
    if key.lower().endswith(SIDE_SUFFIXES):
        raise ValueError(f"an output key does not end in {' or '.join(SIDE_SUFFIXES)}: what lies beside a picture does")
    return key


def check_version(version_id: str) -> str:
    """`version_id`, if it can be a version's in S3. Raises ValueError."""
    if not 1 <= len(check_text(version_id).encode()) <= MAX_VERSION_BYTES:
        raise ValueError(f"has 1 to {MAX_VERSION_BYTES} bytes")
    return version_id


class ImageRef(Contract):
    """A picture in the store."""

    bucket: Bucket = Field(description="Bucket; the worker must be allowed to read it.")
    key: Annotated[str, AfterValidator(check_key)] = Field(
        description=f"Object key, at most {MAX_KEY_BYTES} bytes of UTF-8, its parts between single slashes."
    )
    version_id: Annotated[str, AfterValidator(check_version)] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_VERSION_BYTES,
        description="A version of the object; else the newest.",
    )
    etag: str | None = Field(
        default=None,
        pattern=r'^"[!#-~]{1,1024}"$',
        description="What the object's ETag must be, with its quotes: other bytes under its key are refused.",
    )

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """The picture at `s3://bucket/key`, percent-encoding undone, with an optional `?versionId=...`.

        Raises InvalidJob where the URI is not of that form.
        """
        try:
            # What cannot be seen `urlsplit` leaves out, and what is no UTF-8 `unquote` puts something else for.
            parts = urlsplit(check_text(uri))
            version = re.fullmatch(r"versionId=(.+)", parts.query)
            key, version_id = (
                unquote(text, errors="strict") for text in (parts.path[1:], version[1] if version else "")
            )
        except ValueError as error:
            raise InvalidJob(f"{uri!r} is no address: {error}", "write s3://bucket/key") from None
        if not uri.lower().startswith("s3://") or not parts.netloc or not parts.path.strip("/"):
            raise InvalidJob(f"{uri!r} is no S3 address", "write s3://bucket/key")
        if (parts.query and not version) or parts.fragment:
            raise InvalidJob(f"{uri!r} has a '?' or '#' in its key", "write them as %3F and %23")
        return parse(cls, {"bucket": parts.netloc, "key": key, "version_id": version_id or None})


PictureKind = Literal["result", "preview", "report", "thumbnail", "content", "style"]
"""What there may be of a job: its picture, a small one of the work so far, the contact sheet, a small one of the whole;
and what it is painted from."""


def suffix_of(filename: str, content_type: str) -> str:
    """The suffix of a picture of this type, the file's own where that is one.

    Raises Permanent with `image_format_unsupported` for what is no picture that can be read.
    """
    suffixes = {CONTENT_TYPES[name]: suffix for name, suffix in SUFFIXES.items()}
    if content_type not in suffixes:
        raise Permanent(
            Code.IMAGE_FORMAT_UNSUPPORTED,
            f"{shorten(repr(content_type), 80)} is no type of picture that is read",
            f"send one of {', '.join(suffixes)}",
        )
    own = PurePosixPath(filename).suffix.lower()
    return own if mimetypes.guess_type(f"x{own}")[0] == content_type else suffixes[content_type]


class StoredObject(Told):
    """What lies in the store, as it was seen."""

    bucket: str
    key: str
    etag: str
    size_bytes: int
    content_type: str
    version_id: str | None = Field(default=None, description="The version that was asked for; null: the newest.")


class UploadedObject(StoredObject):
    """An object that somebody put into a bucket, as it was seen."""

    metadata: dict[str, str] = Field(default={}, description="By names in small letters.")
    written_at: AwareDatetime | None = Field(default=None, description="By the store's clock.")
    is_ours: bool = Field(description="Whether its metadata says that a worker put it there, or that it is a copy.")


def disposition(filename: str) -> str:
    """A `Content-Disposition` by which a picture is shown, and saved under this name (RFC 6266)."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in filename)
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


class UploadForm(Told):
    """How a picture is put into the store, by whoever has this, and where it then lies."""

    method: Literal["POST", "PUT"] = Field(description="POST: a form, of `fields` and then the file as `file`.")
    url: str
    fields: dict[str, str] = Field(default={}, description="Of the form, each as it is.")
    headers: dict[str, str] = Field(default={}, description="Which a PUT bears, each as it is.")
    image: ImageRef = Field(description="To be named in a job, once it is there.")
    expires_at: AwareDatetime = Field(description="Until then it must have begun.")


def event_key(output_key: str) -> str:
    """Key of the terminal event beside the picture."""
    return output_key + EVENT_SUFFIX


def report_key(output_key: str) -> str:
    """Key of the contact sheet beside the picture."""
    return output_key + REPORT_SUFFIX


def thumbnail_key(output_key: str) -> str:
    """Key of the small picture beside the picture."""
    return output_key + THUMBNAIL_SUFFIX


def work_keys(job_id: str) -> list[str]:
    """Keys in the work bucket that belong to a job: its checkpoint and its preview."""
    return [checkpoint_key(job_id), preview_key(job_id)]


def checkpoint_key(job_id: str) -> str:
    """Key in the work bucket of the job's half-painted picture."""
    return f"{job_id}/checkpoint.npz"


def preview_key(job_id: str) -> str:
    """Key in the work bucket of a small picture of the work so far; the same while the job is painted."""
    return f"{job_id}/preview.webp"
