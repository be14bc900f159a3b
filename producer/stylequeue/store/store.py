"""S3, or anything that speaks it: pinned reads under a size cap, conditional writes, errors of our own tree.

Light to import: boto3 is loaded with the first request. What a worker may touch is limited by `read_buckets` and
`write_buckets` in `look`, `write` and `copy`; the client's own uploads and downloads are limited by its S3 keys alone.
No message holds a key or an address with one.
"""

from __future__ import annotations

import hashlib
import io
import logging
import mimetypes
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..contract.errors import Code, Permanent, Retryable, StyleQueueError, Unavailable
from ..contract.objects import ImageRef
from ..settings import Settings

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

FINGERPRINT_METADATA = "stylequeue-fingerprint"
"""Object metadata that holds the fingerprint of a picture of ours."""

_CHUNK_BYTES = 1024 * 1024
_PAUSE_S = 0.05
_MISSING_KEY = {"NoSuchKey", "NoSuchVersion", "MethodNotAllowed", "404"}  # not allowed: the version is a delete marker
_WORKERS_OWN_FAULT = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestExpired"}
_COME_BACK_LATER = {"SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "Throttling", "TooManyRequests"}


@dataclass(frozen=True)
class ObjectInfo:
    """What the store says of an object without its bytes."""

    bucket: str
    key: str
    version_id: str | None
    etag: str
    """With its quotes, as HTTP has it."""
    size_bytes: int
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Names these bytes: the version id where the bucket keeps versions, else the ETag."""
        return self.version_id or self.etag


@dataclass(frozen=True, kw_only=True)
class Written(ObjectInfo):
    """What lies under the key after a write."""

    created: bool
    """False: the same picture lay there already, and this describes that one."""


class Store:
    """One deployment's object store. Safe to share between threads and to carry across a fork.

    Every method raises Permanent with `access_denied` where the keys do not reach, `object_not_found` where there is
    no such object or bucket, `store_refused` for any other refusal; and Unavailable (`store_unavailable`) where
    the store, or a way to sign in to it, is missing even after `s3_attempts` tries.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._clients: dict[int, S3Client] = {}

    def look(self, image: ImageRef) -> ObjectInfo:
        """Size, ETag and metadata of a picture. Raises Permanent with `bucket_not_allowed` outside `read_buckets`."""
        _check_bucket(image.bucket, self._settings.read_buckets, "STYLEQUEUE_READ_BUCKETS")
        return self._head(image.bucket, image.key, image.version_id)

    def read(self, info: ObjectInfo, *, max_bytes: int) -> bytes:
        """The bytes that `look` saw, complete.

        Raises Permanent with `image_too_many_bytes` over the cap, Retryable with `object_changed` where the object
        was replaced since.
        """
        if info.size_bytes > max_bytes:
            raise _too_large(_name(info.bucket, info.key), info.size_bytes, max_bytes)
        pinned = {"Bucket": info.bucket, "Key": info.key, "IfMatch": info.etag}
        if info.version_id:
            pinned["VersionId"] = info.version_id
        body = io.BytesIO()
        self._fetch(pinned, body, seen=info)
        return body.getvalue()

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
        Permanent with `bucket_not_allowed` outside `write_buckets`, `output_exists` where another object is in the way.
        """
        _check_bucket(bucket, self._settings.write_buckets, "STYLEQUEUE_WRITE_BUCKETS")
        metadata = dict(metadata or {})
        request: dict[str, Any] = {
            "Bucket": bucket,
            "Key": key,
            "Body": body,
            "ContentType": content_type,
            "Metadata": metadata,
        }
        fingerprint = metadata.get(FINGERPRINT_METADATA)
        answer = self._replace(request) if overwrite and fingerprint else self._put(request, overwrite=overwrite)
        if answer is not None:
            return Written(bucket, key, _version_id(answer), answer["ETag"], len(body), metadata=metadata, created=True)
        # Somebody finished first. It may have been us: a put whose answer was lost is sent again.
        there = self._head(bucket, key)
        if fingerprint is None or there.metadata.get(FINGERPRINT_METADATA) != fingerprint:
            raise _in_the_way(_name(bucket, key))
        return Written(**vars(there), created=False)

    def copy(
        self,
        source: tuple[str, str],
        target: tuple[str, str],
        *,
        etag: str | None = None,
        fingerprint: str | None = None,
        overwrite: bool,
    ) -> Written:
        """Copy an object, (bucket, key), with its metadata inside the store, under the rules of `write`.

        What lies at the target with this fingerprint is left as it is, wherever the source is by now. `etag` is what
        the source had when it was known to be the right object: Permanent with `object_not_found` where it is another
        one now. Copying an object onto itself changes nothing. Otherwise raises as `write` does.
        """
        _check_bucket(target[0], self._settings.write_buckets, "STYLEQUEUE_WRITE_BUCKETS")
        there = self.find(*target)
        if there and fingerprint and there.metadata.get(FINGERPRINT_METADATA) == fingerprint:
            return Written(**vars(there), created=False)
        info = self._head(*source)
        if etag and info.etag != etag:
            raise Permanent(Code.OBJECT_NOT_FOUND, f"{_name(*source)} is another object now")
        if source == target:
            return Written(**vars(info), created=False)
        if there and not overwrite:
            raise _in_the_way(_name(*target))
        with _translated(_name(*source)):
            self._client.copy_object(
                Bucket=target[0],
                Key=target[1],
                CopySource={"Bucket": source[0], "Key": source[1]},
                CopySourceIfMatch=info.etag,
            )
        return Written(**vars(self._head(*target)), created=True)

    def find(self, bucket: str, key: str) -> ObjectInfo | None:
        """What lies under the key, if anything does."""
        try:
            return self._head(bucket, key)
        except Permanent as error:
            if error.code == Code.OBJECT_NOT_FOUND:
                return None
            raise

    def exists(self, bucket: str, key: str) -> bool:
        """Whether there is such an object."""
        return self.find(bucket, key) is not None

    def put_work(self, key: str, body: bytes, *, content_type: str) -> None:
        """Put an object into the work bucket, replacing what lies there."""
        request = {"Bucket": self._settings.work_bucket, "Key": key, "Body": body, "ContentType": content_type}
        self._put(request, overwrite=True)

    def read_work(self, key: str, *, max_bytes: int) -> bytes:
        """The bytes of an object in the work bucket. Raises as `read` does."""
        return self.read(self._head(self._settings.work_bucket, key), max_bytes=max_bytes)

    def delete_work(self, keys: Sequence[str]) -> None:
        """Delete objects in the work bucket; those that are not there are no error."""
        self.delete(self._settings.work_bucket, keys)

    def upload_file(self, path: Path) -> ImageRef:
        """Put a local picture into `upload_bucket` under the hash of its content, so that it is stored once.

        Raises OSError where the file cannot be read, Permanent with `image_too_many_bytes` where workers would refuse
        it.
        """
        bucket = self._settings.upload_bucket
        size_bytes = path.stat().st_size
        if size_bytes > self._settings.max_image_bytes:
            raise _too_large(str(path), size_bytes, self._settings.max_image_bytes)
        body = path.read_bytes()
        key = hashlib.sha256(body).hexdigest() + path.suffix.lower()
        content_type = mimetypes.guess_type(key)[0] or "application/octet-stream"
        # What lies there already is the same file.
        self._put({"Bucket": bucket, "Key": key, "Body": body, "ContentType": content_type}, overwrite=False)
        return ImageRef(bucket=bucket, key=key)

    def download(self, bucket: str, key: str, path: Path, *, etag: str | None = None) -> None:
        """Write an object to a local file, which appears complete or not at all. Raises OSError as writing does.

        With `etag`, Permanent with `object_changed` where the object has another one.
        """
        wanted = {"Bucket": bucket, "Key": key}
        seen = None
        if etag:
            seen = self._head(bucket, key)
            if seen.etag != etag:
                raise Permanent(
                    Code.OBJECT_CHANGED,
                    f"{_name(bucket, key)} is another object now than the one that was made for this job",
                    "what lies there can be had with any S3 client; the job's own picture is gone",
                )
            wanted["IfMatch"] = etag
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            with part.open("wb") as file:
                self._fetch(wanted, file, seen=seen)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def link(self, bucket: str, key: str, *, version_id: str | None = None, valid_s: int) -> str:
        """An address under which anybody may GET the object for `valid_s` seconds. Made here, without the store."""
        wanted = {"Bucket": bucket, "Key": key, **({"VersionId": version_id} if version_id else {})}
        with _translated(_name(bucket, key)):
            return self._client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=valid_s)

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete objects; those that are not there are no error."""
        for key in keys:
            with _translated(_name(bucket, key)):
                self._client.delete_object(Bucket=bucket, Key=key)

    def check_bucket(self, bucket: str) -> None:
        """Return if the bucket is there and these keys may list it; raise what the class says otherwise."""
        with _translated(f"bucket {bucket!r}"):
            self._client.list_objects_v2(Bucket=bucket, MaxKeys=1)

    def honours_conditional_writes(self) -> bool:
        """Whether each of `write_buckets` refuses a second write to a key when it is asked to.

        Tried on objects that are deleted afterwards, where these keys may do that.
        """
        return all(self._refuses_second_write(bucket) for bucket in self._settings.write_buckets)

    def _refuses_second_write(self, bucket: str) -> bool:
        key = f".stylequeue-probe-{uuid.uuid4().hex}"
        request = {"Bucket": bucket, "Key": key, "Body": b"", "ContentType": "text/plain"}
        try:
            self._put(request, overwrite=False)
            return self._put(request, overwrite=False) is None
        finally:
            try:
                self.delete(bucket, [key])
            except StyleQueueError as error:
                log.warning("an empty object stays behind: %s", error)

    def close(self) -> None:
        """Give connections back. A later request opens new ones."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    @property
    def _client(self) -> S3Client:
        client = self._clients.get(os.getpid())
        if client is None:
            # Clients may be shared between threads, but making them may not; and none survives a fork.
            with self._lock:
                client = self._clients.get(os.getpid()) or _make_client(self._settings)
                self._clients = {os.getpid(): client}
        return client

    def _head(self, bucket: str, key: str, version_id: str | None = None) -> ObjectInfo:
        from botocore.exceptions import ClientError

        wanted: dict[str, Any] = {"Bucket": bucket, "Key": key}
        if version_id:
            wanted["VersionId"] = version_id
        with _translated(_name(bucket, key)):
            try:
                head = self._client.head_object(**wanted)
            except ClientError as error:
                if _status(error) >= 500:
                    raise
                # The answer to HEAD has no body that says why; the answer to GET has one.
                self._client.get_object(**wanted, Range="bytes=0-0")["Body"].close()
                raise
        return ObjectInfo(
            bucket=bucket,
            key=key,
            version_id=_version_id(head),
            etag=head["ETag"],
            size_bytes=head["ContentLength"],
            metadata=head["Metadata"],
        )

    def _replace(self, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Put a picture in place of what lies there now, if that is another one: the store's answer, or None."""
        bucket, key = request["Bucket"], request["Key"]
        while True:
            there = self.find(bucket, key)
            if there and there.metadata.get(FINGERPRINT_METADATA) == request["Metadata"][FINGERPRINT_METADATA]:
                return None
            pinned = {**request, "IfMatch": there.etag} if there else request
            if answer := self._put(pinned, overwrite=there is not None):
                return answer

    def _put(self, request: Mapping[str, Any], *, overwrite: bool) -> Mapping[str, Any] | None:
        """The store's answer, or None where something lies under the key and is not to be overwritten."""
        from botocore.exceptions import ClientError

        if not overwrite:
            request = {**request, "IfNoneMatch": "*"}
        with _translated(_name(request["Bucket"], request["Key"])):
            tries_left = self._settings.s3_attempts
            while True:
                tries_left -= 1
                try:
                    return self._client.put_object(**request)
                except ClientError as error:
                    if _status(error) == 412:
                        return None
                    if _status(error) != 409 or not tries_left:
                        raise
                # Two conditional writes met: the loser asks again.
                time.sleep(_PAUSE_S)

    def _fetch(self, wanted: Mapping[str, Any], sink: IO[bytes], seen: ObjectInfo | None = None) -> None:
        """Stream an object into `sink`, all of it: botocore tries requests again, but not broken-off bodies."""
        from botocore.exceptions import BotoCoreError

        name = _name(wanted["Bucket"], wanted["Key"])
        tries_left = self._settings.s3_attempts
        with _translated(name):
            while True:
                tries_left -= 1
                response = self._client.get_object(**wanted)
                with closing(response["Body"]) as body:
                    # Not every look-alike heeds If-Match.
                    if seen and (response["ETag"], response["ContentLength"]) != (seen.etag, seen.size_bytes):
                        raise _changed(name)
                    sink.seek(0)
                    sink.truncate()
                    try:
                        for chunk in body.iter_chunks(_CHUNK_BYTES):  # fails if they are not all there
                            sink.write(chunk)
                        return
                    except BotoCoreError:
                        if not tries_left:
                            raise
                time.sleep(_PAUSE_S)


def _make_client(settings: Settings) -> S3Client:
    import boto3
    from botocore.config import Config

    access_key, secret_key = (
        secret.get_secret_value() if secret else None for secret in (settings.s3_access_key, settings.s3_secret_key)
    )
    # A session of its own: boto3's default session is shared and not safe between threads.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            # Else botocore signs links to us-east-1 and to look-alikes in the way before, which many refuse by now.
            signature_version="s3v4",
            retries={"mode": "standard", "total_max_attempts": settings.s3_attempts},
            connect_timeout=settings.s3_connect_timeout_s,
            read_timeout=settings.s3_read_timeout_s,
            tcp_keepalive=True,
            request_checksum_calculation=settings.s3_checksums,
            response_checksum_validation=settings.s3_checksums,
            s3={"addressing_style": settings.s3_addressing},
        ),
    )


