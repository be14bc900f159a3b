"""Whether a secret is told to anybody: what tests log, and what is said by all that they start, is looked through.

Secrets are known by how they look: keys of the gateway's and secrets of webhooks as ever, passwords in addresses, and
those of the servers that tests start by what is planted in them here. What a command says on its standard output is
what it was asked for, `stylequeue keys new` above all, and is not looked at.

Since every log comes by here, it is also seen whether each line of our programs' is an object (`log_lines.py`).
"""

from __future__ import annotations

import logging
import re
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stylequeue.local import Process, seaweedfs, server
from tests.support.log_lines import is_ours, no_objects

PLANTED = "5ec2e75ec2e7"
"""What every password begins with that the servers of these tests have."""
_SECRET = re.compile(
    rf"{PLANTED}[0-9a-f]+"
    r"|sq_[0-9a-f]{12}_[0-9a-f]{64}"
    r"|whsec_[A-Za-z0-9+/]{24,}"
    r"|(?<=://)[^\s/@:'\"]*:(?!\*\*\*)[^\s/@'\"]{8,}(?=@)"
)
_SHOWN = 12
"""Characters of a secret by which it is told of here."""
_LINE = 200
"""Characters of a line that is told of here."""
_TOLD_TO = ("up",)
"""Processes that tell whoever starts them how to ask: a key, an address."""
_FORMATTER = logging.Formatter()


class Leaks:
    """What was found so far, and what has still to be looked at."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.looked_at = 0
        self._processes: set[Process] = set()
        self._ours: set[Process] = set()

    def look(self, where: str, text: str | bytes | None) -> None:
        """Note the secrets in it."""
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        self.looked_at += bool(text)
        for secret in _SECRET.finditer(text or ""):
            before = secret.string[: secret.start()].rpartition("\n")[2]
            self.found.append(f"{_cut(where)}: {_cut(before[-200:])}{secret[0][:_SHOWN]}...")

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Look at what is logged, at what processes leave behind, and at what commands say is wrong."""
        self._plant(patch)
        self._watch_records(patch)
        self._watch_processes(patch)
        communicate, invoke = subprocess.Popen.communicate, CliRunner.invoke

        def communicated(process: subprocess.Popen[Any], *args: Any, **more: Any) -> Any:
            output, error = communicate(process, *args, **more)
            self.look(f"standard error of {process.args!r}", error)
            return output, error

        def invoked(runner: CliRunner, *args: Any, **more: Any) -> Any:
            result = invoke(runner, *args, **more)
            self.look("standard error of the command", result.stderr)
            return result

        patch.setattr(subprocess.Popen, "communicate", communicated)
        patch.setattr(CliRunner, "invoke", invoked)

    def end(self) -> None:
        """Look at those that were not stopped."""
        for process in self._processes:
            self._look_at(process)

    def _plant(self, patch: pytest.MonkeyPatch) -> None:
        for module in (server, seaweedfs):
            patch.setattr(module, "new_secret", lambda: PLANTED + secrets.token_hex(18))

    def _watch_records(self, patch: pytest.MonkeyPatch) -> None:
        made = logging.getLogRecordFactory()

        def record(*args: Any, **more: Any) -> logging.LogRecord:
            record = made(*args, **more)
            self.look(f"a line of {record.name}", record.getMessage())
            if record.exc_info and record.exc_info[0]:
                self.look(f"a traceback of {record.name}", _FORMATTER.formatException(record.exc_info))
            return record

        # As logging.setLogRecordFactory() does it.
        patch.setattr(logging, "_logRecordFactory", record)

    def _watch_processes(self, patch: pytest.MonkeyPatch) -> None:
        begin, stop = Process.__init__, Process.stop

        def begun(process: Process, name: str, command: Sequence[str | Path], **more: Any) -> None:
            begin(process, name, command, **more)
            self._processes.add(process)
            if is_ours(name, command):
                self._ours.add(process)

        def stopped(process: Process) -> int:
            status = stop(process)
            if process in self._processes:
                self._processes.remove(process)
                self._look_at(process)
            return status

        patch.setattr(Process, "__init__", begun)
        patch.setattr(Process, "stop", stopped)

    def _look_at(self, process: Process) -> None:
        if process.name not in _TOLD_TO:
            self.look(f"the log of {process.name}", process.log_text())
        if process in self._ours:
            lines = no_objects(process.log_text())
            self.found += [f"no object in the log of {process.name}: {_cut(line)[:_LINE]}" for line in lines]


def _cut(text: str) -> str:
    """Without more of the secrets in it than tells which they are."""
    return _SECRET.sub(lambda secret: f"{secret[0][:_SHOWN]}...", text)


_leaks = Leaks()


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_told() -> Iterator[Leaks]:
    """Once all servers are stopped: there was much to look at, no secret in it, and our lines are objects."""
    with pytest.MonkeyPatch.context() as patch:
        _leaks.watch(patch)
        yield _leaks
    _leaks.end()
    assert not _leaks.found, "\n".join(_leaks.found)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What a test left on standard error and in the log."""
    for name, text in report.sections:
        if "stderr" in name or "log" in name:
            _leaks.look(f"{name} of {report.nodeid}", text)
