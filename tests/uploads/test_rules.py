"""Which rule has an upload, and which job it then is."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from stylequeue.contract.errors import InvalidSettings, Permanent
from stylequeue.contract.events import NAMESPACE
from stylequeue.operator_file import Operator
from stylequeue.settings import Settings
from stylequeue.uploads.notices import Notice
from stylequeue.uploads.rules import Placeholders, Rules, WholeRule
from tests.uploads.conftest import TEMPLATES, WAVE

SETTINGS = Settings(write_buckets=("results", "uploads"))
AT = datetime(2026, 11, 26, 9, 37, tzinfo=UTC)


def rules_of(text: str, settings: Settings = SETTINGS) -> Rules:
    return Rules(Operator.parse(text, name="operator.toml"), settings)


def upload(key: str = "in/photo.jpg", **more: Any) -> Notice:
    return Notice("here", "uploads", key, **{"etag": '"e1"', "size_bytes": 1000, "event_time": AT, **more})


def having(rules: Rules, notice: Notice) -> list[str]:
    return [rule.rule.name for rule in rules.first(rules.candidates(notice))]


def fields(text: str, notice: Notice) -> Mapping[str, Any]:
    rules = rules_of(text)
    rule: WholeRule = rules.first(rules.candidates(notice))[0]
    return rule.fields(notice)


# Which rule

MANY = (
    TEMPLATES
    + """
[[rule]]
name = "small"
bucket = "uploads"
prefix = "in/"
max_bytes = 99
template = "wave"

[[rule]]
name = "summer"
bucket = "uploads"
prefix = "in/"
metadata = {Album = "summer"}
template = "wave"
continue = true

[[rule]]
name = "signed"
bucket = "uploads"
prefix = "in/"
metadata = {by = "*"}
template = "wave"

[[rule]]
name = "png"
bucket = "uploads"
prefix = "in/"
suffix = [".png", ".PNG8"]
template = "wave"

