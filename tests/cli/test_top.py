"""`stylequeue top`: everything on one screen of 80 columns, however many work."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from stylequeue.cli.top import look, picture
from stylequeue.client import StyleQueue
from stylequeue.local import environment
from stylequeue.settings import Settings
from tests.ledger.test_registry import live_worker
from tests.support.command import Command
from tests.support.jobs import make_job
from tests.support.ledger import FAILED, claim
from tests.support.processes import wait_for
from tests.support.roles import as_role

ROWS, COLUMNS = 24, 80


def drawn(queue: StyleQueue) -> list[str]:
    screen = Console(width=COLUMNS, height=ROWS, file=io.StringIO(), force_terminal=False)
    screen.print(picture(*look(queue), rows=ROWS))
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert all(len(line) <= COLUMNS for line in lines)
    assert len(lines) <= ROWS
    return [line.rstrip() for line in lines]


def register(queue: StyleQueue, count: int, painting: int) -> None:
    for number in range(count):
        at = {"job": f"job-{number}", "step": 30, "steps": 120, "steps_per_s": 2.5} if number < painting else {}
        queue._ledger.registry.register(live_worker(f"w{number:02}@{'node' * 10}", **at))


@pytest.mark.parametrize(("count", "painting"), [(0, 0), (3, 2), (40, 30)])
def test_it_fits(queue: StyleQueue, count: int, painting: int) -> None:
    job, hurt = make_job(), make_job()
    queue.submit_many([job, hurt, make_job(queue="bulk")])
    queue._ledger.finish(hurt.id, fence=claim(queue._ledger, hurt).record.fence, data=FAILED)
    queue.pause("bulk")
    register(queue, count, painting)
    lines = drawn(queue)
    text = "\n".join(lines)
    assert any(line.startswith("paint ") for line in lines)
    assert "bulk (paused)" in text
    assert "[image_empty] there is nothing" in text
    assert "0 dead letters" in text
    shown = [line for line in lines if line.startswith("w") and "@" in line]
    if count == 0:
        assert "no worker lives" in text
    elif count == 3:
        assert [line[:3] for line in shown] == ["w00", "w01", "w02"]
        assert "30/120" in shown[0]
        assert "idle" in shown[2]
        assert "more" not in text
    else:
        assert len(shown) >= 3
        assert f"... and {count - len(shown)} more" in text
        assert all("30/120" in line for line in shown), "those that paint come first"


def test_different_versions_are_said(queue: StyleQueue) -> None:
    for number in range(2):
        queue._ledger.registry.register(live_worker(f"w{number}@here", version=f"1.{number}"))
    assert "different versions: 1.0, 1.1" in "\n".join(drawn(queue))


def test_once_for_people_and_for_programs(queue: StyleQueue, settings: Settings) -> None:
    queue.submit(make_job())
    register(queue, 2, 1)
    command = Command(environment(settings))
    assert "waiting" in command("top", "--once").stdout
    found = json.loads(command("top", "--once", "--json").stdout)
    assert (found["queues"]["paint"]["waiting"], found["queues"]["paint"]["load"]) == (1, 1)
    assert [worker["job"] for worker in found["workers"]] == ["job-0", None]
    assert (found["dead_letters"], found["failed"]) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 3, 40])
def test_on_a_terminal(queue: StyleQueue, settings: Settings, count: int, tmp_path: Path) -> None:
    tmux = shutil.which("tmux")
    if tmux is None:
        pytest.skip("tmux is not installed")
    register(queue, count, count // 2)
    call = [tmux, "-S", str(tmp_path / "tmux")]
    command = [sys.executable, "-m", "stylequeue.cli", "top", "--interval", "0.3"]
    size = ["-x", str(COLUMNS), "-y", str(ROWS)]
    monitors = environment(as_role(settings, "monitor"))
    env = {**monitors, "PATH": "/usr/bin:/bin", "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    subprocess.run([*call, "new-session", "-d", *size, *command], env=env, check=True)

    def screen() -> str:
        done = subprocess.run([*call, "capture-pane", "-p"], env=env, capture_output=True, text=True, check=True)
        return done.stdout

    try:
        wait_for(lambda: "dead letters" in screen(), 60, "the screen to be drawn")
        assert ("no worker lives" in screen()) == (count == 0)
        assert ("more" in screen()) == (count == 40)
        before = screen()
        queue.submit(make_job(queue="bulk"))
        wait_for(lambda: screen() != before, 60, "it to be drawn anew")
    finally:
        subprocess.run([*call, "kill-server"], env=env, check=False)
