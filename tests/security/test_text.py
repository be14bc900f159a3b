"""What strangers write obeys nobody's terminal and forges no line: in logs, in errors, in what the command says."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.cells import cell_len

from stylequeue import logs
from stylequeue.cli import console
from stylequeue.cli.jobs import table
from stylequeue.cli.progress import _losses, follow
from stylequeue.client import StyleQueue
from stylequeue.contract import errors
from stylequeue.contract.errors import InvalidJob, JobsRefused, StyleQueueError
from stylequeue.contract.events import EVENT, FailedData, read_event
from stylequeue.contract.job import parse_job
from stylequeue.contract.objects import ImageRef
from stylequeue.contract.status import DeadLetter, JobStatus
from stylequeue.doctor import _worker
from stylequeue.finding import Finding
from stylequeue.ledger import names
from stylequeue.local import Stack
from stylequeue.settings import Settings
from stylequeue.telling import result_of
from tests.ledger.test_registry import live_worker
from tests.support.command import Command, own_logging
from tests.support.jobs import job_fields, make_job
from tests.support.ledger import claim

OBEYED = "\x00\x07\b\r\x0b\x1b\x7f\x85\x9b\u200e\u2028\u2029\u202a\u202e\u2066\ufeff\U000e0041"
HOSTILE = f"a\x1b[2J\nFORGED error [x]\r\nFORGED{OBEYED}\n2026-01-01 00:00:00 CRITICAL FORGED"
"""Clears the screen, turns what follows, and begins lines of its own."""


def check(text: str, *, lines: int | None = None) -> None:
    """Nothing in it is obeyed but ends of lines that are ours."""
    assert [hex(ord(character)) for character in text if not character.isprintable() and character not in "\n"] == []
    forged = [line for line in text.splitlines() if line.startswith(("FORGED", "2026-01-01"))]
    assert not forged
    assert lines is None or text.count("\n") + 1 == lines, text


# Errors


ERRORS: dict[str, Callable[[], StyleQueueError]] = {
    "StyleQueueError": lambda: StyleQueueError(HOSTILE, HOSTILE, HOSTILE),
    "InvalidJob": lambda: InvalidJob(HOSTILE, HOSTILE),
    "JobNotFound": lambda: errors.JobNotFound(HOSTILE),
    "JobConflict": lambda: errors.JobConflict(HOSTILE),
    "JobOpen": lambda: errors.JobOpen(HOSTILE, HOSTILE, HOSTILE),
    "JobSucceeded": lambda: errors.JobSucceeded(HOSTILE, HOSTILE),
    "QueueFull": lambda: errors.QueueFull(HOSTILE, 1),
    "WaitTimeout": lambda: errors.WaitTimeout(HOSTILE, 1),
    "SchemaTooNew": lambda: errors.SchemaTooNew(HOSTILE),
    "EventsLost": lambda: errors.EventsLost(HOSTILE),
    "FileUnusable": lambda: errors.FileUnusable(HOSTILE, HOSTILE),
    "LeaseLost": lambda: errors.LeaseLost(HOSTILE),
    "JobsRefused": lambda: JobsRefused({HOSTILE: InvalidJob(HOSTILE)}),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    error = ERRORS[name]()
    check(error.message, lines=1)
    check(error.code, lines=1)
    assert not set(OBEYED).intersection(error.hint)
    assert not set(OBEYED).intersection(str(error))


@pytest.mark.parametrize(
    "fields",
    [
        {HOSTILE: 1},
        {"labels": {HOSTILE: HOSTILE}},
        {"recipe": {"method": HOSTILE}},
        {"recipe": {"method": "optimize", HOSTILE: 1, "preset": HOSTILE, "style_layers": {HOSTILE: 1}}},
        {"output": {"bucket": HOSTILE, "format": HOSTILE, HOSTILE: HOSTILE}},
        {"content": {"bucket": "uploads", "key": HOSTILE}},
        {"id": HOSTILE, "queue": HOSTILE, "deadline": HOSTILE, "schema_version": HOSTILE},
        {"styles": HOSTILE},
    ],
)
def test_why_a_job_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob) as raised:
        parse_job(job_fields(**fields), default_id="task")
    check(str(raised.value), lines=1)


def test_addresses_and_events_that_are_none() -> None:
    for wrong in (lambda: ImageRef.from_uri(f"s3://{HOSTILE}"), lambda: read_event(json.dumps({HOSTILE: HOSTILE}))):
        with pytest.raises(StyleQueueError) as raised:
            wrong()
        check(str(raised.value), lines=1)


def test_reasons_that_older_versions_told() -> None:
    """In events, statuses and letters: a backend logs them."""
    told = {"code": HOSTILE, "message": HOSTILE, "hint": HOSTILE}
    failed = FailedData(**told)
    check(failed.code + failed.message, lines=1)
    assert not set(OBEYED).intersection(failed.hint)
    with pytest.raises(errors.JobFailed) as raised:
        result_of(json.dumps({"type": "io.stylequeue.job.failed.v1", "data": told}))
    check(raised.value.message, lines=1)
    letter = DeadLetter.model_validate(
        {
            **{"id": "a", "kind": "message", "queue": "paint", "code": "x", "attempts": 0, "buried_at": 0},
            **{"reason": HOSTILE, "message": HOSTILE},
        }
    )
    check(letter.reason, lines=1)
    assert letter.message == HOSTILE, "the exact message"


# Logs


@contextmanager
def logging_as_ours() -> Iterator[logging.Logger]:
    """As a worker, a keeper and their Celery log."""
    with own_logging():
        logs.configure("INFO")
        yield logging.getLogger(HOSTILE)


class Hostile(Exception):
    """Its name is no better."""

    __qualname__ = __name__ = HOSTILE


def raised() -> Hostile:
    try:
        try:
            raise ValueError(HOSTILE)
        except ValueError as cause:
            error = Hostile(HOSTILE)
            error.add_note(HOSTILE)
            raise error from cause
    except Hostile as error:
        return error


LOGGED: dict[str, Callable[[logging.Logger], None]] = {
    "a message": lambda log: log.warning(HOSTILE),
    "an argument": lambda log: log.error("Task %(name)s[%(id)s]", {"name": HOSTILE, "id": HOSTILE}),
    "an error": lambda log: log.error("failed", exc_info=raised()),
    "a group of errors": lambda log: log.error("failed", exc_info=ExceptionGroup(HOSTILE, [raised()])),
    "a stack": lambda log: log.error("here", stack_info=True),
}


@pytest.mark.parametrize("for_people", [False, True])
@pytest.mark.parametrize("what", LOGGED)
def test_logs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str, for_people: bool) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: for_people)
    with logging_as_ours() as log, logs.about(HOSTILE):
        LOGGED[what](log)
    said = capsys.readouterr().err
    check(said)
    records = [line for line in said.splitlines() if not line.startswith("  ")]
    assert len(records) == 1, "all else is set off"


LOGGING = """
import logging, sys
from pydantic import SecretStr
from stylequeue import logs
logs.configure("INFO")
for secret in (*sys.argv[1:], SecretStr("hunter22hunter22")):
    logging.warning("it is %s here", secret)
