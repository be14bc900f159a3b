"""What a store says of an upload, whatever words it has for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote_plus

PROBE_PREFIX = ".stylequeue-probe-"
"""How the names of objects begin that `doctor uploads` puts there: nothing is painted from them."""
_PROBE = re.compile(rf"(?:.*/)?{re.escape(PROBE_PREFIX)}([0-9a-f]{{32}})[^/]*", re.DOTALL)


def probe_of(key: str) -> str | None:
    """Which probe it is; None: an upload."""
    found = _PROBE.fullmatch(key)
    return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Notice:
    """That an object was put into a bucket. The same object version may be told of any number of times."""

    source: str
    """Who says so: a source's name in the operator's file, or `sweep` and the like."""
    bucket: str
    key: str
    """As the object has it, all encoding undone."""
    event: str = "ObjectCreated"
    """The store's own word for what happened."""
    version: str | None = None
    """The object version's id, where the bucket keeps versions."""
    etag: str | None = None
    """With its quotes, as HTTP has it."""
    size_bytes: int | None = None
    sequencer: str | None = None
    """Grows with the versions of one key, as text of the same length."""
    event_time: datetime | None = None
    """When it happened, by the store's clock; aware."""
    metadata: Mapping[str, str] | None = None
    """The object's own, by names in small letters, where the notice has it."""

    @property
    def uri(self) -> str:
        """Names the object, for people."""
        return f"s3://{self.bucket}/{self.key}"

    def to_json(self) -> str:
        """The notice alone, as S3 would tell it: what can be read again."""
        described = {
            "key": quote_plus(self.key),
            "size": self.size_bytes,
            "eTag": self.etag and self.etag.strip('"'),
            "versionId": self.version,
            "sequencer": self.sequencer,
        }
        record = {
            "eventSource": "stylequeue",
            "eventName": self.event if self.event.startswith("ObjectCreated") else f"ObjectCreated:{self.event}",
            "eventTime": self.event_time and self.event_time.isoformat(),
            "s3": {
                "bucket": {"name": self.bucket},
                "object": {name: value for name, value in described.items() if value is not None},
            },
        }
        return json.dumps({"Records": [record]}, separators=(",", ":"))
