"""What others put into buckets, to be made pictures of: looked at before it becomes a job."""

from __future__ import annotations

from ..contract.objects import ImageRef, UploadedObject
from .marks import FINGERPRINT_METADATA, JOB_METADATA, MARK_METADATA
from .objects import Objects

OURS = frozenset({FINGERPRINT_METADATA, JOB_METADATA, MARK_METADATA})
"""Metadata of what workers write. Believed unproven here: who gives it to an object of his own has no picture made."""


class Incoming:
    """One deployment's. Raises as the store does. Safe to share between threads."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def find(self, image: ImageRef) -> UploadedObject:
        """What lies there, whatever its ETag is by now. Raises Permanent with `object_not_found`."""
        info = self._objects.look(image.bucket, image.key, image.version_id)
        return UploadedObject(
            bucket=info.bucket,
            key=info.key,
            etag=info.etag,
            size_bytes=info.size_bytes,
            content_type=info.content_type,
            version_id=info.version_id,
            metadata=dict(info.metadata),
            written_at=info.written_at,
            is_ours=not OURS.isdisjoint(info.metadata),
        )
