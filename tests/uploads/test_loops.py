"""No rule takes up what a rule writes: refused when it starts, however the keys come about."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stylequeue.contract.errors import InvalidSettings
from stylequeue.contract.objects import event_key, report_key, thumbnail_key
from stylequeue.operator_file import Operator, Rule, Template
from stylequeue.settings import Settings
from stylequeue.uploads.loops import Written, loops
from stylequeue.uploads.notices import Notice
from stylequeue.uploads.rules import Placeholders, Rules, WholeRule

SETTINGS = Settings(read_buckets=("uploads", "photos"), write_buckets=("results", "uploads", "photos"))
STYLES = 'styles = ["s3://styles/w.jpg"]\n'


def rule(name: str, watched: str, output: str = "", more: str = "") -> str:
    bucket, _, prefix = watched.partition("/")
    return (
        f'[[rule]]\nname = "{name}"\nbucket = "{bucket}"\nprefix = "{prefix}"\n{STYLES}{more}\noutput = {{{output}}}\n'
    )


def refused(text: str) -> bool:
    try:
        Rules(Operator.parse(text, name="operator.toml"), SETTINGS)
    except InvalidSettings as error:
        return "may be an upload to rule" in error.message
    return False


@pytest.mark.parametrize(
    ("watched", "output", "more", "is_loop"),
    [
        ("uploads/in/", "", "", False),
        ("uploads/in/", 'bucket = "uploads"', "", True),
        ("uploads/in/", 'bucket = "uploads", key = "out/{stem}-{version}"', "", False),
        ("uploads/in/", 'bucket = "uploads", key = "out/{key}-{version}"', "", False),
        ("uploads/in/", 'bucket = "uploads", key = "{key}-{version}"', "", True),
        ("uploads/in/", 'bucket = "uploads", key = "{dir}-painted/{stem}-{version}"', "", True),
        ("uploads/in/", 'bucket = "uploads", key = "{dir}/painted/{stem}-{version}"', "", True),
        ("uploads/in/a", 'bucket = "uploads", key = "{dir}/{version}"', "", True),
        ("uploads/in", 'bucket = "uploads", key = "in-painted/{stem}-{version}"', "", True),
        ("uploads/", 'bucket = "uploads", key = "out/{stem}-{version}"', "", True),
        ("uploads/in/", 'bucket = "uploads", key = "{stem}-{version}"', "", True),
        ("uploads/in/", 'bucket = "uploads", key = "i{stem}-{version}"', "", True),
        ("uploads/in/", 'bucket = "uploads", key = "o{stem}-{version}"', "", False),
        ("uploads/in/", 'bucket = "uploads", key = "{meta.to}/{version}"', "", True),
        ("uploads/in/", 'bucket = "uploads", key = "{date}/{version}"', "", True),
        ("uploads/in/", 'bucket = "uploads", key = "{{in}}/{version}"', "", False),
        # By how they end: also what lies beside the picture.
        ("uploads/in/", 'bucket = "uploads"', 'suffix = ".png"', False),
        ("uploads/in/", 'bucket = "uploads", format = "png"', 'suffix = ".png"', True),
        ("uploads/in/", 'bucket = "uploads", report = true', 'suffix = ".png"', True),
        ("uploads/in/", 'bucket = "uploads"', 'suffix = ".webp"', False),
        ("uploads/in/", 'bucket = "uploads", thumbnail = true', 'suffix = ".webp"', True),
        ("uploads/in/", 'bucket = "uploads"', 'suffix = ".JSON"', True),
        ("uploads/in/", 'bucket = "uploads"', 'suffix = "g"', True),
        ("uploads/in/", 'bucket = "uploads", key = "{dir}/{version}"', 'suffix = ".png"', True),
        ("uploads/in/", 'bucket = "uploads", key = "{dir}/{version}.PNG"', 'suffix = ".png"', True),
        ("uploads/in/", 'bucket = "uploads", key = "{dir}/{version}.{ext}"', 'suffix = ".png"', True),
    ],
)
def test_a_rule_that_may_take_up_its_own_pictures_is_refused(
    watched: str, output: str, more: str, is_loop: bool
) -> None:
    assert refused(rule("one", watched, output, more)) is is_loop


def test_nor_may_one_take_up_anothers() -> None:
    there = rule("there", "uploads/in/", 'bucket = "photos", key = "raw/{version}"')
    assert not refused(there)
    assert not refused(there + rule("back", "photos/done/"))
    assert refused(there + rule("back", "photos/raw/"))
    beside = rule("beside", "uploads/in/", 'bucket = "uploads", key = "{dir}-painted/{version}.png"', 'suffix = ".jpg"')
    assert not refused(beside)
    assert refused(beside + rule("back", "uploads/in-painted/"))


def test_where_a_template_puts_them_counts_as_well() -> None:
    template = (
        '[template.t]\nstyles = ["s3://styles/w.jpg"]\noutput = {bucket = "uploads", key = "KEY", report = true}\n'
    )
    watching = '[[rule]]\nname = "a"\nbucket = "uploads"\nprefix = "in/"\ntemplate = "t"\ntenant = "acme"\n'
    assert refused(template.replace("KEY", "in/{id}.jpg") + watching)
    assert not refused(template.replace("KEY", "out/{id}.jpg") + watching)
    assert not refused(template.replace("KEY", "{tenant}/{id}.jpg") + watching)
    assert refused(template.replace("KEY", "{tenant}/{id}.jpg") + watching.replace('"in/"', '"acme/"'))
    assert refused(template.replace("KEY", "in/{id}.jpg") + watching + 'suffix = ".report.png"\n')


# Whatever is made of a pattern, and is for a rule, was foreseen.

PIECES = [
    "in/",
    "in",
    "i",
    "out/",
    "/",
    "{dir}",
    "{key}",
    "{stem}",
    "{ext}",
    "{version}",
    "{format}",
    "{meta.a}",
    ".jpg",
    "x",
]
KEYS = st.lists(st.sampled_from(["in/", "in", "i", "out/", "x", ".jpg", ".png", ".", "/"]), min_size=1, max_size=6)
PREFIXES = st.sampled_from(["", "in/", "in", "i", "in/x", "inx", "out/", "in/in/", "x"])


def some_rule(prefix: str, suffix: list[str], **more: Any) -> Rule:
    fields = {"name": "r", "bucket": "uploads", "prefix": prefix, "suffix": suffix, "template": "t"}
    return Rule.model_validate({**fields, **more})


@settings(max_examples=500, deadline=None)
@given(
    pattern=st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join),
    key=KEYS.map("".join),
    meta=KEYS.map("".join),
    prefix=PREFIXES,
    watched=PREFIXES,
    suffix=st.lists(st.sampled_from([".jpg", ".png", ".json", "x", ".report.png", "g"]), max_size=1),
)
@example("{dir}/{stem}", "in/x", "", "in/", "in/", [])
@example("{dir}{stem}", "x", "", "", "x", [])
@example("a{dir}/{stem}", "x", "", "", "ax", [])
def test_no_key_that_a_pattern_becomes_is_for_a_rule_unforeseen(
    pattern: str, key: str, meta: str, prefix: str, watched: str, suffix: list[str]
) -> None:
    if not key.startswith(prefix):
        return
    notice = Notice("here", "uploads", key, etag='"e"', metadata={"a": meta})
    made = Placeholders(notice, "jpeg").into(pattern)
    other = some_rule(watched, suffix)
    watching = WholeRule(other, Template(), "results", None, "jpeg", "bulk")
    written = Written("uploads", pattern, prefix=prefix, tenant=None, format="jpeg", report=True, thumbnail=True)
    keys = [made, event_key(made), report_key(made), thumbnail_key(made)]
    if any(not watching.why_not(Notice("here", "uploads", one)) for one in keys):
        assert list(loops(written, [other])) == [other], keys


@settings(max_examples=100, deadline=None)
@given(
    pattern=st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join), prefix=PREFIXES, watched=PREFIXES
)
def test_what_cannot_come_about_is_not_refused(pattern: str, prefix: str, watched: str) -> None:
    """How a pattern's keys begin is known as far as it says: another beginning is no loop."""
    written = Written(
        "uploads", f"apart/{pattern}", prefix=prefix, tenant=None, format="jpeg", report=False, thumbnail=False
    )
    assert bool(list(loops(written, [some_rule(watched, [])]))) is ("apart/".startswith(watched))
