"""Everything on one machine, as a newcomer starts it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import boto3
import pytest
from PIL import Image

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import ExitCode, InvalidRequest, StyleQueueError, Unavailable
from stylequeue.local.demo import make_models
from stylequeue.local.stack import Stack
from stylequeue.local.watching import Watched
from stylequeue.settings import Settings
from stylequeue.uploads.intake import Intake
from stylequeue.uploads.notices import Notice
from tests.support import pictures
from tests.support.processes import arguments_below, wait_for, wait_gone

WAIT_S = 120
GENTLE_END_S = 25
"""A worker that is told to stop may take longer than this."""


def test_demo(model_dir: Path, tmp_path: Path) -> None:
    env = {**os.environ, "STYLEQUEUE_MODEL_DIR": str(model_dir)}
    command = [
        sys.executable,
        "-m",
        "stylequeue.cli",
        "demo",
        "--size",
        "64",
        "--steps",
        "6",
        "--output",
        str(tmp_path),
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    names = ["content.jpg", "style.jpg", "fast.jpg", "result.jpg", "report.png", "events.jsonl"]
    assert done.stdout.split() == [str(tmp_path / name) for name in names]
    for name in names[:-1]:
        with Image.open(tmp_path / name) as picture:
            picture.load()
    with Image.open(tmp_path / "result.jpg") as picture:
        assert max(picture.size) == 64
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [e["type"].split(".")[-2] for e in events if "progress" not in e["type"]] == [
        "accepted",
        "started",
        "succeeded",
    ] * 2
    assert re.search(r"\d s +painted job", done.stderr), "it says how long each part took"
    ours = r"# .* \.\.\.|fast: .*|paint: .*| *\d+\.\d s  .*|"
    told, _, offered = done.stderr.partition("`stylequeue up` ")
    assert [line for line in told.splitlines() if not re.fullmatch(ours, line)] == [], "no line of TensorFlow's"
    assert re.search(r"^  \S*stylequeue up --watch uploads/in/ --style \S+style.jpg$", offered, re.MULTILINE)
    assert re.search(r"^  \S*stylequeue upload \S+content.jpg s3://uploads/in/$", offered, re.MULTILINE)


def test_making_the_networks_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of what TensorFlow prints only what it failed of is news."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho on stdout; echo on stderr >&2; exit $FAILS_WITH\n")
    python.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(python))
    monkeypatch.setenv("FAILS_WITH", "0")
    make_models()
    monkeypatch.setenv("FAILS_WITH", "1")
    with pytest.raises(Unavailable, match=r"could not be made(?s:.*)on stdout\non stderr"):
        make_models()
    assert capfd.readouterr() == ("", "")


class Up:
    """`stylequeue up`, started."""

    def __init__(self, homes: Path, model_dir: Path, *arguments: str) -> None:
        homes.mkdir(exist_ok=True)
        own = {name: str(homes / name) for name in ("XDG_DATA_HOME", "XDG_STATE_HOME")}
        self.env = {**os.environ, **own, "STYLEQUEUE_MODEL_DIR": str(model_dir)}
        self._out, self._err = homes / "out", homes / "err"
        command = [sys.executable, "-m", "stylequeue.cli", "up", *arguments]
        with self._out.open("w") as stdout, self._err.open("w") as stderr:
            self.process = subprocess.Popen(command, env=self.env, stdout=stdout, stderr=stderr)

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def exports(self) -> dict[str, str]:
        return dict(re.findall(r"export (STYLEQUEUE_\w+)='(.*)'", self._out.read_text()))

    def until(self, said: str) -> None:
        wait_for(lambda: said in self.err or self.process.poll() is not None, WAIT_S, f"{said!r} in {self.err}")
        assert said in self.err

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command, in the same home, without the exports."""
        line = [sys.executable, "-m", "stylequeue.cli", *arguments]
        return subprocess.run(line, env=self.env, capture_output=True, text=True, check=False, timeout=WAIT_S)

    def descendants(self) -> list[int]:
        """All processes that it has started, and theirs, in whatever session."""
        parents = {}
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit():
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found


