"""What is kept from one start to the next, who may use it, and how the command finds it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stylequeue.cli.deployment import data_home, up_file, variables_of_up
from stylequeue.contract.errors import ExitCode, InvalidSettings, Unavailable
from stylequeue.local import Stack
from stylequeue.local.announce import announced
from stylequeue.local.lock import lock
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.support.processes import wait_gone

WAIT_S = 60


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def addresses(stack: Stack) -> dict[str, str]:
    return {name: value for name, value in stack.env.items() if "REDIS" in name or "S3" in name}


def test_ports_and_keys_are_those_of_the_last_start(tmp_path: Path) -> None:
    with Stack(tmp_path, Settings()) as stack:
        first = addresses(stack)
    assert stat.S_IMODE((tmp_path / "valkey" / "server.json").stat().st_mode) == 0o600
    with Stack(tmp_path, Settings()) as stack:
        assert addresses(stack) == first
        assert stack.valkey.moved == stack.seaweedfs.moved == []
        port = stack.valkey.port
    with socket.socket() as somebody:
        somebody.bind((HOST, port))
        somebody.listen()
        with Stack(tmp_path, Settings()) as stack:
            assert stack.valkey.moved == [port]
            assert stack.valkey.port != port
            assert stack.valkey.password not in first["STYLEQUEUE_REDIS_URL"], "which somebody may have heard there"
            assert stack.seaweedfs.endpoint_url == first["STYLEQUEUE_S3_ENDPOINT_URL"]


def test_a_directory_far_down(tmp_path: Path) -> None:
    """The servers' sockets are found all the same, though addresses of sockets are short."""
    with Stack(tmp_path / ("far" * 30) / ("down" * 20), Settings()) as stack:
        assert stack.seaweedfs._answers()


def test_a_torn_memory_means_new_ports_and_keys(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir(mode=0o700)
    (tmp_path / "valkey" / "server.json").write_text('{"ports": {"re')
    with Stack(tmp_path, Settings()) as stack:
        assert stack.valkey.password


def test_one_stack_a_directory(tmp_path: Path) -> None:
    with Stack(tmp_path, Settings()) as stack:
        with pytest.raises(Unavailable, match=f"in use.*{os.getpid()}.*--data"), Stack(tmp_path, Settings()):
            pass
        assert stack.valkey._answers(), "the first one is unharmed"
    with Stack(tmp_path, Settings()):
        pass


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(Unavailable, match="cannot be used: Not a directory"),
        Stack(tmp_path / "file" / "in", Settings()),
    ):
        pass


def test_the_lock_of_a_killed_one_holds_until_its_servers_have_ended(tmp_path: Path) -> None:
    """Else the next one would open the files that they still write."""
    program = """
        import sys, time
        from pathlib import Path
        from stylequeue.local import Stack

        with Stack(Path(sys.argv[1])) as stack:
            print(stack.valkey.process.pid, flush=True)
            time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as starter:
        assert starter.stdout
        valkey = int(starter.stdout.readline())
        os.kill(valkey, signal.SIGSTOP)  # it will take its time
        starter.kill()
    assert lock(tmp_path / "lock") is None
    os.kill(valkey, signal.SIGCONT)
    with Stack(tmp_path, Settings()):
        wait_gone(valkey, 1)


# How the command finds it


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "stylequeue.cli", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=WAIT_S)


def test_the_command_finds_what_is_announced(homes: Path, stack: Stack) -> None:
    with announced(stack.env) as why_not:
        assert why_not == ""
        assert stat.S_IMODE(up_file().stat().st_mode) == 0o600
        found = command("status", "nobody")
        assert found.returncode == ExitCode.BAD_INPUT
        assert "# using what `stylequeue up` runs" in found.stderr
        assert "job_not_found" in found.stderr, "it was asked there"
        note, error = (json.loads(line) for line in command("status", "nobody", "--json").stderr.splitlines())
        assert "stylequeue up" in note["note"]
        assert error["error"]["code"] == "job_not_found"
    assert not up_file().exists()
    assert variables_of_up() == {}


def test_the_environment_comes_first(homes: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLEQUEUE_REDIS_URL", "redis://127.0.0.1:1/0")
    with announced(stack.env):
        asked = command("status", "nobody")
    assert asked.returncode == ExitCode.NOT_REACHABLE
    assert "127.0.0.1:1" in asked.stderr
    assert "using" not in asked.stderr


def test_the_library_never_looks_there(homes: Path, stack: Stack) -> None:
    with announced(stack.env):
        assert Settings.load() == Settings()


def test_what_a_killed_one_announced_is_not_taken(homes: Path, stack: Stack) -> None:
    with announced(stack.env):
        left_behind = up_file().read_text()
    up_file().write_text(left_behind)
    assert variables_of_up() == {}
    asked = command("status", "nobody")
    assert "job_not_found" not in asked.stderr
    if asked.returncode == ExitCode.NOT_REACHABLE:  # unless this machine has a Redis of its own
        assert "stylequeue up" in asked.stderr
    with announced(stack.env) as why_not:
        assert why_not == "", "it is in nobody's way"


def test_the_first_of_two_is_found(homes: Path, stack: Stack) -> None:
    with announced({"STYLEQUEUE_REDIS_URL": "first"}):
        with announced({"STYLEQUEUE_REDIS_URL": "second"}) as why_not:
            assert "another" in why_not
            assert variables_of_up() == {"STYLEQUEUE_REDIS_URL": "first"}
        assert variables_of_up() == {"STYLEQUEUE_REDIS_URL": "first"}


def test_an_unwritable_home_is_said_and_no_reason_to_stop(homes: Path, stack: Stack) -> None:
    (homes / "state").write_text("no directory")
    with announced(stack.env) as why_not:
        assert "cannot be written" in why_not


def test_homes(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_home() == homes / "data" / "stylequeue"
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert data_home() == Path("/home/somebody/.local/share/stylequeue")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert up_file() == Path("/home/somebody/.local/state/stylequeue/up.json")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 54321)
    with pytest.raises(InvalidSettings, match="no home directory"):
        up_file()
    assert variables_of_up() == {}
