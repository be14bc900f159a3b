"""One key, one object; and no name in which something is that cannot be seen."""

from __future__ import annotations

import json
import posixpath
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylequeue.contract.errors import InvalidJob, InvalidSettings
from stylequeue.contract.job import Job, Output, parse_job
from stylequeue.contract.objects import MAX_KEY_BYTES, MAX_OUTPUT_KEY_BYTES, ImageRef, check_key
from stylequeue.ledger.record import Record
from stylequeue.local import Stack
from stylequeue.settings import Settings
from stylequeue.store import Store
from tests.support.jobs import job_fields, make_job

CLEANED = {
    "v//p.jpg": "v/p.jpg",
    "/v/p.jpg": "v/p.jpg",
    "a/": "a",
    "p.jpg.json/": "p.jpg.json",
    "//": "",
    "./p.jpg": "p.jpg",
    "v/./p.jpg": "v/p.jpg",
    "v/.": "v",
    "v\\p.jpg": "v/p.jpg",
    "\\p.jpg": "p.jpg",
    "../p.jpg": "",
    "v/../p.jpg": "",
    "v\\..\\p.jpg": "",
    "..": "",
}
"""Keys that some store takes for another, and what to write instead; "": nobody can say."""
UNSEEN = {
    "control": "\x00\x01\t\n\r\x1b\x7f\x85\x9b",
    "separators of lines": "\u2028\u2029",
    "direction of writing": "\u200e\u200f\u061c\u202a\u202e\u2066\u2069",
    "shown as nothing": "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\U000e0041",
    "letters shown as nothing": "\u034f\u115f\u1160\u17b4\u180b\u180f\u3164\uffa0",
    "halves of characters": "\ud800\udfff",
    "no characters": "\ufffe\uffff\ufdd0\ufdef\U0001fffe\U0010ffff",
}
ALL_UNSEEN = [character for some in UNSEEN.values() for character in some]


UNLIKE_WHAT_IS_READ = [
    "s3://uploads/a\tb",
    "s3://upl\noads/a",
    "s3://uploads/a\r\n",
    " s3://uploads/a",
    "s3://uploads/%ff",
    "s3://uploads/a?versionId=%fe",
]
"""Addresses of which libraries leave something out, or put something else in its place."""


def where(path: str, value: str) -> dict[str, Any]:
    """A job whose text at `path` is `value`."""
    picture = {"bucket": "uploads", "key": "a.jpg"}
    match path:
        case "id" | "queue":
            return job_fields(**{path: value})
        case "label name":
            return job_fields(labels={value: "a"})
        case "label":
            return job_fields(labels={"a": value})
        case "preset" | "network" | "init":
            return job_fields(recipe={"method": "optimize", path: value})
        case "layer":
            return job_fields(recipe={"method": "optimize", "style_layers": {value: 1}})
        case "output key":
            return job_fields(output={"bucket": "results", "key": value})
        case "output bucket":
            return job_fields(output={"bucket": value})
        case "mask key":
            return job_fields(styles=[{"image": picture, "mask": {**picture, "key": value}}])
        case "keep key":
            return job_fields(keep_mask={**picture, "key": value})
        case "start key":
            start = {**picture, "key": value}
            return job_fields(recipe={"method": "optimize", "init": "image", "init_image": start})
        case "style key":
            return job_fields(styles=[{"image": {**picture, "key": value}}])
        case _:
            return job_fields(content={**picture, path: value})


TEXTS = (
    "id",
    "queue",
    "key",
    "bucket",
    "version_id",
    "label",
    "label name",
    "preset",
    "network",
    "init",
    "layer",
    "output key",
    "output bucket",
    "mask key",
    "keep key",
    "start key",
    "style key",
)
KEYS = [path for path in TEXTS if path.endswith("key")]


def refused(fields: dict[str, Any]) -> str:
    """By every way that a job is made or taken."""
    said = set()
    ways: list[Callable[[], Job]] = [
        partial(parse_job, fields, default_id="task"),
        partial(Job, **fields),
        partial(Job.model_validate, fields),
    ]
    for way in ways:
        with pytest.raises(InvalidJob) as raised:
            way()
        said.add(raised.value.message)
    assert all(message.isprintable() for message in said)
    return said.pop()


@pytest.mark.parametrize("path", TEXTS)
def test_no_text_of_a_job_holds_what_cannot_be_seen(path: str) -> None:
    for character in ALL_UNSEEN:
        for text in (f"a{character}", f"{character}a", f"a{character}a"):
            refused(where(path, text))


@pytest.mark.parametrize("text", ["ü 山水 🎨 a+b%2F.jpg", "عربي", "naïve", "a\u00a0b", "🖼\ufe0f"])
def test_what_can_be_seen_is_taken(text: str) -> None:
    assert make_job(labels={text: text}, content={"bucket": "uploads", "key": text}).content.key == text


def test_what_is_wrong_is_named() -> None:
    assert "a key holds U+202E RIGHT-TO-LEFT OVERRIDE" in refused(where("key", "gpj\u202eexe"))
    assert "U+000A" in refused(where("label", "a\nb"))


@pytest.mark.parametrize("path", KEYS)
def test_a_key_that_some_store_takes_for_another_is_refused(path: str) -> None:
    for key, cleaned in CLEANED.items():
        message = refused(where(path, key))
        assert "some stores take it for another key" in message, key
        assert message.endswith(f": write {cleaned!r}" if cleaned else "backslash)"), key
    with pytest.raises(InvalidJob, match=r"write 'v/p\.jpg'"):
        ImageRef.from_uri("s3://uploads/v//p.jpg")


