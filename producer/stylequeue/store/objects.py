"""Single objects: seen with their ETag, read as they were seen, and what is written made sure to lie there."""

from __future__ import annotations

import hashlib
import io
import logging
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

from ..contract.errors import Code, Misconfigured, Permanent, StyleQueueError, Unavailable
from .marks import sha256_of
from .refusals import Changed, errors_as_ours, object_name
from .s3 import S3, etag_of
from .watch import pause

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1024 * 1024
_NO_ENCODING = {"", "identity", "aws-chunked"}
"""Content encodings that leave the bytes as they are."""
_GZIP = 16 + zlib.MAX_WBITS
"""What zlib calls the format."""
_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}
"""Storage classes whose objects cannot be read as they are."""


@dataclass(frozen=True)
class ObjectInfo:
    """What the store says of an object without its bytes."""

    bucket: str
    key: str
    version_id: str | None
    etag: str
    """With its quotes, as HTTP has it."""
    size_bytes: int
    """As it lies there: of what is encoded, before decoding."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """By names in small letters."""
    content_type: str = ""
    content_encoding: str = ""
    is_archived: bool = False
    """Whether it cannot be read before somebody restores it."""
    sha256: str | None = None
    """Of its bytes, in hex, where the store computed it."""
    written_at: datetime | None = None
    """When it came there, by the store's clock."""

    @property
    def name(self) -> str:
        """As errors call it."""
        return object_name(self.bucket, self.key)

    @property
    def version(self) -> str:
        """Names these bytes: the version id where the bucket keeps versions, else the ETag."""
        return self.version_id or self.etag


@dataclass(frozen=True, kw_only=True)
class Written(ObjectInfo):
    """What lies under the key after a write."""

    created: bool
    """False: the same picture lay there already, and this describes that one."""


