"""Where the picture goes: refused before anything is submitted; what is still in the way afterwards is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stylequeue.cli import app, files
from stylequeue.cli.waiting import fetch, going_on
from stylequeue.contract.errors import (
    Code,
    ExitCode,
    FileUnusable,
    Interrupted,
    InvalidRequest,
    StyleQueueError,
    Unavailable,
)
from stylequeue.contract.events import StoredPicture
from stylequeue.contract.objects import ImageRef
from stylequeue.contract.recipe import FAST_DEFAULTS
from stylequeue.contract.status import JobResult
from tests.support.jobs import NO_REPORT

TO_BE_READ = "s3://uploads/photo.jpg"


def submit(*arguments: str | Path) -> Result:
    """Of what is refused without asking anybody: nobody would answer."""
    command = ["submit", "--content", TO_BE_READ, "--style", TO_BE_READ, *map(str, arguments)]
    return CliRunner(env={"STYLEQUEUE_REDIS_URL": "redis://127.0.0.1:1/0", "COLUMNS": "200"}).invoke(app, command)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere/out.jpg", "no such file or directory"),
        ("file/out.jpg", "not a directory"),
        ("directory", "is a directory"),
        ("directory.jpg", "is a directory"),
        ("pipe.jpg", "is no ordinary file"),
        ("out.bmp", "not made as .bmp"),
        ("out.TIFF", "not made as .tiff"),
        ("out.txt", "no picture has the suffix .txt"),
        ("n" * 250 + ".jpg", "name too long"),
        ("n" * 300, "name too long"),
    ],
)
def test_a_target_that_cannot_be_is_refused_first(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    before = sorted(tmp_path.iterdir())
    refused = submit("-o", tmp_path / name)
    assert refused.exit_code == ExitCode.BAD_INPUT, refused.stderr
    assert said in refused.stderr
    assert "-o " in refused.stderr
    assert sorted(tmp_path.iterdir()) == before, "nothing is left of the trying"


@pytest.mark.parametrize("name", ["", ".", "/", "/dev/null"])
def test_what_is_no_file_of_ones_own_is_refused(name: str) -> None:
    assert submit("-o", name).exit_code == ExitCode.BAD_INPUT
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_rights_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "permission denied" in submit("-o", tmp_path / "out.jpg").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "png", "-o", "out.jpg"], "-o out.jpg is jpeg, --format says png"),
        (["--format", "png", "--to", "s3://results/out.webp"], "--to out.webp is webp, --format says png"),
        (["--to", "s3://results/out.png", "-o", "out.jpg"], "--to out.png is png, -o says jpeg"),
        (["--to", "s3://results/out.gif"], "not made as .gif"),
    ],
)
def test_formats_that_differ_are_refused(arguments: list[str], said: str) -> None:
    refused = submit(*arguments)
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert said in refused.stderr


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("a.jpg", "jpeg"), ("a.JPEG", "jpeg"), ("a.png", "png"), ("a.webp", "webp"), ("a", None), ("v1.2/a", None)],
)
def test_a_suffix_names_the_format(name: str, wanted: str | None) -> None:
    assert files.format_named("-o", name) == wanted


def test_a_picture_of_another_format_than_its_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="the picture is webp, not png") as caught:
        files.check_target(tmp_path / "a.png", "webp")
    assert "a.webp" in caught.value.hint
    files.check_target(tmp_path / "a.webp", "webp")
    files.check_target(tmp_path / "a", "webp")


@pytest.mark.parametrize(("name", "said"), [("nowhere.jpg", "no such file"), ("directory", "no ordinary file")])
def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(FileUnusable, match=rf"--style {tmp_path / name}: {said}"):
        files.source("--style", str(tmp_path / name), None)


# What comes in between later


class Client:
    """Hands out bytes, or raises."""

    def __init__(self, outcome: BaseException | None = None) -> None:
        self.outcome = outcome

    def download(self, picture: StoredPicture | ImageRef, path: Path) -> None:
        if self.outcome:
            raise self.outcome
        path.write_text(picture.key)


def made(report_key: str | None = None) -> JobResult:
    picture: dict[str, Any] = {"bucket": "results", "key": "a.jpg", "etag": '"1"', "sha256": "0"}
    size: dict[str, Any] = {"width_px": 1, "height_px": 1, "size_bytes": 1, "content_type": "image/jpeg"}
    return JobResult(
        id="job-7",
        output=StoredPicture(**picture, **size),
        report_key=report_key,
        fingerprint="0",
        recipe=FAST_DEFAULTS,
        engine_version="0",
        report=NO_REPORT,
    )


def get(client: Client, path: Path, report_key: str | None = None) -> None:
    fetch(client, made(report_key), path)  # type: ignore[arg-type]


def test_a_picture_and_its_contact_sheet_are_fetched(tmp_path: Path) -> None:
    get(Client(), tmp_path / "a.jpg", "a.jpg.report.png")
    assert (tmp_path / "a.jpg").read_text() == "a.jpg"
    assert (tmp_path / "a.report.png").read_text() == "a.jpg.report.png"


@pytest.mark.parametrize(
    ("outcome", "kind", "code"),
    [
        (FileUnusable("a.jpg: no space left on device", ""), StyleQueueError, Code.FILE_UNUSABLE),
        (Unavailable(Code.STORE_UNAVAILABLE, "away", "wait"), Unavailable, Code.STORE_UNAVAILABLE),
        (KeyboardInterrupt(), Interrupted, Code.INTERRUPTED),
    ],
)
def test_a_picture_that_is_not_fetched_can_be_fetched_again(
    outcome: BaseException, kind: type[StyleQueueError], code: str
) -> None:
    with pytest.raises(kind) as caught:
        get(Client(outcome), Path("a.jpg"))
    assert caught.value.code == code
    assert caught.value.exit_code != ExitCode.BAD_INPUT
    assert "stylequeue download job-7 -o FILE" in caught.value.hint


@pytest.mark.parametrize("breaks", [KeyboardInterrupt(), Unavailable(Code.BROKER_UNAVAILABLE, "away", "wait")])
def test_what_breaks_waiting_off_says_that_the_job_goes_on(breaks: BaseException) -> None:
    with pytest.raises(StyleQueueError, match="job job-7 goes on") as caught, going_on("job-7", Path("a.jpg")):
        raise breaks
    assert "stylequeue wait job-7 -o a.jpg" in caught.value.hint
    assert "stylequeue cancel job-7" in caught.value.hint
