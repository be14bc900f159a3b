"""A store on SeaweedFS, and what is asked of it, in short."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from stylequeue.contract.events import StoredPicture
from stylequeue.contract.objects import ImageRef
from stylequeue.local import Stack
from stylequeue.store import SHA256_METADATA, ObjectInfo, Origin, Store

PNG = "image/png"


@pytest.fixture
def store(stack: Stack) -> Iterator[Store]:
    """May read what it writes."""
    store = Store(stack.settings.model_copy(update={"read_buckets": ("uploads", "styles", "results")}))
    yield store
    store.close()


@pytest.fixture
def key() -> str:
    return f"{uuid.uuid4().hex}.png"


def put(store: Store, key: str, body: bytes, fingerprint: str | None = None, *, overwrite: bool = False) -> Any:
    """A picture of ours, or, without a fingerprint, what anybody puts there."""
    if fingerprint is None:
        store._client.put_object(Bucket="results", Key=key, Body=body)
        return look(store, key)
    origin = Origin(f"job of {fingerprint}", fingerprint)
    return store.write("results", key, body, origin=origin, content_type=PNG, overwrite=overwrite)


def look(store: Store, key: str, bucket: str = "results") -> ObjectInfo:
    return store.look(ImageRef(bucket=bucket, key=key))


def stored(info: ObjectInfo) -> StoredPicture:
    return StoredPicture(
        bucket=info.bucket,
        key=info.key,
        etag=info.etag,
        sha256=info.metadata[SHA256_METADATA],
        width_px=1,
        height_px=1,
        size_bytes=info.size_bytes,
        content_type=PNG,
    )
