"""What is asked of odd stores, in short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stylequeue.contract.errors import Code, Retryable, StyleQueueError, Unavailable
from stylequeue.contract.events import StoredFile
from stylequeue.contract.objects import ImageRef
from stylequeue.store import ObjectInfo, Origin, Place, Store
from tests.support.odd_s3 import SECRET, OddS3

PNG = "image/png"
BODY = b"a picture, or what stands for one"
ORIGIN = Origin("job", "f1")
NOTHING = Place(picture=None, mark=None, beside=())


def look(store: Store, key: str = "a", bucket: str = "uploads") -> ObjectInfo:
    return store.look(ImageRef(bucket=bucket, key=key))


def put(store: Store, body: bytes = BODY, key: str = "a", *, overwrite: bool = False) -> Any:
    return store.write("results", key, body, origin=ORIGIN, content_type=PNG, overwrite=overwrite)


def lay_source(s3: OddS3) -> StoredFile:
    """A picture of ours, put there while nothing was odd."""
    oddities, s3.oddities = s3.oddities, []
    there = put(Store(s3.settings()), key="source")
    s3.oddities = oddities
    s3.seen.clear()
    return StoredFile(bucket="results", key="source", etag=there.etag, sha256=there.sha256, size_bytes=there.size_bytes)


def copy(store: Store, source: StoredFile, *, overwrite: bool = False, there: Any = None) -> Any:
    return store.copy(source, ("results", "a"), there=there, origin=Origin("another", "f1"), overwrite=overwrite)


def check_refusal(attempt: Callable[[], object], kind: type[StyleQueueError], code: Code) -> None:
    with pytest.raises(StyleQueueError) as raised:
        attempt()
    assert isinstance(raised.value, kind)
    assert kind is not Retryable or not isinstance(raised.value, Unavailable)
    assert raised.value.code == code
    assert raised.value.hint, "what to do"
    assert SECRET not in str(raised.value)
