"""A worker that cannot do its work says so, and ends with a code that says it too."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery.utils.dispatch import Signal

from stylequeue.contract.errors import ExitCode, InvalidSettings
from stylequeue.local import Process, Stack
from stylequeue.settings import Settings
from stylequeue.tracing import exporting
from stylequeue_worker.process import stopping
from stylequeue_worker.process.receivers import connect
from stylequeue_worker.work.lease import STOP_FILE_VARIABLE
from tests.support.deployment import WAIT_S, Deployment

HEAD = "from stylequeue.settings import Settings\nfrom stylequeue_worker.process.app import make_worker_app\n"
APP = "app = make_worker_app(Settings.load(), module='broken_worker', load_engine=load)\n"


def start(stack: Stack, settings: Settings, directory: Path, module: str, *command: str) -> Process:
    (directory / "broken_worker.py").write_text(module)
    env = {"PYTHONPATH": str(directory), "STYLEQUEUE_REDIS_URL": settings.redis_url.get_secret_value()}
    return stack.process("broken", [sys.executable, *command], env=env)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("RuntimeError('no model today')", ExitCode.JOB_FAILED),
        ("CannotServe('out_of_memory', 'no model today', 'buy some')", ExitCode.CANNOT_SERVE),
    ],
)
def test_a_worker_that_cannot_warm_up_stops(
    stack: Stack, settings: Settings, tmp_path: Path, error: str, code: ExitCode
) -> None:
    load = f"from stylequeue.contract.errors import CannotServe\ndef load(settings): raise {error}\n"
    command = ("-m", "celery", "-A", "broken_worker", "worker", "-n", "broken@%h")
    worker = start(stack, settings, tmp_path, HEAD + load + APP, *command)
    assert worker.wait(WAIT_S) == code
    assert "no model today" in worker.log_text()
    worker.stop()


def test_an_unrecoverable_end_has_a_code(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    """Also where Celery is started by a program, whose own way of doing that loses it."""
    broken = (
        "from celery import bootsteps\n"
        "class Broken(bootsteps.StartStopStep):\n"
        "    requires = ('celery.worker.consumer.tasks:Tasks',)\n"
        "    def start(self, consumer): raise RuntimeError('out of order')\n"
        "app.steps['consumer'].add(Broken)\n"
    )
    main = "if __name__ == '__main__': app.worker_main(['worker', '--hostname=broken@%h'])\n"
    module = HEAD + "def load(settings): raise NotImplementedError\n" + APP + broken + main
    worker = start(stack, settings, tmp_path, module, str(tmp_path / "broken_worker.py"))
    assert worker.wait(WAIT_S) == ExitCode.JOB_FAILED
    assert "out of order" in worker.log_text()
    worker.stop()


def failing(error: Exception) -> Any:
    def receiver(**_: Any) -> None:
        raise error

    return receiver


def test_a_receiver_that_raises_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    signal, heard = Signal(name="tested"), []
    connect(signal, failing(RuntimeError("cannot hear")))
    connect(signal, lambda word, **_: heard.append(word))
    signal.send(None, word="hello")
    assert heard == ["hello"], "the others hear all the same"
    [said] = [record for record in caplog.records if record.name == connect.__module__]
    assert said.levelno == logging.CRITICAL
    assert "tested" in said.getMessage()
    assert said.exc_info
    assert str(said.exc_info[1]) == "cannot hear"


@pytest.mark.parametrize(
    ("error", "code"),
    [(RuntimeError("cannot begin"), ExitCode.JOB_FAILED), (InvalidSettings("cannot begin"), ExitCode.BAD_INPUT)],
)
def test_a_vital_receiver_that_raises_ends_the_process(
    caplog: pytest.LogCaptureFixture, error: Exception, code: ExitCode
) -> None:
    signal = Signal(name="tested")
    connect(signal, failing(error), vital=True)
    with pytest.raises(SystemExit) as caught:
        signal.send(None)
    assert caught.value.code == code
    assert "cannot begin" in caplog.text


def test_what_ends_the_process_on_purpose_does_so() -> None:
    signal = Signal(name="tested")

    def leave(**_: Any) -> None:
        raise SystemExit(ExitCode.CANNOT_SERVE)

    connect(signal, leave)
    with pytest.raises(SystemExit) as caught:
        signal.send(None)
    assert caught.value.code == ExitCode.CANNOT_SERVE


def test_where_its_threads_are_is_shown_without_what_they_hold(deployment: Deployment) -> None:
    """Celery's own answer to SIGUSR1 prints local variables, among them settings and addresses."""
    worker = deployment.worker("asked")
    os.kill(worker.pid, signal.SIGUSR1)
    worker.wait_for_line("Current thread", WAIT_S)
    assert worker.running
    password = deployment.settings.redis_url.get_secret_value().split(":")[2].split("@")[0]
    assert password not in worker.log_text()
    assert "LOCAL VARIABLES" not in worker.log_text()


@pytest.mark.parametrize("hurry", [False, True])
def test_the_child_is_gone_before_traces_are_waited_for(monkeypatch: pytest.MonkeyPatch, hurry: bool) -> None:
    """Whoever is out of patience with this process kills it alone, and its child would go on."""
    status: list[int] = []
    within_s: list[float] = []
    monkeypatch.setenv(STOP_FILE_VARIABLE, os.devnull)
    monkeypatch.setattr(os, "_exit", status.append)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        monkeypatch.setattr(stopping, "active_children", lambda: [child])

        def flush(seconds: float) -> None:
            assert child.wait(WAIT_S) == -signal.SIGKILL
            within_s.append(seconds)

        monkeypatch.setattr(exporting, "flush", flush)
        stops = stopping.Stopping(0.5, lambda: None)
        stops.ask(hurry=hurry)
        stops._see_to_it()
    assert status == [128 + signal.SIGKILL]
    assert len(within_s) == (0 if hurry else 1)
    assert all(0 <= seconds <= 0.1 for seconds in within_s), "what is left of the grace"