@pytest.mark.parametrize("uri", UNLIKE_WHAT_IS_READ)
def test_an_address_is_read_as_it_is_written_or_not_at_all(uri: str) -> None:
    with pytest.raises(InvalidJob, match="s3://bucket/key"):
        ImageRef.from_uri(uri)


@given(st.lists(st.sampled_from(["", ".", "..", "a", "a.json", "\\", ".a", "a.", "ä"]), min_size=1).map("/".join))
def test_what_is_taken_is_its_own_path(key: str) -> None:
    try:
        check_key(key)
    except ValueError:
        assert "\\" in key or posixpath.normpath(f"root/{key}") != f"root/{key}"
    else:
        assert posixpath.normpath(f"root/{key}") == f"root/{key}"
        assert "\\" not in key


@pytest.mark.parametrize("path", KEYS)
def test_what_stores_keep_for_themselves_is_not_reached(path: str) -> None:
    """SeaweedFS keeps parts of uploads, and versions, beside the objects: who writes there alters another's object."""
    for key in (".uploads/1/0001.part", "a/.uploads/b", "photo.jpg.versions/v_1", ".versions/a"):
        assert "stores keep what is theirs there" in refused(where(path, key)), key


@pytest.mark.parametrize(
    "key", ["uploads/a", "a.uploads", "photo.versions", "versions/a", "..a", "a..", "a/...", "a b "]
)
def test_what_only_looks_so_is_taken(key: str) -> None:
    assert make_job(**{"output": {"bucket": "results", "key": key}}).output_key == key


@pytest.mark.parametrize("key", ["p.jpg.json", "p.jpg.JSON", "p.Report.PNG", ".json", "a/.report.png"])
def test_no_picture_lies_where_another_ones_event_would(key: str) -> None:
    refused(where("output key", key))
    refused(where("output key", f"{key}/"))
    assert parse_job(where("key", key), default_id="task").content.key == key, "it may be read"


def test_the_length_counts_in_bytes() -> None:
    for letter in ("x", "ü", "山", "🎨"):
        size_bytes = len(letter.encode())
        for most, path in ((MAX_KEY_BYTES, "key"), (MAX_OUTPUT_KEY_BYTES, "output key")):
            fits = letter * (most // size_bytes)
            parse_job(where(path, fits), default_id="task")
            refused(where(path, fits + letter))
    parse_job(where("version_id", "ü" * 512), default_id="task")
    refused(where("version_id", "ü" * 513))
    refused(where("version_id", ""))


def test_keys_that_only_look_alike_are_two_and_stay_so() -> None:
    """Nothing is normalised: a key is the bytes that its sender wrote, as in S3."""
    composed, decomposed = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    alike = [composed, decomposed, "É.jpg", "%C3%A9.jpg", "e.jpg", "\uff45.jpg"]
    outputs = [parse_job(where("output key", key), default_id="task").output.key for key in alike]
    assert outputs == alike
    assert len({job.canonical_json() for key in alike for job in [make_job(id="a", **where("key", key))]}) == len(alike)


def test_they_are_two_in_the_store_as_well(stack: Stack) -> None:
    client = Store(stack.settings)._client
    alike = [*(unicodedata.normalize(form, "same/é.jpg") for form in ("NFC", "NFD")), "same/É.jpg", "same/%C3%A9.jpg"]
    for key in alike:
        client.put_object(Bucket="results", Key=key, Body=key.encode())
    for key in alike:
        assert client.get_object(Bucket="results", Key=key)["Body"].read() == key.encode()
        client.delete_object(Bucket="results", Key=key)


NO_BUCKETS = [
    "ab",
    "a" * 64,
    "A-b",
    "a_b",
    "a..b",
    "10.0.0.1",
    "-ab",
    "ab-",
    ".ab",
    "xn--a",
    "sthree-a",
    "a/b",
    "a b",
    "é-a",
]


def test_what_is_no_buckets_name() -> None:
    for name in NO_BUCKETS:
        refused(where("bucket", name))
        refused(where("output bucket", name))
        with pytest.raises(InvalidJob):
            Output(bucket=name)
        with pytest.raises(InvalidSettings):
            Settings(read_buckets=[name])


@pytest.mark.parametrize("name", ["abc", "a" * 63, "a.b-c", "10.0.0", "10.0.0.1.2", "1-2"])
def test_what_is_one(name: str) -> None:
    assert parse_job(where("bucket", name), default_id="task").content.bucket == name


@pytest.mark.parametrize("which", ["read_buckets", "write_buckets"])
def test_no_job_reaches_what_others_have_half_done(which: str) -> None:
    with pytest.raises(InvalidSettings, match="STYLEQUEUE_WORK_BUCKET"):
        Settings.model_validate({which: ["work"]})


@pytest.mark.parametrize("path", ["key", "output key", "label", "bucket", "version_id"])
def test_what_was_recorded_before_is_still_read(path: str) -> None:
    value = {"bucket": "a..b", "label": "a\nb"}.get(path, "/v//p.jpg")
    fields = where(path, value)
    numbers = dict.fromkeys(("run", "attempt", "sequence", "fence", "created_ms", "updated_ms", "deadline_ms"), "1")
    texts = {"id": "a", "state": "queued", "queue": "paint", "task_id": "a", "job": json.dumps(fields)}
    record = Record.from_redis({**texts, "labels": json.dumps(fields.get("labels", {})), **numbers})
    assert record.status.job == fields
    assert record.status.labels == fields.get("labels", {})
    assert record.needs == () or path == "version_id"
