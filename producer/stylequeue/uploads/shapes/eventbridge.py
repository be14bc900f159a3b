"""EventBridge's shape, as it is and as CloudEvents: keys stand in it as they are.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...contract.errors import InvalidNotice
from ..notices import Notice
from . import base, s3

_SOURCE = "aws.s3"
_CREATED = "Object Created"


def is_event(document: Any) -> bool:
    """Whether it is one."""
    return base.part(document, "source") == _SOURCE and isinstance(base.part(document, "detail"), Mapping)


def read_event(document: Any, source: str) -> Iterable[Notice]:
    """What it tells. Raises InvalidNotice."""
    if base.part(document, "detail-type") != _CREATED:
        return ()
    return [_created(document["detail"], source, base.part(document, "time"))]


def is_cloudevent(document: Any) -> bool:
    """Whether it is a CloudEvent, of whoever."""
    return isinstance(base.part(document, "specversion"), str) and isinstance(base.part(document, "data"), Mapping)


def read_cloudevent(document: Any, source: str) -> Iterable[Notice]:
    """What it tells: as data it bears EventBridge's event, that one's detail, or S3's records.

    Raises InvalidNotice.
    """
    data, kind = document["data"], str(base.part(document, "type"))
    if is_event(data):
        return read_event(data, source)
    if s3.is_records(data):
        return s3.read_records(data, source)
    if not isinstance(base.part(data, "object"), Mapping):
        raise InvalidNotice("it is an event of something else than a store")
    if "created" not in kind.lower():
        return ()
    return [_created(data, source, base.part(document, "time"))]


def _created(detail: Any, source: str, time: Any) -> Notice:
    described = base.part(detail, "object")
    return Notice(
        source=source,
        bucket=base.bucket(base.part(detail, "bucket", "name")),
        key=base.key(base.part(described, "key"), encoded=False),
        event=base.text(base.part(detail, "reason")) or _CREATED,
        version=base.version(base.part(described, "version-id")),
        etag=base.etag(base.part(described, "etag") or base.part(described, "eTag")),  # the latter by moto
        size_bytes=base.size_bytes(base.part(described, "size")),
        sequencer=base.text(base.part(described, "sequencer")),
        event_time=base.moment(time),
    )
