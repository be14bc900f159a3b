"""What is printed: nothing that a terminal obeys, nothing that an output cannot show, in a table that fits."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from stylequeue import __version__, logs
from stylequeue.cli import app, console
from stylequeue.cli.jobs import age, table
from stylequeue.client import StyleQueue
from stylequeue.contract.job import Job
from stylequeue.contract.status import JobStatus
from stylequeue.contract.text import printable
from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.support.command import own_logging
from tests.support.jobs import make_job
from tests.support.roles import as_role

# Clears the screen; turns the direction of writing; begins a line; a second escape of one byte; joins lines.
STRANGE = "a\x1b[2Jb\u202ec\nerror [forged] d\x9be\u2028f\x00\r"
ESCAPED = r"a\x1b[2Jb\u202ec\nerror [forged] d\x9be\u2028f\x00\r"
OBEYED = set("\x1b\u202e\x9b\u2028\x00\r")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_a_terminal_obeys_is_escaped() -> None:
    assert printable(STRANGE) == ESCAPED
    for harmless in ("", "plain", "ünïcödé", "山　水", "🎨", r"a\b", "non breaking"):
        assert printable(harmless) == harmless
    for obeyed in ("\x7f", "\u2066", "\u200f", "\ufeff", "\udcff", "\U000e0041", "\t"):
        assert printable(obeyed).isascii()


@pytest.fixture
def strange_job(settings: Settings) -> str:
    """Of before labels were looked at."""
    labels = {"title": STRANGE.replace("\x00", "")}
    with StyleQueue(settings) as queue:
        return queue.submit(Job.model_construct(**{**dict(make_job()), "labels": labels}))


def run(stack: Stack, settings: Settings, *arguments: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    own = {"STYLEQUEUE_REDIS_URL": as_role(settings, "operator").redis_url.get_secret_value(), **env}
    command = [sys.executable, "-m", "stylequeue.cli", *arguments]
    return subprocess.run(command, env={**os.environ, **stack.env, **own}, capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize("command", [["list"], ["status", "JOB"]])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_labels_of_strangers(
    stack: Stack, settings: Settings, strange_job: str, command: list[str], form: list[str]
) -> None:
    done = run(stack, settings, *(word.replace("JOB", strange_job) for word in command), *form)
    text = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert not OBEYED.intersection(text)
    assert "\nerror [forged]" not in text
    if form:
        parsed = json.loads(text)
        labels = (parsed if isinstance(parsed, dict) else parsed[0])["labels"]
        assert labels == {"title": STRANGE.replace("\x00", "")}, "for machines it is what it was"


def test_dead_letters_of_strangers(stack: Stack, settings: Settings) -> None:
    with StyleQueue(settings) as queue:
        letter = queue._ledger.bury(queue="paint", raw=STRANGE, code="message_malformed", reason=STRANGE)
    for command in (["dead", "list"], ["dead", "show", letter]):
        text = run(stack, settings, *command).stdout.decode()
        assert ESCAPED in text
        assert not OBEYED.intersection(text)


def test_errors_of_strangers(capsys: pytest.CaptureFixture[str]) -> None:
    console.tell_error("x", STRANGE, f"log:\n{STRANGE}", as_json=False)
    said = capsys.readouterr().err
    assert ESCAPED in said
    assert [line for line in said.splitlines() if not line.startswith(("error [x] ", "      "))] == []
    console.tell_error("x", STRANGE, STRANGE, as_json=True)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert json.loads(said)["error"]["message"] == STRANGE


@pytest.mark.parametrize("for_people", [False, True])
def test_log_lines_of_strangers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, for_people: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: for_people)
    with own_logging():
        logs.configure("INFO")
        log = logging.getLogger("of.strangers")
        with logs.about(STRANGE):
            log.warning("came to harm: %s", STRANGE)
            try:
                raise ValueError(f"\n{STRANGE}")
            except ValueError:
                log.exception("came to harm")
    said = capsys.readouterr().err
    assert not OBEYED.intersection(said)
    if not for_people:
        first, second = map(json.loads, said.splitlines())
        assert (first["job"], first["message"]) == (STRANGE, f"came to harm: {STRANGE}"), "as it was"
        assert second["exception"].endswith(STRANGE)
        return
    first, second, *trace = said.splitlines()
    assert f"job={ESCAPED}" in first
    assert first.endswith(f"came to harm: {ESCAPED}")
    assert second.endswith("came to harm")
    assert trace[-1].endswith(r"d\x9be\u2028f\x00\r")
    assert all(line.startswith("  ") for line in trace), "no line of it looks like a record"


def test_a_command_logs_as_all_programs_do_and_loads_that_when_it_has_to() -> None:
    script = """
import logging, sys
from typer import Typer
from stylequeue.cli import console
app = Typer()
@app.command()
def say():
    print("structlog" in sys.modules)
    logging.getLogger("a.library").warning("redis://:hunter22hunter22@host is away")
    print("structlog" in sys.modules)
