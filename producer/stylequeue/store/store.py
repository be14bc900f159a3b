"""S3, or anything that speaks it: pinned reads under a size cap, conditional writes, errors of our own tree.

Light to import: botocore is loaded with the first request. What a worker may touch is limited by `read_buckets` and
`write_buckets` in `look`, `look_at_output`, `write`, `write_beside` and `copy`; the client's own uploads and downloads
are limited by its S3 keys alone. No message holds a key or an address with one.
"""

from __future__ import annotations

import hashlib
import mimetypes
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract.errors import Code, FileUnusable, InvalidJob, Misconfigured, Permanent, StyleQueueError, Unavailable
from ..contract.events import StoredPicture
from ..contract.objects import ImageRef, check_new_key
from ..settings import Settings
from .objects import FINGERPRINT_METADATA, ObjectInfo, Objects, Written, in_place_of, too_large, unpacked
from .refusals import Changed, archived, errors_as_ours, object_name
from .s3 import S3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOOKS = 5
"""At what lies where something is to be written, each after it was found to be another than before."""


class Store:
    """One deployment's object store. Safe to share between threads and to carry across a fork.

    Every method raises Permanent where what is asked for can never be had (`object_not_found`, `access_denied`,
    `object_archived`, `store_refused`); Unavailable (`store_unavailable`) where the store does not serve it even after
    `s3_attempts` tries; Misconfigured where the fault is this process's: its S3 keys, its region, its clock, its rights
    to write where it is set up to.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._s3 = S3(settings)
        self._objects = Objects(self._s3)
        self._doubted: set[str] = set()
        """Buckets that would not take the last write."""

    # What workers do with pictures

    def look(self, image: ImageRef) -> ObjectInfo:
        """Size, ETag and metadata of a picture. Raises Permanent with `bucket_not_allowed` outside `read_buckets`."""
        _check_bucket(image.bucket, self._settings.read_buckets, "STYLEQUEUE_READ_BUCKETS")
        info = self._objects.look(image.bucket, image.key, image.version_id)
        if info.is_archived:
            raise archived(info.name)
        return info

    def look_at_output(self, bucket: str, key: str) -> ObjectInfo | None:
        """What lies where a picture is to go: before it is painted.

        Raises Permanent with `bucket_not_allowed` outside `write_buckets`, InvalidJob for a key that is none to write
        to, Misconfigured where the bucket would not take the last write and does not take one now.
        """
        self._check_target(bucket, key)
        if bucket in self._doubted:
            self._refuses_second_write(bucket)
        try:
            return self.find(bucket, key)
        except Misconfigured as error:
            # Who may not list a bucket is told so instead of "missing". Whether they may write is seen by writing.
            if error.code != Code.ACCESS_DENIED:
                raise
            return None

    def read(self, info: ObjectInfo, *, max_bytes: int) -> bytes:
        """The bytes that `look` saw, complete; unpacked where they are stored with `Content-Encoding: gzip`.

        Raises Permanent with `image_too_many_bytes` over the cap, Retryable with `object_changed` where the object
        was replaced or deleted since.
        """
        if info.size_bytes > max_bytes:
            raise too_large(info.name, info.size_bytes, max_bytes)
        return unpacked(self._objects.read(info), info, max_bytes)

    def write(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool,
    ) -> Written:
        """Put an object; without `overwrite` only where nothing lies, or what lies there has the same fingerprint.

        What has the same fingerprint is never replaced: a write that was held up on its way does no harm. Raises
        Permanent with `bucket_not_allowed` outside `write_buckets`, `output_exists` where another object is in the
        way; InvalidJob for a key that is none to write to.
        """
        self._check_target(bucket, key)
        put = partial(self._put, bucket, key, body, content_type=content_type, metadata=metadata)
        fingerprint = (metadata or {}).get(FINGERPRINT_METADATA)
        if overwrite and not fingerprint:
            return put()
        there: ObjectInfo | None = None
        for _ in self._s3.tries(at_least=_LOOKS):
            try:
                return put(condition=in_place_of(there))
            except Changed:
                # Somebody was first. It may have been us: a put whose answer was lost is sent again.
                there = self.find(bucket, key)
            if there and fingerprint and there.fingerprint == fingerprint:
                return Written(**vars(there), created=False)
            if there and not overwrite and not there.is_broken(fingerprint):
                raise output_exists(there)
        raise self._restless(bucket, key, there)

    def copy(
        self,
        source: tuple[str, str],
        target: tuple[str, str],
        *,
        there: ObjectInfo | None,
        etag: str | None = None,
        fingerprint: str | None = None,
        overwrite: bool,
    ) -> Written:
        """Copy an object, (bucket, key), with its metadata inside the store, under the rules of `write`.

        `there` is what lay at the target when it was looked at. What lies there with this fingerprint is left as it is,
        wherever the source is by now. `etag` is what the source had when it was known to be the right object: Permanent
        with `object_not_found` where it is another one now. Copying an object onto itself changes nothing. Otherwise
        raises as `write` does.
        """
        self._check_target(*target)
        for _ in self._s3.tries(at_least=_LOOKS):
            if there and fingerprint and there.fingerprint == fingerprint:
                return Written(**vars(there), created=False)
            info = self._objects.look(*source)
            if etag and info.etag != etag:
                raise Permanent(
                    Code.OBJECT_NOT_FOUND, f"{info.name} is another object now", "submit the job again: it is painted"
                )
            if source == target:
                return Written(**vars(info), created=False)
            if there and not overwrite and not there.is_broken(fingerprint):
                raise output_exists(there)
            try:
                with self._doubting(target[0]):
                    return self._objects.copy(info, *target, condition=in_place_of(there))
            except Changed:
                there = self.find(*target)
        raise self._restless(*target, there)

    def write_beside(
        self, picture: StoredPicture, key: str, body: bytes, *, content_type: str, just_stored: bool = False
    ) -> bool:
        """Put what belongs to a picture beside it; False where another picture lies there by now, or none.

        Whatever lies under the key is replaced, but not what another picture's writer puts there meanwhile.
        `just_stored`: the picture was put there a moment ago. Otherwise raises as `write` does.
        """
        self._check_target(picture.bucket, key)
        beside: ObjectInfo | None = None
        for _ in self._s3.tries(at_least=_LOOKS):
            if not just_stored:
                there = self.find(picture.bucket, picture.key)
                if there is None or there.etag != picture.etag:
                    return False
            try:
                self._put(picture.bucket, key, body, content_type=content_type, condition=in_place_of(beside))
                return True
            except Changed:
                # Looked at before the picture: whoever replaces the picture now replaces this next.
                beside = self.find(picture.bucket, key)
                just_stored = False
        raise self._restless(picture.bucket, key, beside)

    def copy_beside(self, source: tuple[str, str], picture: StoredPicture, key: str) -> bool:
        """As `write_beside`, of an object, (bucket, key), that lies beside another picture."""
        info = self._objects.look(*source)
        body = self._objects.read(info)
        return self.write_beside(picture, key, body, content_type=info.content_type, just_stored=True)

    def find(self, bucket: str, key: str) -> ObjectInfo | None:
        """What lies under the key, if anything does."""
        return self._objects.find(bucket, key)

    def exists(self, bucket: str, key: str) -> bool:
        """Whether there is such an object."""
        return self.find(bucket, key) is not None

    # What workers keep for themselves

    def put_work(self, key: str, body: bytes, *, content_type: str) -> None:
        """Put an object into the work bucket, replacing what lies there."""
        self._objects.put(self._settings.work_bucket, key, body, content_type=content_type)

    def read_work(self, key: str, *, max_bytes: int) -> bytes:
        """The bytes of an object in the work bucket. Raises as `read` does."""
        return self.read(self._objects.look(self._settings.work_bucket, key, own=True), max_bytes=max_bytes)

    def delete_work(self, keys: Sequence[str]) -> None:
        """Delete objects in the work bucket; those that are not there are no error."""
        self.delete(self._settings.work_bucket, keys)

    # What clients do

    def upload_file(self, path: Path) -> ImageRef:
        """Put a local picture into `upload_bucket` under the hash of its content, so that it is stored once.

        Raises FileUnusable where the file cannot be read, Permanent with `image_too_many_bytes` where workers would
        refuse it.
        """
        bucket = self._settings.upload_bucket
        with _used(path):
            size_bytes = path.stat().st_size
            if size_bytes > self._settings.max_image_bytes:
                raise too_large(str(path), size_bytes, self._settings.max_image_bytes)
            body = path.read_bytes()
        key = hashlib.sha256(body).hexdigest() + path.suffix.lower()
        content_type = mimetypes.guess_type(key)[0] or "application/octet-stream"
        put = partial(self._objects.put, bucket, key, body, content_type=content_type)
        try:
            put(condition=in_place_of(None))
        except Changed:
            # What lies there already is the same file, if it is whole.
            there = self.find(bucket, key)
            if there is None or there.size_bytes != len(body):
                put()
        return ImageRef(bucket=bucket, key=key)

    def download(self, bucket: str, key: str, path: Path, *, etag: str | None = None) -> None:
        """Write an object to a local file, which appears complete or not at all.

        Raises FileUnusable where that cannot be; with `etag`, Permanent with `object_changed` for another object.
        """
        wanted = {"Bucket": bucket, "Key": key}
        seen = None
        if etag:
            seen = self._objects.look(bucket, key)
            if seen.etag != etag:
                raise Permanent(
                    Code.OBJECT_CHANGED,
                    f"{seen.name} is another object now than the one that was made for this job",
                    "what lies there can be had with any S3 client; the job's own picture is gone",
                )
            wanted["IfMatch"] = etag
        with _used(path):
            part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
            try:
                with part.open("wb") as file:
                    self._objects.fetch(wanted, file, seen=seen)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def link(self, bucket: str, key: str, *, version_id: str | None = None, valid_s: int) -> str:
        """An address under which anybody may GET the object for `valid_s` seconds. Made here, without the store."""
        wanted = {"Bucket": bucket, "Key": key, **({"VersionId": version_id} if version_id else {})}
        with errors_as_ours(object_name(bucket, key)):
            return self._client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=valid_s)

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete objects; those that are not there are no error."""
        self._objects.delete(bucket, keys)

    # What is tried before it is needed

    def check_bucket(self, bucket: str) -> None:
        """Return if the bucket is there and these keys may list it; raise what the class says otherwise."""
        self._s3.call("list_objects_v2", own=False, Bucket=bucket, MaxKeys=1)

    def honours_conditional_writes(self) -> bool:
        """Whether each of `write_buckets` refuses a second write to a key when it is asked to.

        Tried on objects that are deleted afterwards, where these keys may do that.
        """
        return all(self._refuses_second_write(bucket) for bucket in self._settings.write_buckets)

    def check_work(self) -> None:
        """Return if these keys may write, read and delete in the work bucket; raise what the class says otherwise."""
        key = _probe_key()
        self.put_work(key, b"", content_type="text/plain")
        try:
            self.read_work(key, max_bytes=0)
        except StyleQueueError:
            self._objects.clean_up(self._settings.work_bucket, key)
            raise
        self.delete_work([key])

    def check_reading(self) -> None:
        """Return if each of `read_buckets` is there. What may be read in it is seen by reading."""
        for bucket in self._settings.read_buckets:
            try:
                self.check_bucket(bucket)
            except Permanent as error:
                if error.code != Code.ACCESS_DENIED:
                    raise

    def close(self) -> None:
        """Give connections back. A later request opens new ones."""
        self._s3.close()

    @property
    def _client(self) -> S3Client:
        return self._s3.client

    def _put(self, bucket: str, key: str, body: bytes, **how: Any) -> Written:
        with self._doubting(bucket):
            return self._objects.put(bucket, key, body, **how)

    @contextmanager
    def _doubting(self, bucket: str) -> Iterator[None]:
        """Around a write: whether the next one is worth painting for."""
        try:
            yield
        except Misconfigured:
            self._doubted.add(bucket)
            raise
        self._doubted.discard(bucket)

    def _check_target(self, bucket: str, key: str) -> None:
        _check_bucket(bucket, self._settings.write_buckets, "STYLEQUEUE_WRITE_BUCKETS")
        try:
            check_new_key(key)
        except ValueError as error:
            raise InvalidJob(f"{object_name(bucket, key)}: {error}", "choose another output key") from None

    def _restless(self, bucket: str, key: str, there: ObjectInfo | None) -> StyleQueueError:
        """Why a write to a key failed as often as it was tried, where last `there` was seen."""
        name = object_name(bucket, key)
        if there is None:
            below = self._s3.call("list_objects_v2", own=True, Bucket=bucket, Prefix=f"{key}/", MaxKeys=1)
            if below.get("Contents"):
                return Permanent(
                    Code.OUTPUT_EXISTS,
                    f"others lie under {name}/, which this store keeps as a directory",
                    "choose another output key",
                )
        return Unavailable(
            Code.STORE_UNAVAILABLE,
            f"{name} is written by others again and again",
            "let each job write to a key of its own",
        )

    def _refuses_second_write(self, bucket: str) -> bool:
        key = _probe_key()
        request: dict[str, Any] = {"Bucket": bucket, "Key": key, "Body": b"", "ContentType": "text/plain"}
        request |= in_place_of(None)
        with self._doubting(bucket):
            self._s3.call("put_object", own=True, **request)
        try:
            self._s3.call("put_object", own=True, **request)
        except Changed:
            return True
        finally:
            self._objects.clean_up(bucket, key)
        return False


def _probe_key() -> str:
    return f".stylequeue-probe-{uuid.uuid4().hex}"


def _check_bucket(bucket: str, allowed: tuple[str, ...], setting: str) -> None:
    if bucket not in allowed:
        raise Permanent(
            Code.BUCKET_NOT_ALLOWED,
            f"bucket {bucket!r} is not one that workers may use here",
            f"an operator can add it to {setting}",
        )


def output_exists(there: ObjectInfo) -> Permanent:
    """That something else lies where a picture should go."""
    return Permanent(
        Code.OUTPUT_EXISTS,
        f"another object lies at {there.name}",
        "choose another output key, or set output.overwrite",
    )


@contextmanager
def _used(path: Path) -> Iterator[None]:
    """Around the use of a local file: what the system has against it becomes FileUnusable."""
    hint = "check the path, the rights and the room there"
    try:
        with suppress(OSError):  # which the use itself will meet
            path.stat()
    except ValueError as error:
        raise FileUnusable(f"{str(path)!r}: no file can have this name: {error}", hint) from None
    try:
        yield
    except OSError as error:
        raise FileUnusable(f"{path}: {(error.strerror or str(error)).lower()}", hint, because=error) from None
