"""Google Cloud Storage's shape, as Pub/Sub pushes it: keys as they are, the object's description in base64.

https://cloud.google.com/storage/docs/pubsub-notifications#format
"""

from __future__ import annotations

import base64 as b64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

from ...contract.errors import InvalidNotice
from ...contract.plain_json import read_json
from ..notices import Notice
from . import base

_CREATED = "OBJECT_FINALIZE"


def is_push(document: Any) -> bool:
    """Whether it is one."""
    return isinstance(base.part(document, "message", "attributes"), Mapping) and "subscription" in document


def read_push(document: Any, source: str) -> Iterable[Notice]:
    """What it tells. Raises InvalidNotice."""
    attributes = document["message"]["attributes"]
    event = base.part(attributes, "eventType")
    if not isinstance(event, str):
        raise InvalidNotice("what Pub/Sub pushes is of something else than a store")
    if event != _CREATED:
        return ()
    described = _described(base.part(document, "message", "data"))
    return [
        Notice(
            source=source,
            bucket=base.bucket(base.part(attributes, "bucketId")),
            key=base.key(base.part(attributes, "objectId"), encoded=False),
            event=event,
            etag=_etag(base.part(described, "md5Hash")),
            size_bytes=base.size_bytes(base.part(described, "size")),
            sequencer=base.text(base.part(attributes, "objectGeneration")),
            event_time=base.moment(base.part(attributes, "eventTime")),
            metadata=_metadata(base.part(described, "metadata")),
        )
    ]


def _described(data: Any) -> Any:
    """What is said of the object, where the payload holds that."""
    try:
        return read_json(b64.b64decode(data, validate=True)) if data else None
    except (TypeError, ValueError, binascii.Error):
        return None


def _etag(md5: Any) -> str | None:
    """The ETag by which S3's protocol knows the object: none for what was composed of others."""
    try:
        return base.etag(b64.b64decode(md5, validate=True).hex()) if md5 else None
    except (TypeError, ValueError, binascii.Error):
        return None


def _metadata(value: Any) -> dict[str, str] | None:
    if not isinstance(value, Mapping):
        return None
    return {name.lower(): said for name, said in value.items() if isinstance(name, str) and isinstance(said, str)}
