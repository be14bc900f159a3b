"""S3's own shape, and of those that took it over: MinIO, RustFS, Ceph; by SQS, SNS, a webhook or a list in Redis.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from ...contract.errors import InvalidNotice
from ..notices import Notice
from . import base

TEST_EVENT = "s3:TestEvent"
_CREATED = "ObjectCreated"
_CEPH = "ceph:s3"
"""Who says so in `eventSource`: its keys are not encoded."""


def is_test(document: Any) -> bool:
    """Whether it only tries out whether it arrives."""
    return bool(base.part(document, "Event") == TEST_EVENT)


def is_from_sns(document: Any) -> TypeGuard[Mapping[str, str]]:
    """Whether SNS wrapped it."""
    return base.part(document, "Type") == "Notification" and isinstance(base.part(document, "Message"), str)


def is_records(document: Any) -> bool:
    """Whether these are records, or a single one."""
    return isinstance(base.part(document, "Records"), list) or is_record(document)


def is_record(document: Any) -> bool:
    """Whether it is a single record."""
    return isinstance(base.part(document, "s3"), Mapping) and "eventName" in document


def read_records(document: Any, source: str) -> list[Notice]:
    """What the records tell. Raises InvalidNotice where one of them is none."""
    records = base.part(document, "Records")
    return [notice for record in ([document] if records is None else records) for notice in _read(record, source)]


def is_redis_list(document: Any) -> bool:
    """Whether it is of MinIO's list in Redis, format `access`: `[{"Event": [record], "EventTime": ...}]`."""
    return isinstance(document, list) and all(isinstance(base.part(one, "Event"), list) for one in document)


def read_redis_list(document: Any, source: str) -> list[Notice]:
    """What it tells. Raises InvalidNotice."""
    return [notice for one in document for record in one["Event"] for notice in _read(record, source)]


def _read(record: Any, source: str) -> Iterator[Notice]:
    if not is_record(record):
        raise InvalidNotice("one of its records is none of S3's")
    event = str(record["eventName"]).removeprefix("s3:")
    if not event.startswith(_CREATED):
        return
    described = base.part(record, "s3", "object")
    yield Notice(
        source=source,
        bucket=base.bucket(base.part(record, "s3", "bucket", "name")),
        key=base.key(base.part(described, "key"), encoded=record.get("eventSource") != _CEPH),
        event=base.text(event) or _CREATED,
        version=base.version(base.part(described, "versionId")),
        etag=base.etag(base.part(described, "eTag")),
        size_bytes=base.size_bytes(base.part(described, "size")),
        sequencer=base.text(base.part(described, "sequencer")),
        event_time=base.moment(base.part(record, "eventTime")),
        metadata=base.metadata(base.part(described, "userMetadata")),
    )