logging.error("failed", exc_info=ValueError("redis://user:hunter22hunter22@host/0"))
"""


def test_no_secret_is_logged_whoever_says_it() -> None:
    """By its type, and by how it looks; what stands around it stays."""
    secrets = {
        "redis://user:hunter22hunter22@host/0": "redis://user:***@host/0",
        "https://hunter22hunter22@host/x": "https://***@host/x",
        "sq_0123456789ab_" + "0f" * 32: "***",
        "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3": "***",
        "Authorization: Bearer abcdefgh": "Authorization: Bearer ***",
        "{'Authorization': 'Basic aHVudGVyMjI='}": "{'Authorization': 'Basic ***'}",
        "authorization=Basic%20aHVudGVyMjI=": "authorization=Basic%20***",
        "Authorization: AWS AKIA:0123abcd=": "Authorization: AWS ***",
        "Authorization: AWS4-HMAC-SHA256 SignedHeaders=host, Signature=0123abcd": (
            "Authorization: AWS4-HMAC-SHA256 SignedHeaders=host, Signature=***"
        ),
        "https://s3/x?AWSAccessKeyId=a&Signature=0123abcd%3D&Expires=1": (
            "https://s3/x?AWSAccessKeyId=a&Signature=***&Expires=1"
        ),
        "https://s3/x?X-Amz-Signature=0123abcd&y=1": "https://s3/x?X-Amz-Signature=***&y=1",
    }
    # In a process of its own: what is logged in this one is looked through for secrets before it is masked.
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, *secrets], capture_output=True, text=True, check=True, timeout=60
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"] for line in lines[:-2]] == [f"it is {shown} here" for shown in secrets.values()]
    assert "hunter22" not in done.stderr
    assert "ValueError: redis://user:***@host/0" in lines[-1]["exception"]


def test_a_log_that_another_handler_has_shown_before(capsys: pytest.CaptureFixture[str]) -> None:
    error = raised()
    with logging_as_ours() as log:
        record = log.makeRecord("a", logging.ERROR, "f", 1, "failed", (), (type(error), error, error.__traceback__))
        logging.Formatter().format(record)
        assert record.exc_text
        log.handle(record)
    check(capsys.readouterr().err)


# The command


@pytest.fixture
def command(stack: Stack, settings: Settings) -> Command:
    return Command({**stack.env, "STYLEQUEUE_REDIS_URL": settings.redis_url.get_secret_value()})


@pytest.fixture
def job_id(settings: Settings) -> str:
    """A job of which everything in Redis that is text is a stranger's."""
    with StyleQueue(settings) as queue:
        job = make_job()
        ledger, redis = queue._ledger, queue._ledger.redis
        queue.submit(job)
        fence = claim(ledger, job).record.fence
        ledger.finish(job.id, fence=fence, data=FailedData.model_construct(code=HOSTILE, message=HOSTILE, hint=HOSTILE))
        labels = json.dumps({HOSTILE: HOSTILE})
        text: dict[Any, Any] = {"worker": HOSTILE, "last_error": HOSTILE, "queue": HOSTILE, "labels": labels}
        redis.hset(names.record_key(job.id), mapping=text)
        event = {**json.loads(ledger.outcome(job.id)), "type": f"io.{HOSTILE}.v1", "subject": HOSTILE}
        redis.xadd(names.events_key(job.id), {"event": json.dumps({**event, "sequence": "0000000099"})}, id="99-1")
        progress = {**event, "type": "io.stylequeue.job.progress.v1", "sequence": "0000000100"}
        progress["data"] = {"number": 1, "stage": HOSTILE, "run": 1, "step": 1, "steps": 2, "losses": {HOSTILE: 1.0}}
        redis.xadd(names.events_key(job.id), {"event": json.dumps(progress)}, id="100-1")
        ledger.bury(queue=HOSTILE, raw=HOSTILE, code=HOSTILE, reason=HOSTILE)
        return job.id


