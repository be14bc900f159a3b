"""docs/integrate.md: each of its programs, against a service whose worker paints nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from stylequeue.gateway import keys
from stylequeue.local.gateway import answers
from stylequeue.local.server import HOST, free_ports
from stylequeue.testing import Service
from tests.examples.conftest import ROOT
from tests.support import pictures

WAIT_S = 90
PAGE = (ROOT / "docs" / "integrate.md").read_text()
PROGRAMS = re.findall(r"^```(python|sh|js|go|php)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
RUN = {
    "python": ("program.py", [sys.executable, "program.py"]),
    "sh": ("program.sh", ["sh", "-e", "program.sh"]),
    "js": ("program.js", ["node", "program.js"]),
    "go": ("program.go", ["go", "run", "program.go"]),
    "php": ("program.php", ["php", "program.php"]),
}


def titled(number: int) -> str:
    """The heading above a program."""
    return str(re.findall(r"^## (.*)$", PAGE[: PAGE.index(PROGRAMS[number][1])], re.MULTILINE)[-1])


@pytest.fixture(scope="module")
def gateway(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What leads to a gateway of the service's."""
    path = tmp_path_factory.mktemp("gateway") / "keys.json"
    text, key = keys.make(role="submit")
    keys.add(path, key)
    [port] = free_ports(1)
    command = [sys.executable, "-m", "stylequeue.cli", "gateway", "--port", str(port)]
    process = service._stack.process("gateway", command, env={"STYLEQUEUE_KEYS_FILE": str(path)})
    process.wait_until(lambda: answers(port), WAIT_S)
    yield {"SQ_URL": f"http://{HOST}:{port}", "SQ_KEY": text}
    process.stop()


def lacks(language: str, program: str) -> str:
    """What is not installed here that a program needs."""
    tool = {"sh": "curl", "js": "node", "go": "go", "php": "php"}.get(language)
    if tool and not shutil.which(tool):
        return tool
    asked = {"js": ["node", "-e", "require('ioredis')"], "php": ["php", "-r", "new Redis();"]}.get(language)
    if asked and ("ioredis" in program or language == "php") and subprocess.run(asked, capture_output=True).returncode:
        return f"{asked[-1]} of {tool}"
    return ""


@pytest.mark.parametrize("number", range(len(PROGRAMS)), ids=titled)
def test_a_program_of_the_page(
    number: int, service: Service, gateway: dict[str, str], env: dict[str, str], tmp_path: Path
) -> None:
    language, program = PROGRAMS[number]
    if lacking := lacks(language, program):
        pytest.skip(f"not run: there is no {lacking} here")
    name, command = RUN[language]
    (tmp_path / name).write_text(program)
    for picture in ("photo.jpg", "wave.jpg"):
        (tmp_path / picture).write_bytes(pictures.jpeg())
    before = {job.id for job in service.queue.jobs(limit=1000)}
    variables = {**env, **gateway, "REDIS_URL": env["STYLEQUEUE_REDIS_URL"]}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    [job] = [job for job in service.queue.jobs(limit=1000) if job.id not in before]
    service.queue.wait(job.id, timeout_s=WAIT_S)
    assert job.queue == "fast"
    if "out.jpg" in program:
        assert (tmp_path / "out.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    elif "job.json" in program:
        assert json.loads((tmp_path / "job.json").read_text())["id"] == job.id
    else:
        assert "succeeded" in done.stdout or job.id in done.stdout


def test_the_page_has_each_of_the_doors() -> None:
    assert [titled(number) for number in range(len(PROGRAMS))] == [
        "Python",
        "Python in an event loop",
        "Python, with a database",
        "Plain Celery",
        "curl",
        "curl",
        "Node.js",
        "Node.js by the queue",
        "Go",
        "PHP",
    ]


class Killed(BaseException):
    """Here and now."""


def killed_at(line: int, call: Callable[..., object], *arguments: object) -> bool:
    """Whether the program was, before the `line`th line that it runs of its own; else it came to its end."""
    left = line

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != "program.py":
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Killed
        return trace

    sys.settrace(trace)
    try:
        call(*arguments)
    except Killed:
        return True
    finally:
        sys.settrace(None)
    return False


def test_an_order_and_its_job_are_both_or_neither(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the program is killed, and run again, there is one job for each order, and none without."""
    monkeypatch.chdir(tmp_path)
    [(_, program)] = [one for one in PROGRAMS if "outbox" in one[1]]

    def begun() -> dict[str, Any]:
        known: dict[str, Any] = {"__name__": "program"}
        exec(compile(program, "program.py", "exec"), known)
        return known

    lines = 0
    while True:
        shop, lines = begun(), lines + 1
        was_killed = killed_at(lines, shop["order"], f"{lines}-of-a-test", "Ada")
        shop["db"].close()
        if not was_killed:
            break
    shop, lines = begun(), 0
    orders = [job_id for (job_id,) in shop["db"].execute("SELECT id FROM orders")]
    assert orders
    assert sorted(orders) == sorted(job_id for (job_id,) in shop["db"].execute("SELECT id FROM outbox"))
    before = {job.id for job in service.queue.jobs(limit=1000)}
    while killed_at(lines := lines + 1, shop["relay"], service.queue):
        shop["db"].close()
        shop = begun()
    submitted = [job.id for job in service.queue.jobs(limit=1000) if job.id not in before]
    assert sorted(submitted) == sorted(orders)
    assert shop["db"].execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    shop["db"].close()
    for job_id in orders:
        service.queue.wait(job_id, timeout_s=WAIT_S)
