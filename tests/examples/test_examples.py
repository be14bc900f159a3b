"""The examples, and the README's programs, against a service whose worker paints nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stylequeue import JobStatus
from stylequeue.testing import Service, make_job
from tests.examples.conftest import ROOT
from tests.support import pictures

WAIT_S = 60
EXAMPLES = ROOT / "examples"

Run = Callable[..., str]


@pytest.fixture
def run(env: dict[str, str], tmp_path: Path) -> Run:
    """Runs a Python program in a directory of its own and gives what it prints."""

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning:__main__", *command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=env,
            timeout=WAIT_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_every_example_is_among_these() -> None:
    there = {path.name for path in EXAMPLES.glob("*.py")}
    assert there == {"backend.py", "plain_celery.py", "fastapi_app.py", "follow_events.py"}
    listed = (EXAMPLES / "README.md").read_text()
    assert all(f"[{name}]({name})" in listed for name in there)


def test_the_readmes_backend(run: Run, readme: list[str], tmp_path: Path) -> None:
    kinds = [line.split(".")[3] for line in run("-c", readme[0]).splitlines()]
    assert (kinds[0], kinds[-1]) == ("accepted", "succeeded")
    assert (tmp_path / "photo-wave.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_the_readmes_plain_celery(run: Run, readme: list[str], service: Service) -> None:
    run("-c", readme[1])
    newest = service.queue.jobs(limit=1)[0]
    assert (newest.state, newest.queue) == ("succeeded", "paint")


def test_a_backend(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(pictures.jpeg())
    said = run(EXAMPLES / "backend.py", "photo.jpg", "photo.jpg", "picture.jpg").splitlines()
    assert (said[0], said[-2], said[-1]) == ("accepted", "succeeded", "picture.jpg: 512 x 341 px")
    assert (tmp_path / "picture.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_plain_celery(run: Run, service: Service) -> None:
    said = run(EXAMPLES / "plain_celery.py", "s3://uploads/photo.jpg", "s3://styles/wave.jpg")
    newest = service.queue.jobs(limit=1)[0]
    assert (said, newest.queue) == (f"s3://results/{newest.id}.jpg\n", "fast")


def test_following_events(run: Run, service: Service, tmp_path: Path) -> None:
    job = make_job(recipe={"method": "fast"})
    service.queue.wait(service.queue.submit(job), timeout_s=WAIT_S)
    lines = [f"{job.id}: accepted", f"{job.id}: started", f"{job.id}: s3://results/{job.id}.jpg"]
    command = (EXAMPLES / "follow_events.py", tmp_path / "position.txt", "--once")
    assert run(*command).splitlines()[-3:] == lines
    assert run(*command) == "", "it goes on where it ended"
    failing = make_job(content={"bucket": "uploads", "key": "nowhere.jpg"})
    service.queue.submit(failing)
    wait_for_end(service, failing.id)
    assert f"{failing.id}: [object_not_found]" in run(*command)
    # Away for longer than events are kept.
    (tmp_path / "position.txt").write_text("1-0")
    assert lines[-1] in run(*command)


def wait_for_end(service: Service, job_id: str) -> JobStatus:
    for _ in service.queue.watch(job_id, timeout_s=WAIT_S):
        pass
    return service.queue.status(job_id)


def test_a_web_service(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in service.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(EXAMPLES)
    from fastapi.testclient import TestClient
    from fastapi_app import app  # type: ignore[import-not-found]

    with TestClient(app, follow_redirects=False) as web:
        asked = web.post("/pictures", json={"photo": "photo.jpg", "painting": "wave.jpg", "strength": 0.6})
        assert (asked.status_code, asked.json()["state"]) == (202, "queued")
        job_id = asked.json()["id"]
        wait_for_end(service, job_id)
        assert web.get(f"/pictures/{job_id}").json()["state"] == "succeeded"
        assert web.get("/pictures").json()[0]["id"] == job_id
        shown = web.get(f"/pictures/{job_id}/picture")
        assert (shown.status_code, "X-Amz-Signature" in shown.headers["location"]) == (307, True)
        # What is wrong has a status, a code and what to do.
        assert web.post("/pictures", json={"photo": "a", "painting": "b", "strength": 2}).status_code == 422
        assert web.post("/pictures", json={"photo": "", "painting": "b"}).json()["code"] == "invalid_job"
        missing = web.get("/pictures/no-such-job")
        assert (missing.status_code, missing.json()["code"]) == (404, "job_not_found")
        failing = web.post("/pictures", json={"photo": "nowhere.jpg", "painting": "wave.jpg"}).json()["id"]
        wait_for_end(service, failing)
        assert web.get(f"/pictures/{failing}/picture").json()["code"] == "object_not_found"


@pytest.mark.slow
def test_a_users_own_tests(run: Run) -> None:
    options = ("-q", "-W", "error", "-p", "no:valkey", "-p", "no:cacheprovider", "-c", "/dev/null")
    said = run("-m", "pytest", *options, "--rootdir", EXAMPLES, "-o", f"pythonpath={EXAMPLES}", EXAMPLES / "tests")
    assert "3 passed" in said
