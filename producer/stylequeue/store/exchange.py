"""What others bring and fetch: addresses that are signed for them, and bytes that pass through piece by piece."""

from __future__ import annotations

import mimetypes
import threading
from collections.abc import Generator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ..contract.errors import Code, Permanent, StyleQueueError
from ..contract.objects import CONTENT_TYPES, ImageRef, StoredObject, UploadForm, disposition
from ..settings import Settings
from .objects import Objects, in_place_of, replaced, too_large
from .refusals import Changed, errors_as_ours, object_name
from .s3 import S3, etag_of, make_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART_BYTES = 5 * 1024**2
"""S3's least for a part that is not the last."""
_CHUNK_BYTES = 256 * 1024


class Exchange:
    """One deployment's. Raises as the store does. Safe to share between threads."""

    def __init__(self, settings: Settings, s3: S3, objects: Objects) -> None:
        self._settings = settings
        self._s3 = s3
        self._objects = objects

    @cached_property
    def _signer(self) -> S3Client:
        """What addresses are signed with: they are bound to the host by which those know the store who use them."""
        there = self._settings.s3_public_endpoint_url or self._settings.s3_endpoint_url
        # No checksum that whoever uploads would have to send as well.
        changes = {"s3_endpoint_url": there, "s3_checksums": "when_required"}
        return make_client(self._settings.model_copy(update=changes))

    def link(
        self, bucket: str, key: str, *, version_id: str | None = None, valid_s: int, filename: str | None = None
    ) -> str:
        """An address under which anybody may GET the object for `valid_s` seconds. Made here, without the store.

        Browsers save it as `filename`, where that is given, and nobody keeps it.
        """
        wanted: dict[str, Any] = {"Bucket": bucket, "Key": key}
        if version_id:
            wanted["VersionId"] = version_id
        if filename:
            wanted["ResponseContentDisposition"] = disposition(filename)
            wanted["ResponseCacheControl"] = "private, no-store"
        with errors_as_ours(object_name(bucket, key)):
            return self._signer.generate_presigned_url("get_object", Params=wanted, ExpiresIn=valid_s)

    def form(self, key: str, *, content_type: str, size_bytes: int, valid_s: int) -> UploadForm:
        """How anybody may put a picture under `key` of the upload bucket, of just this type and at most, or where it is
        a PUT exactly, of this size.
        """
        bucket = self._settings.upload_bucket
        expires_at = datetime.now(UTC) + timedelta(seconds=valid_s)
        image = ImageRef(bucket=bucket, key=key)
        with errors_as_ours(object_name(bucket, key)):
            if self._settings.upload_method == "put":
                wanted = {"Bucket": bucket, "Key": key, "ContentType": content_type, "ContentLength": size_bytes}
                url = self._signer.generate_presigned_url("put_object", Params=wanted, ExpiresIn=valid_s)
                headers = {"Content-Type": content_type, "Content-Length": str(size_bytes)}
                return UploadForm(method="PUT", url=url, headers=headers, image=image, expires_at=expires_at)
            post = self._signer.generate_presigned_post(
                bucket,
                key,
                Fields={"Content-Type": content_type},
                Conditions=[{"Content-Type": content_type}, ["content-length-range", 1, size_bytes]],
                ExpiresIn=valid_s,
            )
        return UploadForm(method="POST", url=post["url"], fields=post["fields"], image=image, expires_at=expires_at)

    def look(self, bucket: str, key: str, *, version_id: str | None = None, etag: str | None = None) -> StoredObject:
        """What lies there. Raises Permanent with `object_changed` where that is another object than that of `etag`."""
        info = self._objects.look(bucket, key, version_id)
        if etag and info.etag != etag:
            raise replaced(info)
        return StoredObject(
            bucket=bucket,
            key=key,
            etag=info.etag,
            size_bytes=info.size_bytes,
            content_type=info.content_type,
            version_id=version_id,
        )

    def pictures(self, bucket: str, folder: str) -> list[StoredObject]:
        """Those that lie in a folder ("shelf/"), by their suffixes, in the order of their keys; a thousand at most."""
        try:
            answer = self._s3.call("list_objects_v2", own=False, Bucket=bucket, Prefix=folder)
        except StyleQueueError as error:
            if error.code == Code.OBJECT_NOT_FOUND:  # no such bucket
                return []
            raise
        return [
            StoredObject(
                bucket=bucket,
                key=there["Key"],
                etag=etag_of(there) or "",
                size_bytes=there["Size"],
                content_type=type_of(there["Key"]),
            )
            for there in answer.get("Contents", ())
            if there["Size"] and type_of(there["Key"]) in CONTENT_TYPES.values()
        ]

    def put_new(self, bucket: str, key: str, body: bytes) -> bool:
        """Put a picture there unless something lies there; whether it was put."""
        try:
            self._objects.put(bucket, key, body, content_type=type_of(key), condition=in_place_of(None))
        except Changed:
            return False
        return True

    def read(self, there: StoredObject, *, first: int, last: int) -> Generator[bytes, None, None]:
        """Its bytes from the `first` to the `last`, piece by piece. Raises Changed where they are others by now."""
        name = object_name(there.bucket, there.key)
        wanted = {"Bucket": there.bucket, "Key": there.key, "IfMatch": there.etag, "Range": f"bytes={first}-{last}"}
        if there.version_id:
            wanted["VersionId"] = there.version_id
        with errors_as_ours(name):
            answer = self._s3.call("get_object", own=False, **wanted)
            with closing(answer["Body"]) as body:
                # Not every look-alike heeds conditions and ranges.
                if etag_of(answer) not in (None, there.etag) or answer.get("ContentLength") != last - first + 1:
                    raise Changed(name)
                yield from body.iter_chunks(_CHUNK_BYTES)  # fails if they are not all there

    def upload(self, key: str, *, max_bytes: int) -> Upload:
        """A picture that comes piece by piece."""
        return Upload(self._settings.upload_bucket, key, self._s3, self._objects, max_bytes=max_bytes)

    def delete(self, image: ImageRef) -> None:
        """Delete a picture that was uploaded, unless it is another by now."""
        self._objects.delete(image.bucket, image.key, etag=image.etag)


