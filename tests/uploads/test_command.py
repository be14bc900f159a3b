"""`stylequeue rules`: what the rules are, and what they would make of an upload."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from stylequeue.client import StyleQueue
from stylequeue.local import environment
from stylequeue.settings import Settings
from stylequeue.uploads.notices import Notice
from tests.support import pictures
from tests.support.command import BAD_INPUT, JOB_FAILED, Command
from tests.uploads.conftest import TEMPLATES, WAVE, Operated
from tests.uploads.test_intake import taken

TWO = (
    TEMPLATES
    + """
[[rule]]
name = "png"
bucket = "uploads"
prefix = "trial/"
suffix = ".png"
template = "wave"

[[rule]]
name = "album"
bucket = "uploads"
prefix = "trial/"
metadata = {album = "*"}
template = "wave"
continue = true
output = {key = "albums/{meta.album}/{stem}-{version}.{format}"}

[[rule]]
name = "all"
bucket = "uploads"
prefix = "trial/"
template = "wave"
tenant = "acme"

[[rule]]
name = "last"
bucket = "uploads"
prefix = "trial/"
template = "wave"
"""
)


@pytest.fixture
def rules(operated: Operated) -> Command:
    return Command(environment(operated(TWO)))


@pytest.fixture
def there(settings: Settings) -> Iterator[str]:
    """An upload."""
    with StyleQueue(settings) as queue:
        store = queue._store._client
        key = "trial/my photo+1.jpg"
        store.put_object(Bucket="uploads", Key=key, Body=pictures.jpeg(), Metadata={"album": "summer"})
        yield "s3://uploads/trial/my%20photo+1.jpg"
        store.delete_object(Bucket="uploads", Key=key)


def test_check_lists_them(rules: Command) -> None:
    lines = rules("rules", "check").stdout.splitlines()
    assert lines[0] == "png  s3://uploads/trial/*.png  to  s3://results/{dir}/{stem}-{version}.{format}"
    assert lines[1].endswith("s3://results/albums/{meta.album}/{stem}-{version}.{format}, and goes on")
    listed = json.loads(rules("rules", "check", "--json").stdout)
    assert [rule["rule"] for rule in listed] == ["png", "album", "all", "last"]
    assert listed[2]["tenant"] == "acme"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("prefix", "perfix"), "perfix: Extra inputs are not permitted"),
        (("{stem}-{version}", "{stem}"), "without {version}"),
        (('"uploads"', '"private"'), "READ_BUCKETS"),
    ],
)
def test_check_says_what_is_wrong_and_where(operated: Operated, change: tuple[str, str], said: str) -> None:
    bad = Command(environment(operated(TWO.replace(*change))))
    told = bad("rules", "check", exit_code=BAD_INPUT).stderr
    assert said in told
    assert "line " in told


def test_test_prints_the_job_or_why_there_is_none(rules: Command, there: str, settings: Settings) -> None:
    lines = rules("rules", "test", there).stdout.splitlines()
    assert lines[0] == "png: it is for keys that end in .png"
    assert lines[1].startswith("album: job ")
    assert json.loads(lines[2])["output"]["key"].startswith("albums/summer/my photo+1-")
    assert lines[3].startswith("all: job ")
    assert lines[5] == "last: rule 'all' has it, and does not continue"
    with StyleQueue(settings) as queue:
        assert queue.jobs() == [], "nothing was made"


def test_test_answers_programs_too(rules: Command, there: str) -> None:
    said = json.loads(rules("rules", "test", there, "--json").stdout)
    assert [(one["rule"], one["job"] is None) for one in said] == [
        ("png", True),
        ("album", False),
        ("all", False),
        ("last", True),
    ]
    assert said[1]["job"]["content"]["etag"]


def test_what_lies_nowhere_is_tried_by_its_name(rules: Command) -> None:
    done = rules("rules", "test", "s3://uploads/trial/none.png")
    assert "nothing lies there" in done.stderr
    assert done.stdout.splitlines()[0].startswith("png: job ")


def test_where_no_rule_has_it_that_is_told_by_the_exit_code(rules: Command) -> None:
    done = rules("rules", "test", "s3://uploads/other/none.png", exit_code=JOB_FAILED)
    assert len(done.stdout.splitlines()) == 4
    part = rules("rules", "test", "s3://uploads/trial/none.jpg.part", exit_code=JOB_FAILED).stdout
    assert "all: it has the upload, and refuses it: by its name it is not whole yet" in part


def test_the_id_is_the_one_that_the_upload_will_have(operated: Operated, there: str) -> None:
    settings = operated(WAVE.replace("in/", "trial/"))
    said = Command(environment(settings))("rules", "test", there).stdout.splitlines()[0]
    [outcome] = taken(settings, Notice("here", "uploads", "trial/my photo+1.jpg"))
    assert said == f"wave: job {outcome.jobs[0]}"


def test_what_was_refused_is_among_the_events_that_the_command_shows(operated: Operated) -> None:
    settings = operated(WAVE)
    taken(settings, Notice("here", "uploads", "in/empty.jpg", etag='"e"', size_bytes=0))
    command = Command(environment(settings))
    [line] = command("events", "--type", "refused").stdout.splitlines()
    assert "refused   [image_empty] s3://uploads/in/empty.jpg: it has no bytes (upload it again)" in line
    [event] = map(json.loads, command("events", "--json").stdout.splitlines())
    assert event["type"] == "io.stylequeue.upload.refused.v1"