[[rule]]
name = "large"
bucket = "uploads"
prefix = "in/"
min_bytes = 1000
template = "wave"
"""
)


@pytest.mark.parametrize(
    ("notice", "names"),
    [
        (upload(), ["large"]),
        (upload(size_bytes=999, metadata={}), []),
        (upload(size_bytes=99), ["small"]),
        (upload(metadata={"album": "summer"}), ["summer", "large"]),
        (upload(metadata={"album": "summer", "by": "me"}), ["summer", "signed"]),
        (upload(metadata={"album": "winter"}), ["large"]),
        (upload("in/a.PNG", metadata={}), ["png"]),
        (upload("in/a.png8", metadata={}), ["png"]),
        (upload("out/a.png", metadata={}), []),
        (upload("IN/a.png", metadata={}), []),
    ],
)
def test_the_first_that_fits_has_it_and_what_is_behind_one_that_continues(notice: Notice, names: list[str]) -> None:
    notice = notice if notice.metadata is not None else upload(notice.key, size_bytes=notice.size_bytes, metadata={})
    assert having(rules_of(MANY), notice) == names


def test_what_a_notice_does_not_know_rules_nothing_out() -> None:
    rules = rules_of(MANY)
    names = [rule.rule.name for rule in rules.candidates(upload(size_bytes=None))]
    assert names == ["small", "summer", "signed", "large"]
    assert [rule.rule.name for rule in rules.all if rule.needs_metadata] == ["summer", "signed"]


def test_why_a_rule_is_not_for_an_upload_is_said() -> None:
    small, summer, _, png, large = rules_of(MANY).all
    assert "99 bytes at most" in small.why_not(upload())
    assert "'summer'" in summer.why_not(upload(metadata={"album": "winter"}))
    assert ".png" in png.why_not(upload())
    assert "1000 bytes at least" in large.why_not(upload(size_bytes=9))
    assert "begin with 'in/'" in large.why_not(upload("x.jpg"))
    assert "bucket 'uploads'" in large.why_not(Notice("here", "styles", "in/x.jpg"))


# Which job


def test_golden_job_of_the_simplest_rule() -> None:
    assert fields(WAVE, upload("in/2026/my photo.jpg")) == {
        "id": str(uuid.uuid5(NAMESPACE, 'upload\nwave\nuploads\n"e1"\nin/2026/my photo.jpg')),
        "content": {"bucket": "uploads", "key": "in/2026/my photo.jpg", "etag": '"e1"'},
        "output": {"bucket": "results", "key": "in/2026/my photo-0e7683d7.jpg"},
        "queue": "bulk",
        "labels": {},
    }


GOLDEN = """
[[rule]]
name = "golden"
bucket = "uploads"
prefix = "in/"
styles = ["s3://styles/wave.jpg", {image = "s3://styles/night.jpg", weight = 0.5}]
recipe = {method = "optimize", preset = "brushwork", size = 512}
output = {bucket = "results", key = "OUT", format = "png", overwrite = true, report = true}
labels = {from = "{key}", day = "{date}", who = "{meta.Owner}"}
queue = "paint"
tenant = "acme"
"""


def test_golden_job_of_a_rule_that_says_all() -> None:
    made = fields(GOLDEN.replace("OUT", "{dir}/{stem}.{format}"), upload(version="v7", metadata={"owner": "ann"}))
    assert made["content"] == {"bucket": "uploads", "key": "in/photo.jpg", "version_id": "v7", "etag": '"e1"'}
    assert made["output"] == {
        "bucket": "results",
        "key": "in/photo.png",
        "format": "png",
        "overwrite": True,
        "report": True,
    }
    assert made["labels"] == {"from": "in/photo.jpg", "day": "2026-11-26", "who": "ann"}
    assert made["queue"] == "paint"
    assert [style.weight for style in made["styles"]] == [1, 0.5]
    assert made["recipe"].preset == "brushwork"


@pytest.mark.parametrize(
    ("pattern", "key", "made"),
    [
        ("{dir}/{stem}-{version}.{format}", "in/a/b.c.jpg", "in/a/b.c-22a706ae.png"),
        ("{dir}/{stem}.{ext}.{format}", "in/b.JPG", "in/b.JPG.png"),
        ("{dir}/{stem}.{format}", "in/noext", "in/noext.png"),
        ("{dir}/{stem}.{format}", "in/.hidden", "in/.hidden.png"),
        ("{dir}/x-{ext}.{format}", "in/noext", "in/x-.png"),
        ("all/{key}.{format}", "in/a b+c.jpg", "all/in/a b+c.jpg.png"),
        ("{date}/{stem}.{format}", "in/wäve.jpg", "2026-11-26/wäve.png"),
        ("{meta.Album}/{stem}.{format}", "in/a.jpg", "summer/a.png"),
        ("{{{stem}}}.{format}", "in/a.jpg", "{a}.png"),
        ("out/{dir}/{stem}.{format}", "in/a.jpg", "out/in/a.png"),
    ],
)
def test_golden_outputs(pattern: str, key: str, made: str) -> None:
    text = GOLDEN.replace("OUT", pattern)
    notice = upload(key, version="v7", metadata={"album": "summer", "owner": "ann"})
    assert fields(text, notice)["output"]["key"] == made


@pytest.mark.parametrize(
    ("pattern", "made"),
    [
        ("{dir}/{stem}-{version}.{format}", "photo-22a706ae.jpg"),
        ("out/{dir}/{stem}", "out/photo"),
        ("{dir}/{dir}/{stem}", "photo"),
        ("a{dir}/{key}", "aphoto.jpg"),
    ],
)
def test_what_lies_in_no_folder_goes_into_none(pattern: str, made: str) -> None:
    assert Placeholders(upload("photo.jpg", version="v7"), "jpeg").into(pattern) == made


def test_metadata_that_an_upload_lacks_is_a_reason_to_refuse_it() -> None:
    with pytest.raises(Permanent, match="has no 'owner'"):
        fields(GOLDEN.replace("OUT", "{key}.png"), upload(metadata={"album": "summer"}))


def test_what_a_rule_leaves_out_is_its_templates() -> None:
    template = TEMPLATES + 'queue = "paint"\noutput = {format = "webp", bucket = "uploads"}\n'
    rule = WAVE.removeprefix(TEMPLATES).replace("in/", "in/deep/")
    text = template + rule + 'output = {key = "out/{stem}-{version}.{format}"}'
    made = fields(text, upload("in/deep/a.jpg"))
    assert made["queue"] == "paint"
    assert made["output"] == {"bucket": "uploads", "key": "out/a-0e7683d7.webp"}


def test_the_key_of_its_templates_pictures_is_left_to_the_template() -> None:
    template = '[template.wave]\nstyles = ["s3://styles/w.jpg"]\noutput = {key = "cards/{id}.jpg"}\n'
    assert fields(template + WAVE.removeprefix(TEMPLATES), upload())["output"] == {"bucket": "results"}


# Whose id


def test_one_object_version_is_one_job_of_a_rule() -> None:
    [rule] = rules_of(WAVE).all
    [other] = rules_of(WAVE.replace('"wave"\nbucket', '"other"\nbucket')).all
    assert other.rule.name == "other"
    one = rule.job_id(upload(sequencer="1"))
    assert one == rule.job_id(Notice("there", "uploads", "in/photo.jpg", etag='"e1"', sequencer="2"))
    ids = [
        one,
        other.job_id(upload()),
        rule.job_id(upload("in/other.jpg")),
        rule.job_id(upload(etag='"e2"')),
        rule.job_id(upload(version="v1")),
        rule.job_id(upload(version="v2")),
        rule.job_id(Notice("here", "other", "in/photo.jpg", etag='"e1"')),
    ]
    assert len(set(ids)) == len(ids)
    assert rule.job_id(upload(version="v1", etag='"e2"')) == rule.job_id(upload(version="v1"))


# What is refused when it starts

HEAD = '[[rule]]\nname = "a"\nbucket = "uploads"\nprefix = "in/"\n'
STYLES = 'styles = ["s3://styles/w.jpg"]\n'


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('[[rule]]\nbucket = "uploads"\n' + STYLES, 1, "name: Field required"),
        ('[[rule]]\nname = "a"\n' + STYLES, 1, "bucket: Field required"),
        ('[[rule]]\nname = "a b"\nbucket = "uploads"\n' + STYLES, 2, "should match pattern"),
        ('[[rule]]\nname = "a"\nbucket = "Up_loads"\n' + STYLES, 3, "should match pattern"),
        (HEAD, 1, "neither a template nor styles"),
        (HEAD + STYLES + 'colour = "red"\n', 6, "Extra inputs are not permitted"),
        (HEAD + STYLES + 'prefix = "x"\n', 6, "Cannot overwrite"),
        (HEAD + 'styles = ["wave.jpg"]\n', 5, "no S3 address"),
        (HEAD + STYLES + "min_bytes = 9\nmax_bytes = 3\n", 1, "min_bytes is over max_bytes"),
        (HEAD + STYLES + 'suffix = [".jpg", ""]\n', 6, "is empty"),
        ('[[rule]]\nname = "a"\nbucket = "uploads"\nprefix = "/in"\n' + STYLES, 4, "does not begin with '/'"),
        (HEAD + STYLES + 'output = {key = "{dir}/{name}.jpg"}\n', 6, "{name} is no placeholder: there are {dir}"),
        (HEAD + STYLES + 'output = {key = "{dir}/{meta}.jpg"}\n', 6, "{meta} is no placeholder"),
        (HEAD + STYLES + 'output = {key = "{stem!r}-{version}"}\n', 6, "no ':' and no '!'"),
        (HEAD + STYLES + 'output = {key = "{stem"}\n', 6, "expected '}'"),
        (HEAD + STYLES + 'output = {key = "{dir}/{stem}.jpg"}\n', 6, "without {version}"),
        (HEAD + STYLES + 'output = {key = "a//{version}"}\n', 6, "empty parts"),
        (HEAD + STYLES + 'output = {key = "{version}.json"}\n', 6, "does not end in .json"),
        (HEAD + STYLES + 'output = {format = "gif"}\n', 6, "'jpeg', 'png' or 'webp'"),
        (HEAD + STYLES + 'labels = {a = "{nope}"}\n', 6, "{nope} is no placeholder"),
        (HEAD + STYLES + 'queue = "slow"\n', 6, "'fast', 'paint' or 'bulk'"),
        (HEAD + STYLES + 'on_missing = "retry"\n', 6, "'drop' or 'dead'"),
        (HEAD + STYLES + "recipe = {method = 'optimize', steps = 0}\n", 6, "greater than or equal"),
        (HEAD + STYLES + "\n" + HEAD + STYLES, 1, "two of the name 'a'"),
        # What takes the settings, or other tables, to be seen.
        ('[[rule]]\nname = "a"\nbucket = "private"\n' + STYLES, 3, "not among STYLEQUEUE_READ_BUCKETS"),
        (HEAD + STYLES + 'output = {bucket = "private"}\n', 6, "not among STYLEQUEUE_WRITE_BUCKETS"),
        (HEAD + 'template = "nope"\n', 5, "'nope' is no template, there are: none"),
        ("[template.t]\n" + HEAD + 'template = "t"\n', 6, "neither the rule nor template 't' has styles"),
        (
            '[template.t]\nstyles = ["s3://styles/w.jpg"]\noutput = {key = "{tenant}/{id}"}\n'
            + HEAD
            + 'template = "t"\n',
            8,
            "is for tenants' jobs",
        ),
        (HEAD + STYLES + 'notify = ["crm"]\n', 6, "'crm' is no endpoint"),
        (HEAD + STYLES + 'output = {bucket = "uploads"}\n', 1, "may be an upload to rule 'a'"),
    ],
)
def test_each_bad_file_has_its_line_and_reason(text: str, line: int, reason: str) -> None:
    with pytest.raises(InvalidSettings) as raised:
        rules_of(text)
    assert f"line {line}" in raised.value.message
    assert reason in raised.value.message


def test_two_rules_that_have_an_upload_do_not_write_one_key() -> None:
    first = HEAD + STYLES + "continue = true\n"
    second = HEAD.replace('"a"', '"b"') + STYLES
    keys = [rule.fields(upload())["output"]["key"] for rule in rules_of(first + second).all]
    assert keys == ["in/photo-0e7683d7.jpg", "in/photo-0e7683d7-b.jpg"], "of which neither says where"
    apart = [
        HEAD + STYLES + second,
        first + second.replace('"in/"', '"other/"'),
        first + second + 'output = {format = "png"}\n',
    ]
    for text in apart:
        assert [rule.output_key for rule in rules_of(text).all] == ["{dir}/{stem}-{version}.{format}"] * 2
    same = 'output = {key = "out/{stem}-{version}.{format}"}\n'
    with pytest.raises(InvalidSettings, match=r"line 8: rule.1: it writes what rule 'a' writes"):
        rules_of(first + same + second + same)


def test_every_fault_is_told_at_once() -> None:
    bad = '[[rule]]\nname = "a"\nbucket = "private"\ntemplate = "nope"\n'
    with pytest.raises(InvalidSettings) as raised:
        rules_of(bad + bad.replace('"a"', '"b"'))
    assert raised.value.message.count("line") == 4


def test_a_tenants_rule_names_its_own_endpoints_alone() -> None:
    endpoint = '[endpoint.crm]\nsqs = "https://sqs.example/q"\ntenant = "acme"\n'
    rule = HEAD + STYLES + 'notify = ["crm"]\n'
    with pytest.raises(InvalidSettings, match="no endpoint"):
        rules_of(endpoint + rule)
    assert rules_of(endpoint + rule + 'tenant = "acme"\n').all[0].rule.notify == ("crm",)


def test_the_fields_are_plain_for_whoever_hands_them_in() -> None:
    """What `StyleQueue.job` takes, it may take as JSON as well."""
    made = fields(WAVE, upload())
    assert json.loads(json.dumps(made)) == made
