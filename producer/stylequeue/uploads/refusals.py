"""Uploads that can be no picture, as far as can be told without reading them."""

from __future__ import annotations

from ..contract.errors import Code, Permanent
from .notices import Notice

PARTIAL_SUFFIXES = (".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp")
"""Of names that programs give to what is not whole yet."""


def why_no_picture(notice: Notice, *, max_bytes: int) -> Permanent | None:
    """Why no job is to be made of it; None: it may be a picture."""
    if notice.key.endswith("/"):
        return Permanent(Code.IMAGE_NOT_RECOGNISED, "it marks a folder and is no picture", "put pictures into it")
    if notice.key.lower().endswith(PARTIAL_SUFFIXES):
        return Permanent(
            Code.IMAGE_TRUNCATED, "by its name it is not whole yet", "give it its own name once it is, as programs do"
        )
    if notice.size_bytes == 0:
        return Permanent(Code.IMAGE_EMPTY, "it has no bytes", "upload it again")
    if notice.size_bytes is not None and notice.size_bytes > max_bytes:
        return Permanent(
            Code.IMAGE_TOO_MANY_BYTES,
            f"it has {notice.size_bytes} bytes, {max_bytes} at most are read",
            "upload a smaller one; STYLEQUEUE_MAX_IMAGE_BYTES sets the limit",
        )
    return None
