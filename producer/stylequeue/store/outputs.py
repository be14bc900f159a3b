"""What is written where jobs say: pictures and what lies beside them, each marked, none in place of a stranger's."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..contract.errors import Code, InvalidJob, Misconfigured, Permanent, StyleQueueError, Unavailable
from ..contract.events import StoredFile
from ..contract.objects import check_key
from ..settings import Settings
from .marks import Mark, Marks, Origin, Secrets, sha256_of
from .objects import ObjectInfo, Objects, Written, in_place_of
from .refusals import Changed, object_name
from .s3 import S3

log = logging.getLogger(__name__)

LOOKS = 5
"""At what lies where something is to be written, each after it was found to be another than before."""
_LISTED = 20
"""Keys in one list: where more begin with a picture's, each is looked at by itself."""


@dataclass(frozen=True)
class Place:
    """Where a picture is to go, as it was found before it is painted."""

    picture: ObjectInfo | None
    mark: Mark | None
    """What is proven of what lies there, but for its bytes."""
    beside: tuple[ObjectInfo, ...]
    """What lies where something is to lie beside the picture."""


class Outputs:
    """Places that jobs name, and what this deployment writes there."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self._settings = settings
        self._s3 = S3(settings)
        self._objects = Objects(self._s3)
        self._marks = Marks(secrets)
        self._doubted: set[str] = set()
        """Buckets that would not take the last write."""

    def look_at_output(self, bucket: str, key: str, beside: Sequence[str] = ()) -> Place:
        """What lies where a picture is to go, and under the keys of what goes `beside` it: before it is painted.

        Raises Permanent with `bucket_not_allowed` outside `write_buckets`, InvalidJob for a key that is none to write
        to, Misconfigured where the bucket would not take the last write and does not take one now.
        """
        self.check_target(bucket, key)
        if bucket in self._doubted:
            self._refuses_second_write(bucket)
        found = self._lying(bucket, [key, *beside])
        picture = found.pop(key, None)
        return Place(picture, self.mark_of(picture) if picture else None, tuple(found.values()))

    def mark_of(self, there: ObjectInfo) -> Mark | None:
        """What is proven of an object, if its bytes are those that its mark names; None: it is not ours."""
        return self._marks.read(there.bucket, there.key, there.metadata)

    def is_whole(self, there: ObjectInfo, mark: Mark) -> bool:
        """Whether its bytes are those that its mark names."""
        return self._objects.holds(there, mark.sha256, mark.size_bytes)

    def proven(self, there: ObjectInfo | None, origin: Origin) -> StoredFile | None:
        """An object, where it is of that fingerprint, and whole."""
        mark = self.mark_of(there) if there else None
        if there is None or mark is None or mark.origin.fingerprint != origin.fingerprint:
            return None
        return _file(there, mark) if self.is_whole(there, mark) else None

    def refuse_strangers(self, there: Sequence[ObjectInfo], origin: Origin) -> None:
        """Return if all of that may be replaced by what is beside a picture of this origin.

        Raises Permanent with `output_exists`.
        """
        for one in there:
            mark = self.mark_of(one)
            if mark is None or not mark.belongs_to(origin):
                raise output_exists(one)

    def write(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        origin: Origin,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool | str,
    ) -> Written:
        """Put a picture; without `overwrite` only where nothing lies, one of ours with the same fingerprint, or what
        has `overwrite` for its ETag.

        What has the same fingerprint is never replaced: a write that was held up on its way does no harm. Raises
        Permanent with `bucket_not_allowed` outside `write_buckets`, `output_exists` where another object is in the
        way; InvalidJob for a key that is none to write to.
        """
        self.check_target(bucket, key)
        mark = Mark(origin, sha256_of(body), len(body))
        said = self._marks.metadata(bucket, key, mark, metadata or {})
        put = partial(self._put, bucket, key, body, content_type=content_type, metadata=said)
        there: ObjectInfo | None = None
        for _ in self._s3.tries(at_least=LOOKS):
            try:
                return put(condition=in_place_of(there))
            except Changed:
                # Somebody was first. It may have been us: a put whose answer was lost is sent again.
                there = self.find(bucket, key)
            if there and (same := self._same_picture(there, origin, overwrite=overwrite)):
                return same
        raise self._restless(bucket, key, there)

    def copy(
        self,
        source: StoredFile,
        target: tuple[str, str],
        *,
        there: ObjectInfo | None,
        origin: Origin,
        overwrite: bool | str,
    ) -> Written:
        """Copy a picture of ours inside the store to (bucket, key), under the rules of `write`.

        `there` is what lay at the target when it was looked at. What lies there with this fingerprint is left as it is,
        wherever the source is by now. The `source` is believed as far as it is proven: Permanent with
        `object_not_found` where it lies in no bucket that is written to, or is not, or no longer, the picture of this
        fingerprint with the ETag, SHA-256 and size that are on record. Otherwise raises as `write` does.
        """
        self.check_target(*target)
        for _ in self._s3.tries(at_least=LOOKS):
            if there and (same := self._same_picture(there, origin, overwrite=overwrite)):
                return same
            info, mark = self._proven(source, origin)
            if (info.bucket, info.key) == target:
                return Written(**vars(info), created=False)
            copied = Mark(origin, mark.sha256, mark.size_bytes)
            try:
                with self._doubting(target[0]):
                    return self._objects.copy(
                        info,
                        *target,
                        metadata=self._marks.metadata(*target, copied, info.metadata),
                        sha256=mark.sha256,
                        condition=in_place_of(there),
                    )
            except Changed:
                there = self.find(*target)
        raise self._restless(*target, there)

    def write_beside(
        self,
        picture: StoredFile,
        key: str,
        body: bytes,
        *,
        origin: Origin,
        content_type: str,
        overwrite: bool,
        just_stored: bool = False,
    ) -> StoredFile | None:
        """Put what belongs to a picture beside it; None where another picture lies there by now, or none.

        Without `overwrite`, it replaces nothing but what is proven to be the job's own or that of the same picture;
        never what another picture's writer puts there meanwhile. `just_stored`: the picture was put there a moment ago.
        Otherwise raises as `write` does.
        """
        self.check_target(picture.bucket, key)
        mark = Mark(origin, sha256_of(body), len(body))
        said = self._marks.metadata(picture.bucket, key, mark, {})
        beside: ObjectInfo | None = None
        for _ in self._s3.tries(at_least=LOOKS):
            if not just_stored:
                there = self.find(picture.bucket, picture.key)
                if there is None or there.etag != picture.etag:
                    return None
            if beside and not overwrite:
                self.refuse_strangers([beside], origin)
            condition = in_place_of(beside)
            try:
                written = self._put(
                    picture.bucket, key, body, content_type=content_type, metadata=said, condition=condition
                )
                return _file(written, mark)
            except Changed:
                # Looked at before the picture: whoever replaces the picture now replaces this next.
                beside = self.find(picture.bucket, key)
                just_stored = False
            with self._changing():
                if beside and self._objects.holds(beside, mark.sha256, mark.size_bytes):
                    return _file(beside, mark)
        raise self._restless(picture.bucket, key, beside)

    def copy_beside(
        self, source: StoredFile, picture: StoredFile, key: str, *, origin: Origin, overwrite: bool
    ) -> StoredFile | None:
        """As `write_beside`, of what lies beside another picture; the `source` is believed as in `copy`."""
        info, mark = self._proven(source, origin)
        try:
            body = self._objects.read_as(info, mark.sha256)
        except Changed:
            raise not_proven(info.name) from None
        content_type = info.content_type
        return self.write_beside(
            picture, key, body, origin=origin, content_type=content_type, overwrite=overwrite, just_stored=True
        )

    def find(self, bucket: str, key: str) -> ObjectInfo | None:
        """What lies under the key, if anything does."""
        return self._objects.find(bucket, key)

    def exists(self, bucket: str, key: str) -> bool:
        """Whether there is such an object."""
        return self.find(bucket, key) is not None

    def read_recorded(self, file: StoredFile) -> bytes | None:
        """The bytes of an object of ours; None where others lie there by now, or none."""
        there = self.find(file.bucket, file.key)
        if there is not None and there.etag == file.etag:
            with self._changing():
                return self._objects.read_as(there, file.sha256)
        return None

    def delete_recorded(self, file: StoredFile) -> None:
        """Delete an object of ours, known by its ETag or by its bytes. Another one stays, which is logged."""
        there = self.find(file.bucket, file.key)
        if there is None:
            return
        with self._changing():
            if there.etag == file.etag or self._objects.holds(there, file.sha256, file.size_bytes):
                self._objects.delete(there.bucket, there.key, etag=there.etag)
                return
        log.warning("%s stays: it is not, or no longer, what was put there", there.name)

    def _lying(self, bucket: str, keys: Sequence[str]) -> dict[str, ObjectInfo]:
        """What lies under these keys, each of which begins with the first: mostly nothing, as one list says."""
        try:
            answer = self._s3.call("list_objects_v2", own=True, Bucket=bucket, Prefix=keys[0], MaxKeys=_LISTED)
            listed = None if answer.get("IsTruncated") else {entry["Key"] for entry in answer.get("Contents", ())}
        except (Permanent, Misconfigured) as error:
            if error.code == Code.STORE_UNAVAILABLE:
                raise
            listed = None
        found = {key: self._seen(bucket, key) for key in keys if listed is None or key in listed}
        return {key: there for key, there in found.items() if there}

    def _seen(self, bucket: str, key: str) -> ObjectInfo | None:
        """What lies there, as far as we may see: who may not list a bucket is told so instead of "missing"."""
        try:
            return self.find(bucket, key)
        except Misconfigured as error:
            if error.code != Code.ACCESS_DENIED:
                raise
            return None

    def _same_picture(self, there: ObjectInfo, origin: Origin, *, overwrite: bool | str) -> Written | None:
        """What lies there, if that is the picture to be written; None: it may be replaced. Raises as `write` does."""
        mark = self.mark_of(there)
        if mark and mark.origin.fingerprint == origin.fingerprint:
            with self._changing():
                if self.is_whole(there, mark):
                    return Written(**vars(there), created=False)
            return None  # damaged
        if overwrite not in (True, there.etag):
            raise output_exists(there)
        return None

    def _proven(self, source: StoredFile, origin: Origin) -> tuple[ObjectInfo, Mark]:
        """What is on record as ours, as it lies in the store."""
        name = object_name(source.bucket, source.key)
        try:
            check_key(source.key)
            if source.bucket not in self._settings.write_buckets:
                raise not_proven(name)
            info = self._objects.look(source.bucket, source.key, own=True)
            mark = self.mark_of(info)
            on_record = (source.etag, source.sha256, source.size_bytes)
            if (
                mark is None
                or mark.origin.fingerprint != origin.fingerprint
                or (info.etag, mark.sha256, mark.size_bytes) != on_record
                or info.is_archived
                or not self.is_whole(info, mark)
            ):
                raise not_proven(name)
        except (ValueError, Changed, Permanent, Misconfigured) as error:
            if getattr(error, "code", None) == Code.STORE_UNAVAILABLE:
                raise
            raise not_proven(name) from None
        return info, mark

    @staticmethod
    @contextmanager
    def _changing() -> Iterator[None]:
        """Around a look at the bytes of what may be replaced meanwhile: the next look sees what by."""
        try:
            yield
        except Changed as error:
            log.info("looked at again: %s", error)

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

    def check_target(self, bucket: str, key: str) -> None:
        """Return if jobs may have something written there. Raises as `look_at_output`."""
        check_bucket(bucket, self._settings.write_buckets, "STYLEQUEUE_WRITE_BUCKETS")
        try:
            check_key(key)
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
        key = probe_key()
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


def probe_key() -> str:
    """Where it is tried what a bucket lets us do."""
    return f".stylequeue-probe-{uuid.uuid4().hex}"


def check_bucket(bucket: str, allowed: Sequence[str], setting: str) -> None:
    """Return if the bucket is one of those. Raises Permanent with `bucket_not_allowed`."""
    if bucket not in allowed:
        raise Permanent(
            Code.BUCKET_NOT_ALLOWED,
            f"bucket {bucket!r} is not one that workers may use here",
            f"an operator can add it to {setting}",
        )


def output_exists(there: ObjectInfo) -> Permanent:
    """That something else lies where a picture, or what belongs beside it, should go."""
    return Permanent(
        Code.OUTPUT_EXISTS,
        f"another object lies at {there.name}",
        "choose another output key, or set output.overwrite",
    )


def not_proven(name: str) -> Permanent:
    """That something is not what it should be, and as good as gone."""
    return Permanent(
        Code.OBJECT_NOT_FOUND, f"{name} is not, or no longer, what is on record", "submit the job again: it is painted"
    )


def _file(there: ObjectInfo, mark: Mark) -> StoredFile:
    return StoredFile(
        bucket=there.bucket, key=there.key, etag=there.etag, sha256=mark.sha256, size_bytes=mark.size_bytes
    )
