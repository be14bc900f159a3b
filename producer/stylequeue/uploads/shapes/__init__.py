"""The shapes in which stores tell of uploads: which one a document has is seen by looking at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from ...contract.errors import InvalidNotice
from ...contract.plain_json import read_json
from ..notices import Notice
from . import eventbridge, gcs, s3, seaweedfs

_Reader: TypeAlias = Callable[[Any, str], Iterable[Notice]]

_SHAPES: Sequence[tuple[Callable[[Any], bool], _Reader]] = (
    (s3.is_test, lambda *_: ()),
    (s3.is_records, s3.read_records),
    (s3.is_redis_list, s3.read_redis_list),
    (eventbridge.is_event, eventbridge.read_event),
    (eventbridge.is_cloudevent, eventbridge.read_cloudevent),
    (seaweedfs.is_event, seaweedfs.read_event),
    (gcs.is_push, gcs.read_push),
)


def read(data: bytes | str, *, source: str) -> list[Notice]:
    """The notices in a message as it came from a `source`; none where it tells of something else, or tries us out.

    Raises InvalidNotice for what is no notification.
    """
    try:
        document = read_json(data)
    except ValueError as error:
        raise InvalidNotice(f"it is no plain JSON: {error}") from None
    return read_document(document, source=source)


def read_document(document: object, *, source: str) -> list[Notice]:
    """The same of a message whose JSON is read already."""
    if s3.is_from_sns(document):
        try:
            document = read_json(document["Message"])
        except ValueError as error:
            raise InvalidNotice(f"what SNS hands on is no plain JSON: {error}") from None
    for is_one, read_it in _SHAPES:
        if is_one(document):
            return list(read_it(document, source))
    raise InvalidNotice("it has the shape of none that is known")
