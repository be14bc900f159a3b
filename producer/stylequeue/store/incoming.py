"""What others put into buckets, to be made pictures of: looked at before it becomes a job."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ..contract.errors import Code, StyleQueueError
from ..contract.objects import ImageRef, UploadedObject
from ..contract.uploads import ListedUpload, UploadListing
from .marks import FINGERPRINT_METADATA, JOB_METADATA, MARK_METADATA
from .objects import Objects
from .s3 import S3, etag_of

OURS = frozenset({FINGERPRINT_METADATA, JOB_METADATA, MARK_METADATA})
"""Metadata of what workers write. Believed unproven here: who gives it to an object of his own has no picture made."""


class Incoming:
    """One deployment's. Raises as the store does. Safe to share between threads."""

    def __init__(self, s3: S3, objects: Objects) -> None:
        self._s3 = s3
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

    def keeps_versions(self, bucket: str) -> bool:
        """Whether objects there have versions, by whose ids notices know them."""
        try:
            found = self._s3.call("get_bucket_versioning", own=False, Bucket=bucket)
        except StyleQueueError as error:
            if error.code == Code.STORE_REFUSED:
                return False  # it knows nothing of versions
            raise
        return "Status" in found

    def announced(self, bucket: str) -> Mapping[str, Any]:
        """Whom the store tells of what happens in a bucket, in its own words."""
        return self._s3.call("get_bucket_notification_configuration", own=False, Bucket=bucket)

    def put_probe(self, bucket: str, key: str, body: bytes, metadata: Mapping[str, str]) -> None:
        """Put something there that is gone soon."""
        self._objects.put(bucket, key, body, content_type="text/plain", metadata=metadata)

    def take_away(self, bucket: str, key: str) -> None:
        """Away with it; that it stays is no reason to fail."""
        self._objects.clean_up(bucket, key)

    def list(self, bucket: str, prefix: str, *, after: str | None, by_version: bool) -> UploadListing:
        """Up to 1000 objects whose keys begin with `prefix`, behind the key `after`: one request.

        `by_version`: with the ids of their newest versions. Others are looked past, and may fill a page.
        """
        request = {"Bucket": bucket, "Prefix": prefix}
        if by_version:
            behind = {"KeyMarker": after} if after else {}
            answer = self._s3.call("list_object_versions", own=False, **request, **behind)
            entries = [entry for entry in answer.get("Versions", ()) if entry.get("IsLatest")]
            keys = [entry["Key"] for name in ("Versions", "DeleteMarkers") for entry in answer.get(name, ())]
        else:
            behind = {"StartAfter": after} if after else {}
            answer = self._s3.call("list_objects_v2", own=False, **request, **behind)
            entries = list(answer.get("Contents", ()))
            keys = [entry["Key"] for entry in entries]
        # As UTF-8, which is how stores sort them.
        last = max(keys, key=str.encode, default=None)
        return UploadListing(
            uploads=[_listed(bucket, entry) for entry in entries],
            after=last if answer.get("IsTruncated") else None,
            listed_at=_clock_of(answer),
        )


def _listed(bucket: str, entry: Mapping[str, Any]) -> ListedUpload:
    version_id = entry.get("VersionId")
    return ListedUpload(
        bucket=bucket,
        key=entry["Key"],
        # What was put there before the bucket kept versions has none, as in notices of then.
        version_id=None if version_id == "null" else version_id,
        etag=etag_of(entry) or "",
        size_bytes=entry["Size"],
        written_at=entry["LastModified"],
    )


def _clock_of(answer: Mapping[str, Any]) -> datetime:
    try:
        at = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