class Objects:
    """Objects by bucket and key, whatever bucket that is. Raises as `S3.call` does."""

    def __init__(self, s3: S3) -> None:
        self._s3 = s3

    def look(
        self, bucket: str, key: str, version_id: str | None = None, *, own: bool = False, explain_missing: bool = True
    ) -> ObjectInfo:
        """Size, ETag and metadata; of what is our `own`, also what the store says of its bytes."""
        wanted = {"Bucket": bucket, "Key": key, **({"VersionId": version_id} if version_id else {})}
        if own:
            wanted["ChecksumMode"] = "ENABLED"
        head = self._s3.head(own=own, explain_missing=explain_missing, **wanted)
        etag, size_bytes = etag_of(head), head.get("ContentLength")
        if etag is None or size_bytes is None:
            raise Misconfigured(
                Code.STORE_REFUSED,
                f"the store says of {object_name(bucket, key)} neither ETag nor length, or only one of them",
                "look for a proxy between here and the store that drops them; compressing answers does that",
            )
        is_archived = head.get("StorageClass") in _ARCHIVES or "ArchiveStatus" in head
        return ObjectInfo(
            bucket=bucket,
            key=key,
            version_id=_version_id(head),
            etag=etag,
            size_bytes=size_bytes,
            metadata=_in_small_letters(head.get("Metadata", {})),
            content_type=head.get("ContentType", ""),
            content_encoding=head.get("ContentEncoding", ""),
            is_archived=is_archived and 'ongoing-request="false"' not in head.get("Restore", ""),
            sha256=_sha256_of(head),
            written_at=head.get("LastModified"),
        )

    def find(self, bucket: str, key: str) -> ObjectInfo | None:
        """What lies under the key, if anything does."""
        try:
            return self.look(bucket, key, own=True, explain_missing=False)
        except Permanent as error:
            if error.code == Code.OBJECT_NOT_FOUND:
                return None
            raise

    def read(self, info: ObjectInfo) -> bytes:
        """The bytes that `look` saw, as they lie there. Raises Changed where they are others now."""
        body = io.BytesIO()
        self.fetch(info, body)
        return body.getvalue()

    def read_as(self, info: ObjectInfo, sha256: str) -> bytes:
        """The same, if they are those of this SHA-256 in hex. Raises Changed where they are others."""
        body = self.read(info)
        if sha256_of(body) != sha256:
            raise Changed(info.name)
        return body

    def fetch(self, seen: ObjectInfo, sink: IO[bytes]) -> None:
        """Stream what was seen into `sink`, all of it: botocore tries requests again, but not broken-off bodies."""
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        wanted = {"Bucket": seen.bucket, "Key": seen.key, "IfMatch": seen.etag}
        if seen.version_id:
            wanted["VersionId"] = seen.version_id
        with errors_as_ours(seen.name):
            for left in self._s3.tries():
                try:
                    with self._s3.watching(seen.name, seen.size_bytes):
                        self._fetch_once(wanted, seen, sink)
                    return
                except (BotoCoreError, HTTPError):
                    if not left:
                        raise

    def _fetch_once(self, wanted: Mapping[str, Any], seen: ObjectInfo, sink: IO[bytes]) -> None:
        response = self._s3.call("get_object", own=False, **wanted)
        with closing(response["Body"]) as body:
            # Not every look-alike heeds If-Match, and some proxies take away what it could be seen by.
            if etag_of(response) not in (None, seen.etag):
                raise Changed(seen.name)
            if response.get("ContentLength") not in (None, seen.size_bytes):
                raise Changed(seen.name)
            sink.seek(0)
            sink.truncate()
            for chunk in body.iter_chunks(_CHUNK_BYTES):  # fails if they are not all there
                sink.write(chunk)
                if sink.tell() > seen.size_bytes:
                    raise Changed(seen.name)
            if sink.tell() != seen.size_bytes:
                raise Changed(seen.name)

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        condition: Mapping[str, str] | None = None,
    ) -> Written:
        """Put an object, and make sure that it is what lies there then. Raises Changed where the condition fails."""
        metadata, sha256 = dict(metadata or {}), sha256_of(body)
        answer = self._s3.call(
            "put_object",
            own=True,
            Bucket=bucket,
            Key=key,
            Body=body,
            ContentType=content_type,
            Metadata=metadata,
            **({"ChecksumSHA256": _base64(bytes.fromhex(sha256))} if self._s3.checks else {}),
            **(condition or {}),
        )
        etag = etag_of(answer)
        written = Written(
            bucket, key, _version_id(answer), etag or "", len(body), metadata, content_type, sha256=sha256, created=True
        )
        checked = _sha256_of(answer)
        if checked not in (None, sha256):
            raise self._lost(written)
        if etag and (checked or etag == _md5_etag(body)):
            return written
        return self._looked_up(written)

    def copy(
        self,
        source: ObjectInfo,
        bucket: str,
        key: str,
        *,
        metadata: Mapping[str, str],
        sha256: str,
        condition: Mapping[str, str],
    ) -> Written:
        """Copy what was looked at, with other metadata. Raises Changed where it is another by now, or as `put` does.

        `sha256` is of the source's bytes.
        """
        try:
            answer = self._s3.call(
                "copy_object",
                own=True,
                Bucket=bucket,
                Key=key,
                CopySource={"Bucket": source.bucket, "Key": source.key},
                CopySourceIfMatch=source.etag,
                ContentType=source.content_type,
                Metadata=metadata,
                MetadataDirective="REPLACE",
                **condition,
            )
        except Changed:
            raise
        except StyleQueueError as error:
            if error.code == Code.STORE_UNAVAILABLE:
                raise
            # Not every store copies, and not every object may be copied. Reading and writing says what else is wrong.
            log.info("read and written, since it may not be copied: %s", error)
            body = self.read_as(source, sha256)
            return self.put(bucket, key, body, content_type=source.content_type, metadata=metadata, condition=condition)
        written = Written(
            bucket,
            key,
            _version_id(answer),
            etag_of(answer.get("CopyObjectResult", {})) or "",
            source.size_bytes,
            metadata,
            source.content_type,
            sha256=sha256,
            created=True,
        )
        return written if written.etag == source.etag else self._looked_up(written)

    def holds(self, there: ObjectInfo, sha256: str, size_bytes: int) -> bool:
        """Whether its bytes are these: by the store's own word where it computed their SHA-256, else by reading them.

        Raises Changed where others lie there by now.
        """
        if there.size_bytes != size_bytes:
            return False
        return (there.sha256 or sha256_of(self.read(there))) == sha256

    def delete(self, bucket: str, key: str, *, etag: str | None = None) -> None:
        """Delete an object: just the one with that `etag`, where it is given. None, or another, is no error."""
        request = {"Bucket": bucket, "Key": key}
        try:
            self._s3.call("delete_object", own=True, **request, **({"IfMatch": etag} if etag else {}))
        except Changed:
            return
        except StyleQueueError as error:
            if error.code == Code.OBJECT_NOT_FOUND and isinstance(error, Permanent):
                return
            if not etag or error.code != Code.STORE_REFUSED:
                raise
            # It lay there a moment ago; not every store deletes on a condition.
            self._s3.call("delete_object", own=True, **request)

    def clean_up(self, bucket: str, key: str) -> None:
        """Away with an object that nobody needs. That it stays is no reason for anything else to fail."""
        try:
            self.delete(bucket, key)
        except StyleQueueError as error:
            log.warning("%s stays behind: %s", object_name(bucket, key), error)

    def _looked_up(self, written: Written) -> Written:
        """What was written, as it lies there, where the store's answer does not say that it is the right bytes."""
        there = self.find(written.bucket, written.key)
        is_it = there and there.size_bytes == written.size_bytes and written.etag in ("", there.etag)
        if there is None or not is_it or there.sha256 not in (None, written.sha256):
            raise self._lost(written)
        return Written(**vars(there), created=True)

    def _lost(self, written: Written) -> Unavailable:
        """That the store did not keep what it took. What it has instead goes, lest it is taken for the picture."""
        there = self.find(written.bucket, written.key)
        if there and (there.etag == written.etag or there.metadata == written.metadata):
            self.clean_up(written.bucket, written.key)
        return Unavailable(
            Code.STORE_UNAVAILABLE,
            f"the store took {written.name} and then had something else there",
            "it is tried again later; see what the store logged",
        )


