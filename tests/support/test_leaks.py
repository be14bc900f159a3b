"""That a secret which is told is found, wherever it is; and a line that is no object."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.distribution import ROOT
from tests.support.leaks import PLANTED, Leaks
from tests.support.log_lines import is_ours, no_objects

KEY = f"sq_{'a' * 12}_{'b' * 64}_{'c' * 8}"
TESTS = """
import logging, subprocess, sys
import click
from click.testing import CliRunner
from stylequeue.local import Process, server

KEY, SECRET = "sq_" + "a" * 12 + "_" + "b" * 64, "whsec_" + "A" * 32
ADDRESS = "redis://:something-secret@127.0.0.1"
SAYS = "import sys; sys.exit(sys.argv[1])"


def test_log(caplog):
    caplog.set_level("INFO")
    logging.getLogger("here").info("with %s", KEY)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.exception("it failed")


def test_servers_password(tmp_path):
    process = Process("teller", ["echo", server.new_secret()], directory=tmp_path, log=tmp_path / "log")
    process.wait(60)
    process.stop()
    command = ["sh", "-c", "echo '{}'; echo not JSON", "-m", "stylequeue_worker"]
    Process("worker", command, directory=tmp_path, log=tmp_path / "3").wait(60)
    Process("forgotten", ["echo", ADDRESS], directory=tmp_path, log=tmp_path / "2").wait(60)


def test_commands():
    subprocess.run([sys.executable, "-c", SAYS, KEY], capture_output=True)

    @click.command()
    def fail():
        click.echo(KEY)  # as it was asked for
        click.echo(KEY, err=True)

    CliRunner().invoke(fail)


def test_output():
    print(SECRET, file=sys.stderr)
"""
FOUND = [
    r"a line of here: with sq_aaaaaaaaa\.\.\.",
    r"a traceback of root: ValueError: whsec_AAAAAA\.\.\.",
    rf"the log of teller: {PLANTED}\.\.\.",
    r"the log of forgotten: redis://:something-s\.\.\.",
    r"no object in the log of worker: \{\}\n",
    r"no object in the log of worker: not JSON\n",
    r"standard error of \[.*: sq_",
    r"standard error of the command: sq_",
    r"Captured stderr call of .*test_output: whsec_",
]


@pytest.mark.parametrize("says", [True, False])
def test_the_run_fails_that_tells_a_secret(tmp_path: Path, says: bool) -> None:
    """In a process of xdist's, as all tests are run."""
    (tmp_path / "conftest.py").write_text("from tests.support.leaks import no_secret_is_told, pytest_runtest_logreport")
    (tmp_path / "test_it.py").write_text(TESTS if says else "def test_nothing(): pass")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "1",
        "--disable-plugin-autoload",
        "-p",
        "xdist",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE)
    said = done.stdout.decode()
    assert done.returncode == says, said
    assert [part for part in FOUND if says and not re.search(part, said)] == [], said
    assert KEY[:80] not in said.replace(TESTS, "")


@pytest.mark.parametrize(
    "text",
    [
        "Connected to redis://:**@127.0.0.1:6379/0",
        "redis://:********@127.0.0.1:6379/0",
        "https://example.org/a:b@c",
        "sq_aaaaaaaaaaaa",
        "the key 3f1c2a1e5b7d of acme",
    ],
)
def test_what_is_no_secret_may_be_told(text: str) -> None:
    leaks = Leaks()
    leaks.look("here", text)
    assert (leaks.found, leaks.looked_at) == ([], 1)


LINE = '{"time": "t", "level": "info", "pid": 7, "logger": "l", "message": "m"}'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{LINE}\n{LINE}\n", []),
        (
            "I0000 00:00:1795725223.765473    4990 port.cc:153] oneDNN\nWARNING: All log messages before absl::Init\n",
            [],
        ),
        (f"{LINE}\nI am a line\n{LINE}\n", ["I am a line"]),
        ('{"time": "t"}\n[]\n', ['{"time": "t"}', "[]"]),
        (f"{LINE}{LINE}\n", [LINE + LINE]),
        ("error [network_unavailable] this worker cannot paint\n      `stylequeue models pull fast`\n", []),
        (
            f"{LINE}\nerror [network_unavailable] this worker cannot paint\n",
            ["error [network_unavailable] this worker cannot paint"],
        ),
        (f'{LINE}\n{{"time": "t", "le', []),
    ],
)
def test_lines_that_are_no_objects(text: str, found: list[str]) -> None:
    assert no_objects(text) == found


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        ("python -m celery -A tests.support.fake_worker worker", True),
        ("python -m stylequeue_worker --queues paint", True),
        ("prlimit --as=1 python -m stylequeue.cli keeper", True),
        ("python -m tests.support.dying_gateway gateway --port 1", True),
        ("python -m stylequeue.cli up", False),
        ("valkey-server valkey.conf", False),
    ],
)
def test_whose_lines_are_objects(command: str, ours: bool) -> None:
    assert is_ours("it", command.split()) == ours
    assert not is_ours("older", command.split())
