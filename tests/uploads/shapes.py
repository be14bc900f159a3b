"""What each store says of an upload: as it was recorded (SeaweedFS, S3 by moto) or is documented, of any key."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

HERE = Path(__file__).parent / "samples"
KEY = "in/photo.jpg"
"""In all samples."""


def as_it_is(key: str) -> str:
    return key


def at_aws(key: str) -> str:
    """As in a form, but for slashes."""
    return quote_plus(key, safe="/")


def with_slashes(key: str) -> str:
    """As in a form."""
    return quote_plus(key)


def sample(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text())


@dataclass(frozen=True)
class Shape:
    """One way to tell of an upload; `put` puts an encoded key into its sample."""

    sample: str
    encode: Callable[[str], str]
    put: Callable[[Any, str], None]

    def of(self, key: str) -> bytes:
        document = sample(self.sample)
        self.put(document, self.encode(key))
        return json.dumps(document).encode()


def _record(document: Any, key: str) -> None:
    document["Records"][0]["s3"]["object"]["key"] = key


def _sns(document: Any, key: str) -> None:
    message = json.loads(document["Message"])
    _record(message, key)
    document["Message"] = json.dumps(message)


def _listed(document: Any, key: str) -> None:
    document[0]["Event"][0]["s3"]["object"]["key"] = key


def _detail(document: Any, key: str) -> None:
    document["detail"]["object"]["key"] = key


def _data(document: Any, key: str) -> None:
    document["data"]["object"]["key"] = key


def _data_record(document: Any, key: str) -> None:
    document["data"]["s3"]["object"]["key"] = key


def _path(document: Any, key: str) -> None:
    document["key"] = f"/buckets/uploads/{key}"
    folder, _, document["message"]["new_entry"]["name"] = key.rpartition("/")
    document["message"]["new_parent_path"] = f"/buckets/uploads/{folder}".rstrip("/")


def _version_path(document: Any, key: str) -> None:
    name = document["message"]["new_entry"]["name"]
    document["key"] = f"/buckets/uploads/{key}.versions/{name}"


def _pushed(document: Any, key: str) -> None:
    document["message"]["attributes"]["objectId"] = key
    described = json.loads(base64.b64decode(document["message"]["data"]))
    described["name"] = key
    document["message"]["data"] = base64.b64encode(json.dumps(described).encode()).decode()


SHAPES = {
    "s3": Shape("s3", at_aws, _record),
    "s3 as others encode": Shape("s3", quote, _record),
    "s3 by moto, through sns": Shape("sns", with_slashes, _sns),
    "eventbridge": Shape("eventbridge", as_it_is, _detail),
    "eventbridge as cloudevent": Shape("cloudevent", as_it_is, _data),
    "record as cloudevent": Shape("cloudevent_record", at_aws, _data_record),
    "minio": Shape("minio", with_slashes, _record),
    "redis list": Shape("redis_list", with_slashes, _listed),
    "rustfs": Shape("rustfs", with_slashes, _record),
    "ceph": Shape("ceph", as_it_is, _record),
    "seaweedfs": Shape("seaweedfs", as_it_is, _path),
    "seaweedfs with versions": Shape("seaweedfs_version", as_it_is, _version_path),
    "gcs": Shape("gcs", as_it_is, _pushed),
}
KEYS = {
    "plain": "in/photo.jpg",
    "at the top": "photo.jpg",
    "blank": "in/my photo.jpg",
    "plus": "in/a+b.jpg",
    "percent": "in/a%2Bb.jpg",
    "lone percent": "in/100%.jpg",
    "equals": "in/k=v&w.jpg",
    "colon": "in/12:30:07.jpg",
    "unicode": "in/wäve 🌊 e\u0301.jpg",
    "quotes": 'in/"it\'s"\\n.jpg',
    "question": "in/what?#1.jpg",
    "1024 bytes": "in/" + "/".join(["n" * 200] * 5) + "/" + "x" * (1024 - 3 - 5 * 201 - 4) + ".jpg",
    "1024 bytes of unicode": "in/" + "/".join(["ü" * 100] * 5) + "/" + "x" * (1024 - 3 - 5 * 201 - 4) + ".jpg",
}