COMMANDS = ["list", "status JOB", "dead list", "list --limit 1", "retry nobody\x1b[2J", "status nobody\u202e"]


@pytest.mark.parametrize("form", ["", " --json"])
def test_the_command(command: Command, job_id: str, form: str) -> None:
    for line in COMMANDS:
        arguments = [word.replace("JOB", job_id) for word in (line + form).split(" ") if word]
        done = command(*arguments, exit_code=2 if "nobody" in line else 0)
        assert done.output
        for said in (done.stdout, done.stderr):
            check(said)
            assert not form or all(json.loads(part) for part in said.splitlines())


def test_a_job_that_is_watched(command: Command, job_id: str, settings: Settings) -> None:
    check(command("watch", job_id, exit_code=1).stdout)
    check(command("wait", job_id, exit_code=1).stderr)
    with StyleQueue(settings) as queue:
        letters = queue.dead_letters()
    for letter in letters:
        check(command("dead", "show", letter.id).stdout)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_job_that_is_followed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    data = {"number": 1, "stage": HOSTILE, "step": 1, "steps": 2, "losses": {HOSTILE: 1.0}}
    event = EVENT.validate_python(
        {
            "type": "io.stylequeue.job.progress.v1",
            "id": HOSTILE,
            "source": HOSTILE,
            "subject": HOSTILE,
            "time": datetime.now(UTC),
            "data": data,
        }
    )
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(follow([event], quiet=False)) == [event]
    said = capsys.readouterr().err
    assert "step 1/2" in said
    check(said)


def test_what_doctor_finds(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = live_worker(networks={HOSTILE: HOSTILE}).model_copy(
        update={"name": HOSTILE, "device": HOSTILE, "queues": (HOSTILE,), "python": HOSTILE, "version": HOSTILE}
    )
    for finding in (_worker(hostile), Finding(HOSTILE, "bad", HOSTILE, HOSTILE)):
        for line in str(finding).split("\n"):
            console.show(line)
        console.show_json(finding.as_dict())
    said = capsys.readouterr().out
    check(said)
    assert [line[:4] for line in said.splitlines() if line[:1] not in "{ "] == ["WARN", "BAD "]


def test_notes_and_what_nobody_caught(capsys: pytest.CaptureFixture[str]) -> None:
    console.note(HOSTILE, as_json=False)
    console.note(HOSTILE, as_json=True)
    said = capsys.readouterr().err
    check(said)
    assert [line[:2] for line in said.splitlines()] == ["# ", '{"']
    error = raised()
    console._tell_uncaught(type(error), error, error.__traceback__)
    check(capsys.readouterr().err)
    assert sys.excepthook is not console._tell_uncaught, "only the command's"


# Widths


def test_nothing_is_wider_than_the_terminal() -> None:
    now = datetime.now(UTC)
    times = dict.fromkeys(("created_at", "updated_at", "deadline_at"), now)
    known = {"run": 1, "attempt": 0, "queue": "paint", "job": None, **times}
    jobs = [
        JobStatus.model_validate({**known, "id": "a", "state": state, "labels": {label: label}})
        for state in ("queued", "山水", HOSTILE[:9])
        for label in ("山水" * 40, HOSTILE * 3, "e\u0301" * 80, "🎨" * 60)
    ]
    for line in table(jobs, width=80):
        check(line, lines=1)
        assert cell_len(line) <= 80
    check(_losses({HOSTILE: 1.0}, 500), lines=1)
    assert cell_len(_losses({"山水" * 4: 1.0, "b": 2.0}, 20)) <= 20
