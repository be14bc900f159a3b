"""The command, as a person or a script uses it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stylequeue.client import StyleQueue
from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.support.command import BAD_INPUT, JOB_FAILED, NOT_REACHABLE, Command
from tests.support.distribution import ROOT
from tests.support.jobs import make_job


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


def test_an_endpoint_that_there_is_not_is_told_before_anything_is_sent(stack: Stack, photo: Path) -> None:
    storeless = Command(
        {**stack.env, "STYLEQUEUE_S3_ENDPOINT_URL": "http://127.0.0.1:1", "STYLEQUEUE_S3_ATTEMPTS": "1"}
    )
    done = storeless("submit", "--content", photo, "--style", photo, "--notify", "crm", exit_code=BAD_INPUT)
    assert "'crm' is no endpoint" in done.stderr


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


def test_events_of_all_jobs(unattended: Command, settings: Settings) -> None:
    with StyleQueue(settings) as queue:
        queue.submit(make_job())
        queue.cancel(queue.submit(make_job(labels={"user": "ä"})))
        told = [(position, event) for position, event in queue.events(follow=False)]
    lines = unattended("events").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [[at, event.subject, event.kind] for at, event in told]
    assert [json.loads(line) for line in unattended("events", "--json").stdout.splitlines()] == [
        json.loads(event.text) for _, event in told
    ]
    assert unattended("events", "--after", told[1][0]).stdout.splitlines() == lines[2:]
    assert unattended("events", "--type", "cancelled", "--type", "failed").stdout.splitlines() == lines[2:]
    # One of a group has what no other of it had.
    assert unattended("events", "--group", "crm").stdout.splitlines() == lines
    assert unattended("events", "--group", "crm", "--consumer", "another").stdout == ""
    assert "--group" in unattended("events", "--consumer", "one", exit_code=BAD_INPUT).stderr
    assert "is no position" in unattended("events", "--after", "x", exit_code=BAD_INPUT).stderr


[IN_A_GROUP] = re.findall(r"`stylequeue (events [^`]*)`", (ROOT / "docs" / "events.md").read_text())


@pytest.mark.parametrize("line", ["events --follow --after 0 --json", IN_A_GROUP], ids=["alone", "in a group"])
def test_events_are_followed(unattended: Command, settings: Settings, line: str) -> None:
    command = [sys.executable, "-m", "stylequeue.cli", *line.split()]
    with (
        StyleQueue(settings) as queue,
        subprocess.Popen(command, env={**os.environ, **unattended.env}, stdout=subprocess.PIPE) as following,
    ):
        assert following.stdout
        for _ in range(3):
            job_id = queue.submit(make_job())
            assert json.loads(following.stdout.readline())["subject"] == job_id
        following.send_signal(signal.SIGINT)
        assert following.wait(60) == 130
        assert following.stdout.read() == b""


def test_a_full_queue(stack: Stack, redis_url: str) -> None:
    narrow = Command({**stack.env, "STYLEQUEUE_REDIS_URL": redis_url, "STYLEQUEUE_MAX_OPEN_JOBS": "1"})
    uri = "s3://uploads/a.jpg"
    narrow("submit", "--content", uri, "--style", uri)
    assert "queue_full" in narrow("submit", "--content", uri, "--style", uri, exit_code=NOT_REACHABLE).stderr
