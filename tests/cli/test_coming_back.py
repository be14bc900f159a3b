"""A command that is broken off, or cannot write, leaves a job to which one comes back."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stylequeue.cli import app
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import ExitCode
from stylequeue.contract.job import Job
from stylequeue.local import Stack, environment
from stylequeue.settings import Settings
from tests.support.deployment import ENDLESS, Deployment
from tests.support.processes import wait_for
from tests.support.roles import as_role

WAIT_S = 60


class Shell:
    """Runs the command with the settings of a deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self.env = {**os.environ, **environment(as_role(deployment.settings, "operator"))}

    def start(self, *arguments: str | Path, **how: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "stylequeue.cli", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.env, stdout=pipe, stderr=pipe, text=True, **how)

    def __call__(self, *arguments: str | Path) -> Result:
        """In this process, which saves it from importing everything anew."""
        return CliRunner(env=self.env).invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def at_work(stack: Stack, module_settings: Settings) -> Iterator[Deployment]:
    """One worker for all of these tests."""
    with Deployment(stack, module_settings) as deployment:
        deployment.worker()
        yield deployment


@pytest.fixture
def shell(at_work: Deployment) -> Shell:
    return Shell(at_work)


@pytest.fixture
def job_id(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W+", "-", request.node.name).strip("-")


def submitting(deployment: Deployment, job_id: str, *more: str | Path, steps: int) -> Sequence[str | Path]:
    picture = deployment.photograph
    uri = f"s3://{picture.bucket}/{picture.key}"
    return ["submit", "--content", uri, "--style", uri, "--size", "64", "--steps", str(steps), "--id", job_id, *more]


def until_painting(queue: StyleQueue, job_id: str) -> None:
    for event in queue.watch(job_id, timeout_s=WAIT_S):
        if event.type.endswith("progress.v1"):
            return


@pytest.mark.parametrize("command", ["submit", "wait", "watch"])
def test_ctrl_c_ends_the_waiting_and_not_the_job(
    at_work: Deployment, shell: Shell, job_id: str, tmp_path: Path, command: str
) -> None:
    out = tmp_path / "out.jpg"
    if command == "submit":
        waiting = shell.start(*submitting(at_work, job_id, "-o", out, steps=ENDLESS))
    else:
        assert shell(*submitting(at_work, job_id, steps=ENDLESS)).exit_code == 0
        target: list[str | Path] = [] if command == "watch" else ["-o", out]
        waiting = shell.start(command, job_id, *target)
    with waiting:
        assert waiting.stdout
        assert waiting.stderr
        # It speaks of the painting: it is waiting.
        told = waiting.stdout if command == "watch" else waiting.stderr
        lines = list(takewhile(lambda line: "step" not in line, told))
        assert "preparing" in lines[-1], "what comes before the first step has a name"
        waiting.send_signal(signal.SIGINT)
        said = waiting.stderr.read()
    assert waiting.returncode == ExitCode.INTERRUPTED
    assert f"job {job_id} goes on" in said
    assert f"stylequeue cancel {job_id}" in said
    assert (f"stylequeue wait {job_id}" if command == "watch" else f"stylequeue wait {job_id} -o {out}") in said
    assert "Traceback" not in said
    assert at_work.queue.status(job_id).state == "running"
    assert shell("cancel", job_id).exit_code == 0


def test_ctrl_c_for_machines(at_work: Deployment, shell: Shell, job_id: str) -> None:
    with shell.start(*submitting(at_work, job_id, "--wait", "--json", steps=ENDLESS)) as waiting:
        wait_for(lambda: job_id in [job.id for job in at_work.queue.jobs()], WAIT_S, "the job to be there")
        until_painting(at_work.queue, job_id)
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=WAIT_S)
    assert (waiting.returncode, out) == (ExitCode.INTERRUPTED, "")
    assert json.loads(err)["error"]["code"] == "interrupted"
    at_work.queue.cancel(job_id)


def test_a_disk_that_is_full_after_the_painting(at_work: Deployment, shell: Shell, job_id: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jpg"

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    with shell.start(*submitting(at_work, job_id, "-o", out, steps=2), preexec_fn=no_room) as process:
        _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == ExitCode.JOB_FAILED
    assert "file too large" in said
    assert f"job {job_id} is done" in said
    assert f"stylequeue download {job_id} -o FILE" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []

    fetched = shell("download", job_id, "-o", out)
    assert (fetched.exit_code, fetched.stdout.strip()) == (0, str(out))
    assert out.read_bytes()[:2] == b"\xff\xd8"
    again = tmp_path / "again.jpg"
    assert shell("wait", job_id, "-o", again, "--json").exit_code == 0
    assert again.read_bytes() == out.read_bytes()


def test_fetching_what_is_not_there(at_work: Deployment, shell: Shell, job_id: str, tmp_path: Path) -> None:
    shell(*submitting(at_work, job_id, steps=ENDLESS))
    refused = shell("download", job_id, "-o", tmp_path / "out.jpg")
    assert refused.exit_code == ExitCode.BAD_INPUT
    assert "job_open" in refused.stderr
    named_wrongly = shell("wait", job_id, "-o", tmp_path / "out.png")
    assert named_wrongly.exit_code == ExitCode.BAD_INPUT
    assert "the picture is jpeg, not png" in named_wrongly.stderr
    late = shell("wait", job_id, "--timeout", "1s")
    assert late.exit_code == ExitCode.JOB_FAILED
    assert "has not ended after 1 s" in late.stderr
    shell("cancel", job_id)
    gone = shell("wait", job_id)
    assert gone.exit_code == ExitCode.JOB_FAILED
    assert "[cancelled]" in gone.stderr
    assert shell("download", job_id, "-o", tmp_path / "out.jpg").exit_code == ExitCode.JOB_FAILED
    assert list(tmp_path.iterdir()) == []


def test_jobs_are_listed(deployment: Deployment) -> None:
    shell = Shell(deployment)
    jobs = [deployment.job(labels={"user": str(number)}) for number in range(3)]
    deployment.queue.submit_many(jobs)
    deployment.queue.cancel(jobs[0].id)

    def listed(*arguments: str) -> list[str]:
        return [line.split()[2] for line in shell("list", *arguments).stdout.splitlines()[1:]]

    def ids(*wanted: Job) -> list[str]:
        return [job.id for job in wanted]

    assert set(listed()) == set(ids(*jobs))
    assert listed("--state", "cancelled") == ids(jobs[0])
    assert listed("--label", "user=2") == ids(jobs[2])
    assert listed("--label", "user=2", "--state", "cancelled") == []
    first = shell("list", "--limit", "2")
    after = first.stderr.split("--after ")[1].strip()
    assert {*listed("--limit", "2"), *listed("--limit", "2", "--after", after)} == set(ids(*jobs))
    assert {job["id"] for job in json.loads(shell("list", "--json").stdout)} == set(ids(*jobs))
    assert "no jobs" in shell("list", "--state", "failed").stderr
    assert shell("list", "--limit", "0").exit_code == ExitCode.BAD_INPUT