def _check_bucket(bucket: str, allowed: tuple[str, ...], setting: str) -> None:
    if bucket not in allowed:
        raise Permanent(
            Code.BUCKET_NOT_ALLOWED,
            f"bucket {bucket!r} is not one that workers may use here",
            f"an operator can add it to {setting}",
        )


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turn botocore's errors about the object `name` into ours."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except ClientError as error:
        raise _refusal(name, error) from None
    except (NoCredentialsError, PartialCredentialsError):
        raise Unavailable(Code.STORE_UNAVAILABLE, "there are no S3 keys to sign in with", _SET_KEYS) from None
    except (BotoCoreError, Boto3Error) as error:
        # Not the error's own text: it may quote an address with a signature.
        raise Unavailable(
            Code.STORE_UNAVAILABLE,
            f"the store did not answer for {name}: {type(error).__name__}",
            "check STYLEQUEUE_S3_ENDPOINT_URL and the network",
        ) from None


_SET_KEYS = "check STYLEQUEUE_S3_ACCESS_KEY and STYLEQUEUE_S3_SECRET_KEY, or this machine's AWS role"


def _refusal(name: str, error: ClientError) -> StyleQueueError:
    code, status = str(error.response.get("Error", {}).get("Code", "")), _status(error)
    if status >= 500 or status == 429 or code in _COME_BACK_LATER:
        return Unavailable(
            Code.STORE_UNAVAILABLE, f"the store could not serve {name}: {code} ({status})", "it is tried again later"
        )
    if code in _WORKERS_OWN_FAULT:
        return Unavailable(Code.STORE_UNAVAILABLE, f"the store does not accept our S3 keys: {code}", _SET_KEYS)
    if status == 412:
        return _changed(name)
    if code == "NoSuchBucket":
        return Permanent(Code.OBJECT_NOT_FOUND, f"there is no bucket for {name}", "check the bucket's name")
    if code in _MISSING_KEY or status == 404:
        return Permanent(Code.OBJECT_NOT_FOUND, f"there is no object {name}", "check bucket, key and version")
    if status in (401, 403):
        return Permanent(
            Code.ACCESS_DENIED,
            f"the store denies access to {name}",
            "grant it to these S3 keys; it may also not exist, where they may not list the bucket",
        )
    return Permanent(Code.STORE_REFUSED, f"the store refused the request for {name}: {code} ({status})", "")


def _in_the_way(name: str) -> Permanent:
    return Permanent(
        Code.OUTPUT_EXISTS,
        f"another object lies at {name}",
        "choose another output key, or set output.overwrite",
    )


def _changed(name: str) -> Retryable:
    return Retryable(
        Code.OBJECT_CHANGED, f"{name} was replaced between looking and reading", "put other pictures under other keys"
    )


def _too_large(name: str, size_bytes: int, max_bytes: int) -> Permanent:
    return Permanent(
        Code.IMAGE_TOO_MANY_BYTES,
        f"{name} has {size_bytes} bytes, at most {max_bytes} are read",
        "send a smaller picture",
    )


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _version_id(answer: Mapping[str, Any]) -> str | None:
    version_id: str | None = answer.get("VersionId")
    # "null" names whatever was written while versioning was off: not a version.
    return None if version_id == "null" else version_id


def _name(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}"
