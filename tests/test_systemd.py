"""Units for machines without a cluster: what they start and set exists, and they are closed to all they need not."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import typer

from stylequeue.cli import command
from stylequeue.contract.base import QUEUES
from stylequeue.settings import Settings
from stylequeue.variables import PREFIX
from stylequeue_worker.__main__ import app as worker_app

DIRECTORY = Path(__file__).parents[1] / "docker" / "systemd"
UNITS = sorted(path.name for path in DIRECTORY.glob("*.service"))
COMMAND = "/opt/stylequeue/bin/stylequeue"
WORKER = "stylequeue-worker@.service"
MOST_EXPOSED = 20
"""As `systemd-analyze security` counts, in tenths: 0 is closed to everything, 100 open."""
ANALYZE = shutil.which("systemd-analyze")
FILLED = {
    "redis-url": "redis://user:p@redis.example:6379/0",
    "s3-access-key": "key",
    "s3-secret-key": "secret",
    "mark-secrets": json.dumps(["0123456789abcdef" * 2]),
}


def service(unit: str) -> dict[str, list[str]]:
    """What a unit's section of the service says, by name."""
    said: dict[str, list[str]] = defaultdict(list)
    text = (DIRECTORY / unit).read_text().partition("[Service]")[2].partition("\n[")[0]
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            said[name].append(value)
    return said


def variables(unit: str) -> dict[str, str]:
    pairs = (pair.partition("=") for line in service(unit)["Environment"] for pair in line.split())
    return {name: value for name, _, value in pairs}


def example() -> str:
    """Arguments that the worker's unit names."""
    [found] = re.findall(r"ARGUMENTS=(.+)$", (DIRECTORY / WORKER).read_text(), re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("said", [example(), (DIRECTORY.parents[1] / "README.md").read_text()], ids=["unit", "README"])
def test_the_workers_that_are_named_leave_no_queue_to_nobody(said: str) -> None:
    """Uploads go to `bulk`, unless their rule says otherwise."""
    assert {queue for queues in re.findall(r"--queues ([a-z,]+)", said) for queue in queues.split(",")} == set(QUEUES)


def test_there_is_one_for_each_process() -> None:
    expected = {"stylequeue-gateway", "stylequeue-keeper", "stylequeue-listen", "stylequeue-worker@"}
    assert {Path(unit).stem for unit in UNITS} == expected


@pytest.mark.parametrize("unit", UNITS)
def test_its_command_is_one(unit: str) -> None:
    [start] = service(unit)["ExecStart"]
    # systemd takes $ARGUMENTS apart, and leaves nothing of it where it is not set.
    program, name, *arguments = shlex.split(start.replace("$ARGUMENTS", example()).replace("%i", "0"))
    assert program == COMMAND
    of: Any = typer.main.get_command(worker_app if name == "worker" else command.app)
    (of if name == "worker" else of.commands[name]).make_context(name, arguments)
    assert ("$ARGUMENTS" in start) == (unit == WORKER)


@pytest.mark.parametrize("unit", UNITS)
def test_its_settings_exist_and_are_valid(unit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    credentials = dict(each.split(":") for each in service(unit)["LoadCredential"])
    for name in credentials:
        (tmp_path / name).write_text(FILLED[name])
    for name, value in variables(unit).items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value.replace("%d", str(tmp_path)).replace("%t", "/run").replace("%i", "0"))
    settings = Settings.load()
    assert settings.redis.password == "p"
    assert set(credentials) == {value.removeprefix("%d/") for value in variables(unit).values() if "%d" in value}
    assert all(path.startswith("/etc/stylequeue/") for path in credentials.values())


def test_the_workers_health_file_lies_in_its_own_directory() -> None:
    said = service(WORKER)
    assert variables(WORKER)["STYLEQUEUE_HEALTH_FILE"] == f"%t/{said['RuntimeDirectory'][0]}/alive"
    assert said["RuntimeDirectoryMode"] == ["0700"]


@pytest.mark.parametrize("unit", UNITS)
def test_it_has_the_time_to_end_that_it_takes(unit: str) -> None:
    [has_s] = map(float, service(unit)["TimeoutStopSec"])
    assert has_s >= Settings().grace_s + 5


@pytest.mark.parametrize("unit", UNITS)
def test_no_restart_mends_a_setting_or_a_machine(unit: str) -> None:
    from stylequeue.contract.errors import ExitCode

    [codes] = service(unit)["RestartPreventExitStatus"]
    assert {int(code) for code in codes.split()} == {ExitCode.BAD_INPUT, ExitCode.CANNOT_SERVE}


@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing(tmp_path: Path) -> None:
    """Their program is Python here, which is certainly there."""
    there = []
    for unit in UNITS:
        path = tmp_path / unit.replace("@", "@0")
        path.write_text((DIRECTORY / unit).read_text().replace(COMMAND, sys.executable))
        there.append(str(path))
    shutil.copy(tmp_path / WORKER.replace("@", "@0"), tmp_path / WORKER)
    verified = subprocess.run([str(ANALYZE), "verify", "--man=no", *there], capture_output=True, text=True, check=False)
    ours = [line for line in verified.stderr.splitlines() if "stylequeue" in line]
    assert (verified.returncode, ours) == (0, [])
    for unit in there:
        asked = ["security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", unit]
        judged = subprocess.run([str(ANALYZE), *asked], capture_output=True, text=True, check=False)
        assert judged.returncode == 0, re.findall(r"Overall.*", judged.stdout)
