"""Each store has its own words for an upload, and its own way to write a key: all come to the same notice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylequeue.contract.errors import InvalidNotice
from stylequeue.uploads import shapes
from stylequeue.uploads.notices import Notice
from tests.uploads.shapes import KEYS, SHAPES, sample


def only(data: bytes | str) -> Notice:
    [notice] = shapes.read(data, source="here")
    return notice


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_key_comes_through_every_shape(shape: str, key: str) -> None:
    notice = only(SHAPES[shape].of(key))
    assert (notice.bucket, notice.key, notice.source) == ("uploads", key, "here")


def test_the_keys_are_what_they_are_called() -> None:
    assert len(KEYS["1024 bytes"]) == len(KEYS["1024 bytes of unicode"].encode()) == 1024


@pytest.mark.parametrize(
    ("name", "version", "etag", "size_bytes", "sequencer"),
    [
        ("s3", "096fKKXTRTtl3on89fVO.nfljtsv6qko", "5d41402abc4b2a76b9719d911017c592", 51234, "0055AED6DCD90281E5"),
        ("sns", None, "5d41402abc4b2a76b9719d911017c592", 5, None),
        (
            "eventbridge",
            "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
            "b1946ac92492d2347c6235b4d2611184",
            51234,
            "617f08299329d189",
        ),
        ("minio", None, "5fc7298143efe1276d39a3466d4e255f", 224662, "15CFEDF8D5304D1A"),
        (
            "rustfs",
            "2f8d0f0e-9a3b-4c61-8f3f-5c1f6a7b8c9d",
            "5fc7298143efe1276d39a3466d4e255f",
            224662,
            "187B6C5A3F2E1D00",
        ),
        ("ceph", None, "37b51d194a7513e45b56f6524f2d51f2", 1024, "F7E6D75DC742D108"),
        ("gcs", None, "5d41402abc4b2a76b9719d911017c592", 51234, "1758900000000000"),
        ("seaweedfs_version", "67147140ca862d0c401fe7d18068ed3b", None, None, None),
    ],
)
def test_what_a_notice_knows_beside_the_key(
    name: str, version: str | None, etag: str | None, size_bytes: int | None, sequencer: str | None
) -> None:
    notice = only(json.dumps(sample(name)))
    quoted = etag and f'"{etag}"'
    assert (notice.version, notice.etag, notice.size_bytes, notice.sequencer) == (
        version,
        quoted,
        size_bytes,
        sequencer,
    )
    assert notice.event_time is not None
    assert notice.event_time.utcoffset() == UTC.utcoffset(None)


@pytest.mark.parametrize("time", ["", "yesterday", "0001-01-01T00:00:00+23:59", 7, None, [], "2026-13-01T00:00:00Z"])
def test_a_time_that_is_none_is_not_known(time: Any) -> None:
    minio, listed, event = sample("minio"), sample("redis_list"), sample("eventbridge")
    minio["Records"][0]["eventTime"] = listed[0]["Event"][0]["eventTime"] = event["time"] = time
    for document in (minio, listed, event):
        assert only(json.dumps(document)).event_time is None


@pytest.mark.parametrize("mtime", ["x", None, 10**30, -(10**30), [], 1e300])
def test_nor_is_one_of_seaweedfs(mtime: Any) -> None:
    document = sample("seaweedfs")
    document["message"]["new_entry"]["attributes"]["mtime"] = mtime
    assert only(json.dumps(document)).event_time is None


@pytest.mark.parametrize("name", ["minio", "rustfs", "gcs"])
def test_metadata_that_a_notice_has_is_the_objects_own(name: str) -> None:
    assert only(json.dumps(sample(name))).metadata == {"album": "summer"}


@pytest.mark.parametrize("name", ["s3_test", "sns_test", "seaweedfs_folder", "seaweedfs_part", "seaweedfs_delete"])
def test_what_tells_of_no_upload_has_no_notice(name: str) -> None:
    assert shapes.read(json.dumps(sample(name)), source="here") == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("s3", lambda document: document["Records"][0].update(eventName="ObjectRemoved:Delete")),
        ("minio", lambda document: document["Records"][0].update(eventName="s3:ObjectAccessed:Get")),
        ("eventbridge", lambda document: document.update({"detail-type": "Object Deleted"})),
        ("cloudevent", lambda document: document.update(type="Object Deleted")),
        ("gcs", lambda document: document["message"]["attributes"].update(eventType="OBJECT_DELETE")),
    ],
)
def test_what_tells_of_something_else_has_none_either(name: str, change: Any) -> None:
    document = sample(name)
    change(document)
    assert shapes.read(json.dumps(document), source="here") == []


def test_what_was_renamed_lies_where_it_lies_now() -> None:
    document = sample("seaweedfs")
    document["event_type"] = "rename"
    document["message"]["new_parent_path"] = "/buckets/uploads/in/later"
    assert only(json.dumps(document)).key == "in/later/photo.jpg"


def test_several_records_are_several_notices_in_their_order() -> None:
    document = sample("s3")
    document["Records"] *= 3
    document["Records"][1] = {**document["Records"][1], "eventName": "ObjectRemoved:Delete"}
    assert [notice.event for notice in shapes.read(json.dumps(document), source="here")] == ["ObjectCreated:Put"] * 2


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_notice_can_be_written_and_read_again(key: str) -> None:
    at = datetime(2026, 11, 26, 9, 37, 3, 851000, tzinfo=UTC)
    notice = Notice("here", "uploads", key, "ObjectCreated:Put", "v1", '"e"', 7, "0A", at)
    assert only(notice.to_json()) == notice
    assert only(Notice("here", "uploads", key, "OBJECT_FINALIZE").to_json()).key == key


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no plain JSON"),
        ("hello", "no plain JSON"),
        ("[1, 2]", "shape"),
        ("{}", "shape"),
        ("null", "shape"),
        ('{"Type": "SubscriptionConfirmation", "Message": "You have chosen ..."}', "shape"),
        ('{"Type": "Notification", "Message": "You have chosen ..."}', "no plain JSON"),
        ('{"Records": [{"kinesis": {}}]}', "none of S3's"),
        ('{"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {}}}]}', "no bucket"),
        ('{"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}}}]}', "no object"),
        (
            '{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "%FF"}}}',
            "no UTF-8",
        ),
        ('{"specversion": "1.0", "type": "order.created", "data": {"id": 7}}', "something else"),
        ('{"subscription": "s", "message": {"attributes": {}, "data": ""}}', "something else"),
        ('{"event_type": "create", "key": "/etc/motd", "message": {"new_entry": {}}}', "no object"),
    ],
)
def test_what_is_no_notification_says_why(text: str, why: str) -> None:
    with pytest.raises(InvalidNotice) as raised:
        shapes.read(text, source="here")
    assert why in raised.value.message


def test_a_key_that_no_store_could_have_is_refused() -> None:
    with pytest.raises(InvalidNotice, match="1025 bytes"):
        shapes.read(SHAPES["s3"].of("k" * 1025), source="here")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
NAMES = st.sampled_from(
    [
        "Records",
        "s3",
        "bucket",
        "object",
        "name",
        "key",
        "size",
        "eTag",
        "etag",
        "versionId",
        "version-id",
        "sequencer",
        "eventName",
        "eventTime",
        "eventSource",
        "userMetadata",
        "Type",
        "Message",
        "Event",
        "EventTime",
        "specversion",
        "data",
        "type",
        "detail",
        "detail-type",
        "source",
        "reason",
        "event_type",
        "message",
        "new_entry",
        "attributes",
        "mtime",
        "is_directory",
        "new_parent_path",
        "subscription",
        "eventType",
        "bucketId",
        "objectId",
        "md5Hash",
        "metadata",
        "time",
    ]
) | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES
    | st.sampled_from(
        ["ObjectCreated:Put", "s3:TestEvent", "Notification", "Object Created", "aws.s3", "create", "/buckets/b/k"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=25,
)


def taken_or_refused(read: Any) -> None:
    """Whatever came in: notices, or our own error."""
    try:
        notices = read()
    except InvalidNotice:
        return
    for notice in notices:
        assert notice.bucket
        assert 1 <= len(notice.key.encode()) <= 1024


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_nothing_but_our_own_error_comes_out_of_any_document(document: Any) -> None:
    taken_or_refused(lambda: shapes.read_document(document, source="here"))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_nor_of_any_bytes(data: bytes | str) -> None:
    taken_or_refused(lambda: shapes.read(data, source="here"))


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A recorded notification, one part of which is something else."""
    document: Any = json.loads(SHAPES[draw(st.sampled_from(sorted(SHAPES)))].of("in/photo.jpg"))
    within = document
    while True:
        places = list(within) if isinstance(within, dict) else list(range(len(within)))
        if not places:
            return document
        place = draw(st.sampled_from(places))
        inner = within[place]
        if not isinstance(inner, dict | list) or draw(st.booleans()):
            within[place] = draw(VALUES)
            return document
        within = inner


@settings(max_examples=250, deadline=None)
@given(spoilt())
def test_nor_of_a_notification_that_is_spoilt_somewhere(document: Any) -> None:
    taken_or_refused(lambda: shapes.read_document(document, source="here"))


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60), st.sampled_from(sorted(SHAPES)))
def test_any_key_comes_through(key: str, shape: str) -> None:
    if shape.startswith("seaweedfs") and (key.startswith(".uploads") or "/" in key or ".versions" in key):
        return
    assert only(SHAPES[shape].of(key)).key == key
