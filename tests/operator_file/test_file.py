"""The operator's file: what it says is in force soon, and what cannot be read leaves what it said before."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from stylequeue.contract.errors import InvalidSettings
from stylequeue.operator_file import Operator, OperatorFile, editing

WAVE = """
# what the shop sells
[template.wave]
styles = ["s3://styles/wave.jpg"]
"""

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
SECRETS = f'secrets = ["{SECRET}"]\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "operator.toml"
    path.write_text(WAVE)
    return path


def test_a_change_is_in_force_at_the_next_look(path: Path) -> None:
    file = OperatorFile(path)
    assert list(file.now.templates) == ["wave"]
    path.write_text(
        WAVE + '[tenant.acme]\nrate_per_s = 5\n[endpoint.crm]\nurl = "https://crm.example/hook"\n' + SECRETS
    )
    assert file.now.tenants["acme"].rate_per_s == 5
    assert file.now.endpoints["crm"].url == "https://crm.example/hook"


@pytest.mark.parametrize(
    "broken", ["[template.wave", "\ufffe".encode("utf-16"), '[template.wave]\nstyle = "x"\n', None]
)
def test_a_broken_one_leaves_what_was_said_before(
    path: Path, broken: str | bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = OperatorFile(path)
    before = file.now
    with caplog.at_level(logging.ERROR):
        if broken is None:
            path.unlink()
        else:
            path.write_bytes(broken.encode() if isinstance(broken, str) else broken)
        assert file.now == before
        assert file.now == before
    [line] = caplog.messages
    assert "stays in force" in line
    assert str(path) in line
    assert str(file.fault) in line
    path.write_text(WAVE.replace("wave", "night"))
    assert list(file.now.templates) == ["night"]
    assert file.fault is None


def test_one_that_could_never_be_read_says_nothing(path: Path) -> None:
    path.write_text("[\n")
    file = OperatorFile(path)
    for _ in range(2):
        with pytest.raises(InvalidSettings, match="line 1"):
            _ = file.now
    path.write_text(WAVE)
    assert list(file.now.templates) == ["wave"]


def test_without_a_file_nothing_is_said() -> None:
    assert OperatorFile(None).now == Operator()


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("[template.a]\n[template.a]\n", 2, "Cannot declare"),
        ("\n\n[templates.a]\n", 3, "templates: Extra inputs"),
        (
            '[template.a]\nlabels = {x = "y"}\nstyles = [\n  "s3://styles/a.jpg",\n  "styles/b.jpg",\n]\n',
            3,
            "no S3 address",
        ),
        ('[template.a]\n[template.a.recipe]\nmethod = "fast"\n\nsize = 9\n', 5, "greater than or equal to 16"),
        ('[template.a]\nrecipe.method = "fast"\nrecipe.steps = 7\n', 3, "Extra inputs"),
        (
            '[template.a]\n[[template.a.styles]]\nimage = "s3://styles/a.jpg"\n[[template.a.styles]]\nweight = 2\n',
            4,
            "Field req",
        ),
        ('[template.a.output]\nkey = "{stem}.jpg"\n', 2, "{stem} is no placeholder"),
        ('[template.a.output]\nkey = "{id.__class__}.jpg"\n', 2, "is no placeholder"),
        ('[template.a.output]\nkey = "a.jpg"\n', 1, "without {id}"),
        ('[template.a.output]\nkey = "../{id}.jpg"\n', 2, "some stores take it for another"),
        ("[tenant.acme]\nrate_per_s = 0\n", 2, "greater than 0"),
        ('[tenant."a b"]\n', 1, "pattern"),
        (f"[endpoint.crm]\n{SECRETS}", 1, "is a webhook (url), or one of"),
        ('[endpoint.crm]\nurl = "https://a.example"\nsecrets = ["whsec_c2VjcmV0"]\n', 3, "is no secret"),
        ('[endpoint.crm]\nurl = """\nhttps://a.example"""\n\nsecret = "whsec_c2VjcmV0"\n', 5, "secret: Extra inputs"),
        ('[source.a]\nsweep = "s3://uploads/"\nbuckets = ["other"]\n', 1, "a sweep tells of the bucket"),
        ('[source.a]\nsqs = "https://sqs.example/a"\nbuckets = []\n', 3, "at least 1 item"),
        ('[[watch]]\nbucket = "uploads"\n', 1, "watch: Extra inputs"),
    ],
)
def test_each_fault_has_its_line_and_reason_and_no_secret(text: str, line: int, reason: str) -> None:
    with pytest.raises(InvalidSettings) as raised:
        Operator.parse(text, name="the file")
    assert f"line {line}" in raised.value.message
    assert reason in raised.value.message
    assert "c2VjcmV0" not in str(raised.value)


def test_an_edit_leaves_comments_and_rights_as_they_are(path: Path) -> None:
    path.chmod(0o640)
    with editing(path) as document:
        document.setdefault("endpoint", {})["crm"] = {"url": "https://crm.example/hook", "secrets": [SECRET]}
    text = path.read_text()
    assert "# what the shop sells" in text
    assert list(OperatorFile(path).now.endpoints) == ["crm"]
    assert path.stat().st_mode & 0o777 == 0o640
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, f".{path.name}.lock"}


def test_an_edit_that_would_break_it_is_not_made(path: Path) -> None:
    with pytest.raises(InvalidSettings, match="is a webhook"), editing(path) as document:
        document.setdefault("endpoint", {})["crm"] = {"events": ["failed"]}
    with suppress(ZeroDivisionError), editing(path) as document:
        document.clear()
        1 / 0  # noqa: B018
    assert path.read_text() == WAVE


def test_one_that_is_broken_is_not_edited(path: Path) -> None:
    path.write_text("[endpoint.crm]\nurl = 7\n")
    with pytest.raises(InvalidSettings, match="line 2"), editing(path) as document:
        document["endpoint"]["crm"]["secrets"]  # of which there are none


def test_the_first_edit_makes_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    with editing(path) as document:
        document["endpoint"] = {"crm": {"url": "https://crm.example/hook", "secrets": [SECRET]}}
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidSettings, match="no such file"), editing(tmp_path / "nowhere" / "new.toml"):
        pass


def test_of_many_edits_none_is_lost(path: Path) -> None:
    def add(number: int) -> None:
        with editing(path) as document:
            document.setdefault("tenant", {})[f"t{number}"] = {"open_jobs": number}

    threads = [threading.Thread(target=add, args=(number,)) for number in range(1, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(OperatorFile(path).now.tenants) == 10
