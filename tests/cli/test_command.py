"""The command, as a person or a script uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from stylequeue.cli import app
from stylequeue.client import StyleQueue
from stylequeue.contract.objects import ImageRef
from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.support import pictures

DONE, JOB_FAILED, BAD_INPUT, NOT_REACHABLE = range(4)


class Command:
    """`stylequeue` with the settings of a stack, in this process, which saves it from importing everything anew."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = {**env, "COLUMNS": "200"}

    def __call__(self, *arguments: str | Path, exit_code: int = DONE) -> Result:
        done = CliRunner(env=self.env).invoke(app, [str(argument) for argument in arguments])
        # What nobody has caught would be a traceback.
        assert isinstance(done.exception, SystemExit | None), done.exception
        assert done.exit_code == exit_code, done.stdout + done.stderr
        return done


@pytest.fixture
def stylequeue(stack: Stack) -> Command:
    return Command(stack.env)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(pictures.jpeg())
    return path


def test_from_files_to_a_file(stylequeue: Command, service: StyleQueue, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    done = stylequeue(
        "submit", "--content", photo, "--style", photo, "--style", photo, "--weight", "1", "--weight", "2",
        "--method", "fast", "--size", "64", "--strength", "0.5", "--report", "--wait", "-o", out,
    )  # fmt: skip
    assert done.stdout.strip() == str(out)
    with Image.open(out) as image:
        assert (image.format, image.size) == ("PNG", (64, 43))
    with Image.open(tmp_path / "out.report.png") as image:
        assert image.format == "PNG"
    for stage in ("queued", "done"):
        assert stage in done.stderr, "progress is shown"


def test_for_machines(stylequeue: Command, service: StyleQueue, photograph: ImageRef) -> None:
    uri = f"s3://{photograph.bucket}/{photograph.key}"
    done = stylequeue(
        "submit", "--content", uri, "--style", uri, "--size", "32", "--steps", "2", "--network", "vgg16",
        "--label", "user=42", "--deadline", "2h", "--to", "s3://results/cli/picture.webp", "--overwrite",
        "--wait", "--json",
    )  # fmt: skip
    outcome = json.loads(done.stdout)
    assert outcome["output"]["key"] == "cli/picture.webp"
    assert outcome["output"]["content_type"] == "image/webp"
    assert outcome["labels"] == {"user": "42"}
    assert done.stderr == ""

    record = json.loads(stylequeue("status", outcome["id"], "--json").stdout)
    assert record["state"] == "succeeded"
    events = [json.loads(line) for line in stylequeue("watch", outcome["id"], "--json").stdout.splitlines()]
    assert events[0]["type"].endswith("accepted.v1")
    assert events[-1] == record["outcome"]


def test_for_people(stylequeue: Command, service: StyleQueue, photo: Path) -> None:
    submitted = stylequeue("submit", "--content", photo, "--style", photo, "--method", "fast", "--size", "32")
    job_id = submitted.stdout.strip()
    watched = stylequeue("watch", job_id).stdout
    assert "accepted" in watched
    assert f"s3://results/{job_id}.jpg" in watched
    assert "succeeded" in stylequeue("status", job_id).stdout


def test_a_job_that_fails(stylequeue: Command, service: StyleQueue) -> None:
    uri = "s3://uploads/nowhere.jpg"
    done = stylequeue("submit", "--content", uri, "--style", uri, "--wait", exit_code=JOB_FAILED)
    assert "object_not_found" in done.stderr
    assert "check bucket" in done.stderr
    done = stylequeue("submit", "--content", uri, "--style", uri, "--wait", "--json", exit_code=JOB_FAILED)
    assert json.loads(done.stderr)["error"]["code"] == "object_not_found"
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--content", "nowhere.jpg", "--style", "nowhere.jpg"], "--content nowhere.jpg: no such file"),
        (["--content", "s3://uploads", "--style", "s3://a/b"], "s3://bucket/key"),
        (
            ["--content", "s3://uploads/k", "--style", "s3://uploads/k", "--size", "5"],
            "--size 5 should be greater than or equal to 16",
        ),
        (
            ["--content", "s3://uploads/k", "--style", "s3://uploads/k", "--method", "fast", "--steps", "5"],
            "--steps is no option of --method fast",
        ),
        (["--content", "s3://uploads/k", "--style", "s3://uploads/k", "--weight", "1", "--weight", "2"], "--weight"),
        (["--content", "s3://uploads/k", "--style", "s3://uploads/k", "--label", "x"], "key=value"),
        (["--content", "s3://uploads/k", "--style", "s3://uploads/k", "--deadline", "soon"], "30m"),
        (["--content", "s3://uploads/k"], "--style"),
    ],
)
def test_bad_input_says_what_to_do(stylequeue: Command, arguments: list[str], said: str) -> None:
    done = stylequeue("submit", *arguments, exit_code=BAD_INPUT)
    assert said in done.stderr
    assert done.stdout == ""


def test_an_unknown_job(stylequeue: Command) -> None:
    for command in ("status", "watch"):
        assert "no job 'nobody'" in stylequeue(command, "nobody", exit_code=BAD_INPUT).stderr