class Upload:
    """One object of the upload bucket that is being written: `write`s, then `end`; `drop` at any time.

    At no time more than about one part of it is held. Safe to share between threads.
    """

    def __init__(self, bucket: str, key: str, s3: S3, objects: Objects, *, max_bytes: int) -> None:
        self._at = {"Bucket": bucket, "Key": key}
        self._s3 = s3
        self._objects = objects
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._held = bytearray()
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._made: ImageRef | None = None
        self._lock = threading.Lock()

    def write(self, piece: bytes) -> None:
        """Take what comes next. Raises Permanent with `image_too_many_bytes`, or what the store does."""
        with self._lock:
            self._size_bytes += len(piece)
            if self._size_bytes > self._max_bytes:
                raise too_large("the picture", self._size_bytes, self._max_bytes)
            # Parts of one size: the same picture then has the same ETag, however it came.
            while piece:
                room = PART_BYTES - len(self._held)
                self._held += piece[:room]
                piece = piece[room:]
                if len(self._held) == PART_BYTES:
                    self._put_part()

    def end(self) -> ImageRef:
        """Put it there, and name it with its ETag. Raises Permanent with `image_empty`, or what the store does."""
        bucket, key = self._at["Bucket"], self._at["Key"]
        with self._lock:
            if not self._size_bytes:
                raise Permanent(Code.IMAGE_EMPTY, "the picture has no bytes", "send a picture")
            if self._upload_id is None:
                etag = self._objects.put(bucket, key, bytes(self._held), content_type=type_of(key)).etag
            else:
                if self._held:
                    self._put_part()
                etag = self._complete(self._upload_id)
            self._held.clear()
            self._made = ImageRef(bucket=bucket, key=key, etag=etag)
            return self._made

    def drop(self, *, made: bool = True) -> None:
        """Leave nothing of it, but if not `made` what is there already: others may have put the same there.

        What stays all the same, the bucket's lifecycle takes away.
        """
        with self._lock, suppress(StyleQueueError):
            self._held.clear()
            if self._made:
                if made:
                    self._objects.delete(self._made.bucket, self._made.key, etag=self._made.etag)
            elif self._upload_id is not None:
                self._s3.call("abort_multipart_upload", own=True, **self._at, UploadId=self._upload_id)

    def _complete(self, upload_id: str) -> str:
        parts = {"Parts": self._parts}
        answer = self._s3.call(
            "complete_multipart_upload", own=True, **self._at, UploadId=upload_id, MultipartUpload=parts
        )
        return etag_of(answer) or self._objects.look(self._at["Bucket"], self._at["Key"], own=True).etag

    def _put_part(self) -> None:
        if self._upload_id is None:
            content_type = type_of(self._at["Key"])
            begun = self._s3.call("create_multipart_upload", own=True, **self._at, ContentType=content_type)
            self._upload_id = begun["UploadId"]
        body, self._held = self._held, bytearray()
        number = len(self._parts) + 1
        answer = self._s3.call(
            "upload_part", own=True, **self._at, UploadId=self._upload_id, PartNumber=number, Body=body
        )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})


def type_of(key: str) -> str:
    """The content type that a key's suffix stands for."""
    return mimetypes.guess_type(PurePosixPath(key).name)[0] or "application/octet-stream"