def unpacked(data: bytes, info: ObjectInfo, max_bytes: int) -> bytes:
    """What was encoded on its way into the store, which hands it out as it lies there."""
    encodings = {part.strip().lower() for part in info.content_encoding.split(",")} - _NO_ENCODING
    if not encodings:
        return data
    if encodings != {"gzip"}:
        raise Permanent(
            Code.IMAGE_FORMAT_UNSUPPORTED,
            f"{info.name} is stored with Content-Encoding {info.content_encoding!r}",
            "store pictures as they are; they are compressed already",
        )
    if not data.startswith(b"\x1f\x8b"):
        return data  # it only says so
    # By ourselves: a file of nothing but the heads of parts keeps Python's reader of gzip busy for a minute.
    inflater, body = zlib.decompressobj(_GZIP), bytearray()
    for start in range(0, len(data), _CHUNK_BYTES):
        pause(0)
        try:
            body += inflater.decompress(data[start : start + _CHUNK_BYTES], max_bytes + 1 - len(body))
        except zlib.error:
            raise _damaged(info) from None
        if len(body) > max_bytes:
            raise too_large(info.name, len(body), max_bytes)
        if inflater.unused_data:
            break
    if not inflater.eof or inflater.unused_data:
        raise _damaged(info)
    return bytes(body)


def _damaged(info: ObjectInfo) -> Permanent:
    return Permanent(
        Code.IMAGE_CORRUPT, f"{info.name} cannot be unpacked: its gzip encoding is damaged", "store it again"
    )


def too_large(name: str, size_bytes: int, max_bytes: int) -> Permanent:
    """That a file is over the cap."""
    return Permanent(
        Code.IMAGE_TOO_MANY_BYTES,
        f"{name} has {size_bytes} bytes, at most {max_bytes} are read",
        "send a smaller picture",
    )


def replaced(there: ObjectInfo) -> Permanent:
    """That a job's picture is gone, and something else lies in its place."""
    return Permanent(
        Code.OBJECT_CHANGED,
        f"{there.name} is another object now than the one that was made for this job",
        "what lies there can be had with any S3 client; the job's own picture is gone",
    )


def in_place_of(there: ObjectInfo | None) -> dict[str, str]:
    """The condition of a write: nothing, or just this, lies where it goes."""
    return {"IfMatch": there.etag} if there else {"IfNoneMatch": "*"}


def _in_small_letters(metadata: Mapping[str, str]) -> dict[str, str]:
    """Some stores write their names in capitals. Of two that differ in nothing else, neither is believed."""
    names = [name.lower() for name in metadata]
    return {name.lower(): value for name, value in metadata.items() if names.count(name.lower()) == 1}


def _sha256_of(answer: Mapping[str, Any]) -> str | None:
    """In hex. None also for what was put in parts: that one is of the parts' own."""
    with suppress(ValueError):
        digest = b64decode(answer.get("ChecksumSHA256", ""), validate=True)
        return digest.hex() if len(digest) == hashlib.sha256().digest_size else None
    return None


def _base64(digest: bytes) -> str:
    return b64encode(digest).decode()


def _md5_etag(body: bytes) -> str:
    """The ETag of an object that was put in one go, unless the store encrypts with a key of somebody's."""
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _version_id(answer: Mapping[str, Any]) -> str | None:
    version_id: str | None = answer.get("VersionId")
    # "null" names whatever was written while versioning was off: not a version.
    return None if version_id == "null" else version_id