def test_nobody_answers(stack: Stack, photo: Path) -> None:
    lonely = Command({**stack.env, "STYLEQUEUE_REDIS_URL": "redis://:secret-word@127.0.0.1:1/0"})
    done = lonely("status", "somebody", exit_code=NOT_REACHABLE)
    assert "127.0.0.1:1" in done.stderr
    assert "STYLEQUEUE_REDIS_URL" in done.stderr
    assert "secret-word" not in done.stderr
    nowhere = {"STYLEQUEUE_S3_ENDPOINT_URL": "http://127.0.0.1:1", "STYLEQUEUE_S3_ATTEMPTS": "1"}
    storeless = Command({**stack.env, **nowhere})
    done = storeless("submit", "--content", photo, "--style", photo, exit_code=NOT_REACHABLE)
    assert "STYLEQUEUE_S3_ENDPOINT_URL" in done.stderr


def test_wrong_settings(stack: Stack) -> None:
    wrong = Command({**stack.env, "STYLEQUEUE_S3_ATTEMPTS": "many"})
    assert "STYLEQUEUE_S3_ATTEMPTS" in wrong("status", "somebody", exit_code=BAD_INPUT).stderr


def test_a_process_of_its_own(stack: Stack) -> None:
    """Exit code, standard output and standard error are where a shell looks for them."""
    command = [sys.executable, "-m", "stylequeue.cli", "status", "nobody", "--json"]
    done = subprocess.run(command, env={**os.environ, **stack.env}, capture_output=True, check=False, timeout=120)
    assert done.returncode == BAD_INPUT
    assert json.loads(done.stderr)["error"]["code"] == "job_not_found"
    assert done.stdout == b""


def test_schema(stylequeue: Command) -> None:
    assert json.loads(stylequeue("schema", "job").stdout)["title"] == "Job"
    assert "oneOf" in json.loads(stylequeue("schema", "event").stdout)
    assert json.loads(stylequeue("schema", "status").stdout)["title"] == "JobStatus"


# Where no worker is


@pytest.fixture
def unattended(stack: Stack, redis_url: str) -> Command:
    """The command on a Redis database without workers."""
    return Command({**stack.env, "STYLEQUEUE_REDIS_URL": redis_url})


def test_cancel_retry_delete(unattended: Command) -> None:
    uri = "s3://uploads/a.jpg"
    job_id = json.loads(unattended("submit", "--content", uri, "--style", uri, "--json").stdout)["id"]
    assert "it cannot be run again" in unattended("retry", job_id, exit_code=BAD_INPUT).stderr
    assert "it cannot be deleted" in unattended("delete", job_id, exit_code=BAD_INPUT).stderr
    assert json.loads(unattended("cancel", job_id, "--json").stdout)["state"] == "cancelled"
    assert "cancelled" in unattended("watch", job_id, exit_code=JOB_FAILED).stdout
    unattended("retry", job_id)
    queued = unattended("status", job_id).stdout
    assert "queued  run 2, attempt 0" in queued
    assert "waits for a worker that takes from queue 'paint' and has the network vgg19 or vgg16" in queued
    unattended("cancel", job_id)
    unattended("delete", job_id)
    unattended("status", job_id, exit_code=BAD_INPUT)


def test_dead_letters(unattended: Command, settings: Settings) -> None:
    assert "no dead letters" in unattended("dead", "list").stderr
    with StyleQueue(settings) as queue:
        letter_id = queue._ledger.bury(queue="paint", raw="{torn", code="message_malformed", reason="not JSON")
        assert letter_id in unattended("dead", "list").stdout
        assert json.loads(unattended("dead", "list", "--json").stdout)[0]["message"] == "{torn"
        shown = unattended("dead", "show", letter_id).stdout
        assert "{torn" in shown
        assert "not JSON" in shown
        unattended("dead", "replay", letter_id)
        assert queue._ledger.redis.lrange("paint", 0, -1) == ["{torn"]
        letter_id = queue._ledger.bury(queue="paint", raw="{torn", code="message_malformed", reason="not JSON")
        queue._ledger.bury(queue="paint", raw="{older", code="message_malformed", reason="not JSON")
        page = unattended("dead", "list", "--limit", "1")
        after = page.stderr.split("--after ")[1].strip()
        rest = unattended("dead", "list", "--limit", "1", "--after", after)
        assert (len(page.stdout.splitlines()), len(rest.stdout.splitlines()), rest.stderr) == (1, 1, "")
        for letter in queue.dead_letters():
            if letter.id != letter_id:
                queue.drop(letter.id)
        unattended("dead", "drop", letter_id)
        assert json.loads(unattended("dead", "list", "--json").stdout) == []
        for command in ("show", "replay", "drop"):
            unattended("dead", command, letter_id, exit_code=BAD_INPUT)


def test_a_full_queue(stack: Stack, redis_url: str) -> None:
    narrow = Command({**stack.env, "STYLEQUEUE_REDIS_URL": redis_url, "STYLEQUEUE_MAX_OPEN_JOBS": "1"})
    uri = "s3://uploads/a.jpg"
    narrow("submit", "--content", uri, "--style", uri)
    assert "queue_full" in narrow("submit", "--content", uri, "--style", uri, exit_code=NOT_REACHABLE).stderr
