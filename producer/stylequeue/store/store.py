"""S3, or anything that speaks it: pinned reads under a size cap, conditional writes, errors of our own tree.

Light to import: botocore is loaded with the first request. What a worker may touch is limited by `read_buckets` and
`write_buckets` in `look` and in all of `outputs.py`; the client's own uploads and downloads
are limited by its S3 keys alone. No message holds a key or an address with one.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract.errors import Code, FileUnusable, Permanent, StyleQueueError
from ..contract.objects import ImageRef, check_key, work_keys
from ..settings import Settings
from .exchange import Exchange, type_of
from .incoming import Incoming
from .marks import Mark, Origin, Secrets, sha256_of
from .objects import ObjectInfo, Written, in_place_of, replaced, too_large, unpacked
from .outputs import LOOKS, Outputs, check_bucket, not_proven, output_exists, probe_key
from .refusals import Changed, archived
from .rules import UploadRules

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


class Store(Outputs):
    """One deployment's object store. Safe to share between threads and to carry across a fork.

    `secrets` are what marks are made with; left out: those of the settings. Without any, what lies in the store is
    nobody's as far as this process can tell.

    Every method raises Permanent where what is asked for can never be had (`object_not_found`, `access_denied`,
    `object_archived`, `store_refused`); Unavailable (`store_unavailable`) where the store does not serve it even after
    `s3_attempts` tries; Misconfigured where the fault is this process's: its S3 keys, its region, its clock, its rights
    to write where it is set up to.
    """

    def __init__(self, settings: Settings, secrets: Secrets | None = None) -> None:
        super().__init__(settings, secrets or settings.mark_secrets_in_clear)
        self.exchange = Exchange(settings, self._s3, self._objects)
        self.incoming = Incoming(self._s3, self._objects)
        self.upload_rules = UploadRules(settings, self._s3)

    # What workers do with pictures

    def look(self, image: ImageRef) -> ObjectInfo:
        """Size, ETag and metadata of a picture.

        Raises Permanent with `bucket_not_allowed` outside `read_buckets`, with `object_changed` where it is not the one
        whose ETag the job names.
        """
        check_bucket(image.bucket, self._settings.read_buckets, "STYLEQUEUE_READ_BUCKETS")
        info = self._objects.look(image.bucket, image.key, image.version_id)
        if image.etag and info.etag != image.etag:
            raise Permanent(
                Code.OBJECT_CHANGED,
                f"{info.name} is another object than the one that the job names: its ETag is {info.etag}",
                "put it there again, or submit a job that names what lies there now",
            )
        if info.is_archived:
            raise archived(info.name)
        return info

    def read(self, info: ObjectInfo, *, max_bytes: int) -> bytes:
        """The bytes that `look` saw, complete; unpacked where they are stored with `Content-Encoding: gzip`.

        Raises Permanent with `image_too_many_bytes` over the cap, Retryable with `object_changed` where the object
        was replaced or deleted since.
        """
        if info.size_bytes > max_bytes:
            raise too_large(info.name, info.size_bytes, max_bytes)
        return unpacked(self._objects.read(info), info, max_bytes)

    # What workers keep for themselves

    def put_work(
        self, key: str, body: bytes, *, origin: Origin, content_type: str, there: ObjectInfo | None = None
    ) -> Written:
        """Put an object into the work bucket, in the place of nothing, of `there`, or of what is that job's own.

        Raises Permanent with `output_exists` where a stranger's lies there.
        """
        bucket = self._settings.work_bucket
        mark = Mark(origin, sha256_of(body), len(body))
        metadata = self._marks.metadata(bucket, key, mark, {})
        put = partial(self._objects.put, bucket, key, body, content_type=content_type, metadata=metadata)
        for _ in self._s3.tries(at_least=LOOKS):
            try:
                return put(condition=in_place_of(there))
            except Changed:
                there = self.find(bucket, key)
            if there and not self._is_jobs_own(there, origin.job_id):
                raise output_exists(there)
        raise self._restless(bucket, key, there)

    def read_work(self, key: str, *, origin: Origin, max_bytes: int) -> tuple[bytes, ObjectInfo]:
        """The bytes of an object that was put into the work bucket for this, and what the store says of it.

        Raises as `read` does; Permanent with `object_not_found` also where it is not proven that it was.
        """
        info = self._objects.look(self._settings.work_bucket, key, own=True)
        mark = self.mark_of(info)
        if mark is None or mark.origin != origin:
            raise not_proven(info.name)
        if info.size_bytes > max_bytes:
            raise too_large(info.name, info.size_bytes, max_bytes)
        body = self._objects.read(info)
        if sha256_of(body) != mark.sha256:
            raise not_proven(info.name)
        return body, info

    def delete_work(self, job_id: str) -> None:
        """Delete what a job left in the work bucket. What is not proven to be its own stays, which is logged."""
        for key in work_keys(job_id):
            there = self._seen(self._settings.work_bucket, key)
            if there and self._is_jobs_own(there, job_id):
                self._objects.delete(there.bucket, there.key, etag=there.etag)
            elif there:
                log.warning("%s stays: it is not proven to be of this job", there.name)

    def _is_jobs_own(self, there: ObjectInfo, job_id: str) -> bool:
        mark = self.mark_of(there)
        return mark is not None and mark.origin.job_id == job_id

    # What clients do

    def upload_file(self, path: Path, *, folder: str = "") -> ImageRef:
        """Put a local picture into `upload_bucket` under the hash of its content, so that it is stored once.

        In a `folder` ("acme/") where one is given.

        What lies there already is believed if its bytes are the picture's, and replaced if they are others; the answer
        names the ETag, so that a job is painted from no others that come there later. Raises FileUnusable where the
        file cannot be read or its suffix can be in no key, Permanent with `image_too_many_bytes` where workers would
        refuse it.
        """
        bucket, body = self._settings.upload_bucket, self._picture(path)
        sha256 = sha256_of(body)
        try:
            key = check_key(folder + sha256 + path.suffix.lower())
        except ValueError as error:
            raise FileUnusable(f"{str(path)!r}: no object can have its suffix: {error}", "rename the file") from None
        content_type = type_of(key)
        there: ObjectInfo | None = None
        for _ in self._s3.tries(at_least=LOOKS):
            try:
                there = self._objects.put(bucket, key, body, content_type=content_type, condition=in_place_of(there))
                return ImageRef(bucket=bucket, key=key, etag=there.etag)
            except Changed:
                there = self.find(bucket, key)
            with self._changing():
                # An old one is written anew, lest it goes by the bucket's lifecycle while a job waits.
                if there and _is_new(there) and self._objects.holds(there, sha256, len(body)):
                    return ImageRef(bucket=bucket, key=key, etag=there.etag)
        raise self._restless(bucket, key, there)

    def put_file(self, path: Path, place: ImageRef) -> ImageRef:
        """Put a local picture there, in the place of whatever lies there. Raises as `upload_file` does."""
        body = self._picture(path)
        put = self._objects.put(place.bucket, place.key, body, content_type=type_of(place.key))
        return ImageRef(bucket=put.bucket, key=put.key, version_id=put.version_id, etag=put.etag)

    def _picture(self, path: Path) -> bytes:
        with _used(path):
            size_bytes = path.stat().st_size
            if size_bytes > self._settings.max_image_bytes:
                raise too_large(str(path), size_bytes, self._settings.max_image_bytes)
            return path.read_bytes()

    def download(
        self, bucket: str, key: str, path: Path, *, version_id: str | None = None, etag: str | None = None
    ) -> None:
        """Write an object to a local file, which appears complete or not at all.

        Raises FileUnusable where that cannot be; with `etag`, Permanent with `object_changed` for another object.
        """
        seen = self._objects.look(bucket, key, version_id)
        if etag and seen.etag != etag:
            raise replaced(seen)
        with _used(path):
            part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
            try:
                with part.open("wb") as file:
                    self._objects.fetch(seen, file)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

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
        bucket, key = self._settings.work_bucket, probe_key()
        self._objects.put(bucket, key, b"", content_type="text/plain")
        try:
            self._objects.read(self._objects.look(bucket, key, own=True))
        except StyleQueueError:
            self._objects.clean_up(bucket, key)
            raise
        self._objects.delete(bucket, key)

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


def _is_new(there: ObjectInfo) -> bool:
    return there.written_at is None or datetime.now(UTC) - there.written_at < timedelta(hours=12)


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