console.run(app, "say")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True"]
    line = json.loads(done.stderr)
    assert (line["level"], line["logger"], line["message"]) == ("warning", "a.library", "redis://:***@host is away")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_output_that_cannot_show_a_character(stack: Stack, settings: Settings, encoding: str) -> None:
    with StyleQueue(settings) as queue:
        job_id = queue.submit(make_job(labels={"title": "山 € ü"}))
    done = run(stack, settings, "status", job_id, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert rb"title=\u5c71 \u20ac " in done.stdout
    for command in (["list"], ["watch", "山"], ["submit", "--content", "山.jpg", "--style", "山.jpg"], ["--help"]):
        done = run(stack, settings, *command, PYTHONIOENCODING=encoding, LC_ALL="C")
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["list"], ["schema", "event"], ["list", "--json"]])
def test_a_reader_that_has_enough(stack: Stack, settings: Settings, command: list[str]) -> None:
    with StyleQueue(settings) as queue:
        queue.submit_many([make_job(labels={"filler": "x" * 200}) for _ in range(20)])
    reading, writing = os.pipe()
    os.close(reading)
    url = as_role(settings, "monitor").redis_url.get_secret_value()
    own = {**os.environ, **stack.env, "STYLEQUEUE_REDIS_URL": url}
    line = [sys.executable, "-m", "stylequeue.cli", *command]
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(line, env=own, stdout=pipe, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.stderr == b""
    assert done.returncode == 141


# Lists


def job(number: int, **fields: object) -> JobStatus:
    known = {
        "id": f"job-{number}",
        "state": "queued",
        "run": 1,
        "attempt": 0,
        "queue": "paint",
        "labels": {},
        "job": None,
    }
    times = dict.fromkeys(("created_at", "updated_at", "deadline_at"), NOW)
    return JobStatus.model_validate({**known, **times, **fields})


def test_a_table_fits_the_terminal() -> None:
    jobs = [
        job(1, id="01a214eb-a530-736f-bfac-bbf9caada2ec", labels={"user": "42", "title": "long " * 20}),
        job(2, state="succeeded", labels={"title": "山水" * 30}),
        job(3, labels={}),
    ]
    lines = list(table(jobs, width=80, now=NOW + timedelta(hours=3)))
    assert lines[0].split() == ["STATE", "AGE", "ID", "LABELS"]
    assert all(cell_len(line) <= 80 for line in lines)
    assert lines[1].startswith("queued       3h  01a214eb-a530-736f-bfac-bbf9caada2ec  user=42 title=long ")
    assert lines[1].endswith("...")
    assert lines[3] == "queued       3h  job-3"
    assert len({line.index(word) for line, word in zip(lines, ("ID", "01a2", "job-2", "job-3"), strict=True)}) == 1


def test_nothing_is_cut_where_there_is_no_terminal() -> None:
    (_, line) = table([job(1, labels={"title": "long " * 60})], now=NOW)
    assert line.count("long") == 60


@pytest.mark.parametrize(
    ("span", "shown"),
    [
        ({"seconds": -5}, "0s"),
        ({"seconds": 59}, "59s"),
        ({"minutes": 1}, "1m"),
        ({"hours": 23}, "23h"),
        ({"days": 40}, "40d"),
    ],
)
def test_ages(span: dict[str, float], shown: str) -> None:
    assert age(timedelta(**span)) == shown


# What every command has


def test_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"stylequeue {__version__}\n"


@pytest.mark.parametrize(
    "command",
    ["", "submit", "list", "status", "watch", "wait", "download", "cancel", "retry", "delete", "keeper", "doctor",
     "schema", "upload", "dead", "dead list", "dead show", "dead replay", "dead drop"],
)  # fmt: skip
def test_help_has_a_short_name(command: str) -> None:
    long, short = (CliRunner().invoke(app, [*command.split(), flag]) for flag in ("--help", "-h"))
    assert short.exit_code == 0
    assert short.stdout == long.stdout
    assert short.stdout.startswith("Usage: ")


@pytest.mark.parametrize("command", ["worker", "models", "models pull", "up", "demo"])
def test_help_of_what_others_run(command: str) -> None:
    line = [sys.executable, "-m", "stylequeue.cli", *command.split(), "-h"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"Usage: stylequeue {command}" in done.stdout


def test_completion() -> None:
    """As bash asks for it, with what typer installs."""
    env = {
        **os.environ,
        "_STYLEQUEUE_COMPLETE": "complete_bash",
        "COMP_WORDS": "stylequeue list --state ",
        "COMP_CWORD": "3",
    }
    line = [str(Path(sys.executable).with_name("stylequeue"))]
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["queued", "running", "succeeded", "failed", "cancelled", "expired"]