@pytest.fixture
def start_up(tmp_path: Path, model_dir: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(*arguments: str) -> Up:
        started.append(Up(tmp_path / "homes", model_dir, *arguments))
        return started[-1]

    yield start
    for up in started:
        if up.process.poll() is None:
            up.process.kill()
            up.process.wait(WAIT_S)


def paint_by_the_line_that_is_printed(up: Up, directory: Path) -> str:
    """As a newcomer does who pastes it; returns its key."""
    [line] = [line for line in up.err.splitlines() if line.startswith("curl ")]
    for name in ("photo.jpg", "wave.jpg"):
        (directory / name).write_bytes(pictures.jpeg())
    began_at = time.monotonic()
    done = subprocess.run(line, shell=True, cwd=directory, capture_output=True, text=True, check=False, timeout=WAIT_S)
    print(f"a picture after {time.monotonic() - began_at:.1f} s")
    assert done.returncode == 0, done.stderr + (directory / "out.jpg").read_text(errors="replace")
    with Image.open(directory / "out.jpg") as picture:
        picture.load()
        assert (picture.format, max(picture.size)) == ("JPEG", 512)
    found = re.search(r"Bearer (sq_\w+)", line)
    assert found
    wrong = line.replace(found[1], found[1][:-8] + "00000000")
    assert subprocess.run(wrong, shell=True, cwd=directory, capture_output=True, check=False).returncode == 22
    assert json.loads((directory / "out.jpg").read_text())["code"] == "unauthenticated"
    return found[1]


def look_at_the_page_that_is_printed(up: Up, key: str) -> None:
    """Its address has the key, its shelf has styles, and the buckets are open to it."""
    [address] = [line for line in up.err.splitlines() if "/#key=" in line]
    origin, _, fragment = address.partition("/#key=")
    assert fragment == key
    with urllib.request.urlopen(origin + "/", timeout=WAIT_S) as page:
        assert b"<title>stylequeue</title>" in page.read()
    asked = urllib.request.Request(origin + "/v1/styles", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(asked, timeout=WAIT_S) as answer:
        styles = json.load(answer)["styles"]
    assert [style["name"] for style in styles] == ["facets", "swirls", "waves"]
    for name in ("uploads", "styles", "results", "work"):
        from_page = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        there = f"{up.exports['STYLEQUEUE_S3_ENDPOINT_URL']}/{name}/a.jpg"
        preflight = urllib.request.Request(there, method="OPTIONS", headers=from_page)
        with urllib.request.urlopen(preflight, timeout=WAIT_S) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == origin


def test_up(start_up: Callable[..., Up], tmp_path: Path) -> None:
    up = start_up("--temporary")
    up.until("waiting for jobs")
    found = up.command("doctor")
    assert found.returncode == 0, found.stdout + found.stderr + up.err
    assert {line[:4] for line in found.stdout.splitlines()} == {"ok  "}
    looked_at = ("redis", "worker stylequeue-", "bucket results", "conditional writes", "models: fast", "TensorFlow")
    for what in looked_at:
        assert what in found.stdout
    assert "using what `stylequeue up` runs" in found.stderr
    assert up.exports["STYLEQUEUE_REDIS_URL"] not in found.stdout
    key = paint_by_the_line_that_is_printed(up, tmp_path)
    look_at_the_page_that_is_printed(up, key)
    assert up.command("keys", "list", "--json").returncode == 0
    secrets = [key]
    secrets += [up.exports[f"STYLEQUEUE_{name}"] for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY")]
    secrets += re.findall(r"://:(\w+)@", up.exports["STYLEQUEUE_REDIS_URL"])
    lines = arguments_below(up.process.pid)
    assert len(lines) >= 10, "servers, gateway, keeper and worker, each with its guard"
    assert [line for line in lines if any(secret in line for secret in secrets)] == []
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(WAIT_S) == 0
    assert "stopping" in up.err
    assert "using" not in up.command("status", "nobody").stderr, "it is found no longer"


def link_behind(up: Up, name: str) -> str:
    """The link that was said for a picture whose key has that in it; "" until it was."""
    lines = up.err.splitlines()
    return next((link for said, link in pairwise(lines) if f"s3://results/in/{name}-" in said), "")


@pytest.mark.slow
def test_whatever_is_put_into_a_folder_is_painted(start_up: Callable[..., Up], tmp_path: Path) -> None:
    photo, wave = tmp_path / "photo é+.jpg", tmp_path / "wave.jpg"
    photo.write_bytes(pictures.jpeg())
    wave.write_bytes(pictures.jpeg())
    up = start_up("--temporary", "--watch", "uploads/in/", "--style", str(wave))
    up.until("each picture, with a link")
    assert up.command("upload", str(photo), "s3://uploads/in/").returncode == 0
    wait_for(lambda: link_behind(up, "photo é+"), WAIT_S, f"its link in {up.err}")
    with urllib.request.urlopen(link_behind(up, "photo é+"), timeout=WAIT_S) as answer, Image.open(answer) as picture:
        picture.load()
        assert picture.format == "JPEG"
    # By any S3 client; and what can be no picture is said, too.
    s3 = boto3.client(
        "s3",
        endpoint_url=up.exports["STYLEQUEUE_S3_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=up.exports["STYLEQUEUE_S3_ACCESS_KEY"],
        aws_secret_access_key=up.exports["STYLEQUEUE_S3_SECRET_KEY"],
    )
    s3.put_object(Bucket="uploads", Key="in/deep/other.jpg", Body=photo.read_bytes())
    s3.put_object(Bucket="uploads", Key="in/empty.jpg", Body=b"")
    up.until("s3://uploads/in/empty.jpg is not painted: it has no bytes")
    wait_for(lambda: link_behind(up, "deep/other"), WAIT_S, f"its link in {up.err}")
    tried = up.command("rules", "test", "s3://uploads/in/other.jpg")
    assert (tried.returncode, bool(re.search(r"^watch-\w{8}: job ", tried.stdout, re.MULTILINE))) == (0, True), (
        tried.stderr
    )
    for command in (["doctor"], ["doctor", "uploads"]):
        found = up.command(*command)
        assert found.returncode == 0, found.stdout
    assert "told of by seaweedfs" in found.stdout
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(WAIT_S) == 0
    assert "Traceback" not in up.err


@pytest.mark.parametrize(
    ("place", "styles", "said"),
    [
        ("uploads/in/", [], "give --style FILE"),
        ("uploads/in/", ["missing.jpg"], "missing.jpg: no such file"),
        ("uploads", ["wave.jpg"], "write bucket/folder/"),
        ("s3://results/in/", ["wave.jpg"], "nothing is painted from there"),
        ("uploads/a//b/", ["wave.jpg"], "some stores take it for another key"),
    ],
)
def test_what_cannot_be_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, styles: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wave.jpg").write_bytes(b"")
    with pytest.raises(StyleQueueError) as caught:
        Watched.of(place, [Path(style) for style in styles], tmp_path / "up", Settings())
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_an_upload_is_painted_once_in_each_style(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    notice = Notice("here", "uploads", "in/photo.jpg", etag='"e1"', size_bytes=1000)

    async def upload(styles: list[Path]) -> str:
        watched = Watched.of("uploads/in/", styles, tmp_path / "up", settings)
        watched.prepare(stack)
        async with AsyncStyleQueue(settings.model_copy(update={"operator_file": watched.operator_file})) as queue:
            intake = Intake(queue)
            assert intake.file.now.sources["sweep"].overlap_s <= 60, "what was painted lately is not swept up anew"
            [outcome] = await intake.take([notice])
        return outcome.verdict

    wave, other = tmp_path / "wave.jpg", tmp_path / "other.png"
    wave.write_bytes(pictures.jpeg())
    other.write_bytes(pictures.png())
    tries = [[wave], [wave], [other], [wave, other], [wave]]
    assert [asyncio.run(upload(styles)) for styles in tries] == ["recorded", "known", "recorded", "recorded", "known"]
    with StyleQueue(settings) as queue:
        keys = {status.job["output"]["key"] for status in queue.jobs() if status.job}
    assert len(keys) == 3, "none finds another's picture in its place"


def test_who_has_rules_of_their_own_is_not_watched_for(tmp_path: Path) -> None:
    (tmp_path / "wave.jpg").write_bytes(b"")
    with pytest.raises(InvalidRequest, match="STYLEQUEUE_OPERATOR_FILE is set"):
        Watched.of("uploads/in/", [tmp_path / "wave.jpg"], tmp_path, Settings(operator_file=tmp_path / "rules.toml"))


def test_a_style_without_a_folder(start_up: Callable[..., Up]) -> None:
    refused = start_up("--temporary", "--style", "wave.jpg")
    assert refused.process.wait(WAIT_S) == ExitCode.BAD_INPUT
    assert "give --watch BUCKET/FOLDER/" in refused.err


def test_a_second_up_in_the_same_place(start_up: Callable[..., Up]) -> None:
    first = start_up()
    first.until("finds this by itself")
    second = first.command("up")
    assert second.returncode == ExitCode.NOT_REACHABLE
    assert f"process id {first.process.pid}" in second.stderr
    assert "--data" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("said", ["making the networks", "loading its models"])
def test_ctrl_c_while_it_starts_stops_at_once(start_up: Callable[..., Up], said: str) -> None:
    up = start_up("--temporary")
    up.until(said)
    pids = up.descendants()
    asked_at = time.monotonic()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(WAIT_S) == ExitCode.INTERRUPTED
    assert time.monotonic() - asked_at < GENTLE_END_S
    for pid in pids:
        wait_gone(pid, WAIT_S)
    assert "Traceback" not in up.err


def test_a_second_ctrl_c_kills(start_up: Callable[..., Up]) -> None:
    up = start_up("--temporary")
    up.until("loading its models")
    pids = up.descendants()
    lines = {}
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # it may have ended by now
            lines[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()
    keeper = next(pid for pid, line in lines.items() if b"keeper" in line and b"supervise.py" not in line)
    os.kill(keeper, signal.SIGSTOP)  # deaf for the whole of its grace
    up.process.send_signal(signal.SIGINT)
    up.until("stopping")
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(WAIT_S) == ExitCode.INTERRUPTED
    for pid in pids:
        wait_gone(pid, WAIT_S)
