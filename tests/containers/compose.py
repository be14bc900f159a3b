"""`make containers`: the compose file as it is, run with the images of `make images`, and looked at from outside.

The checks run in their order, on one deployment, and take some minutes. Its name is not the compose file's, so that
volumes of one that lives here are left alone; the ports are the same.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx2
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

from stylequeue.contract.objects import checkpoint_key
from stylequeue.contract.status import TERMINAL_STATES
from stylequeue.local.shelf import STYLES
from tests.containers.engine import Container, Project, engine
from tests.support.processes import wait_for

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker" / "compose.yaml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
ENDING = [name for name, service in SERVICES.items() if service["restart"] == "on-failure"]
LASTING = [name for name, service in SERVICES.items() if name not in ENDING and "profiles" not in service]
SAMPLES = ROOT / "producer" / "stylequeue" / "local" / "samples"
GATEWAY, STORE, PROMETHEUS = "http://127.0.0.1:8000", "http://127.0.0.1:8333", "http://127.0.0.1:9090"
PAGE = "http://127.0.0.1:8000"
START_TIMEOUT_S, JOB_TIMEOUT_S = 300, 800
GRACE_S = 20
LONG = {"method": "optimize", "size": 256, "steps": 400}
"""Of a job that is long enough to be interrupted: checkpoints come every 20 s, and at the end of a worker's grace."""


class Deployment:
    """What runs, and how callers see it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.key = ""
        self.http = httpx2.Client(base_url=GATEWAY, timeout=120)

    def ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.key}", **request.pop("headers", {})}
        return self.http.request(method, path, headers=headers, **request)

    def store(self, role: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=STORE,
            region_name="us-east-1",
            aws_access_key_id=role,
            aws_secret_access_key=self.project.secrets[f"{role.upper()}_S3_SECRET_KEY"],
            config=Config(s3={"addressing_style": "path"}),
        )

    def workers(self) -> list[dict[str, Any]]:
        return list(self.ask("GET", "/v1/workers").json()["workers"])

    def submit(self, **fields: Any) -> str:
        style = {"image": {"bucket": "styles", "key": f"shelf/{STYLES[0]}"}}
        answer = self.ask("POST", "/v1/jobs", json={"styles": [style], **fields})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.ask("GET", f"/v1/jobs/{job_id}").json())

    def ended(self, job_id: str) -> dict[str, Any]:
        wait_for(lambda: self.job(job_id)["state"] in TERMINAL_STATES, JOB_TIMEOUT_S, f"job {job_id} to end")
        view = self.job(job_id)
        assert view["state"] == "succeeded", view
        return view

    def painting(self, job_id: str, *, not_by: str = "", from_step: int = 0) -> tuple[Container, int]:
        """The container of the worker that has the job, and the step that it is at, once that is past `from_step`.

        `not_by`: the host of one that is gone, of which it is told for a while that it paints.
        """

        def found() -> tuple[str, int] | None:
            hosts = [worker["host"] for worker in self.workers() if worker.get("job") == job_id]
            there = [host for host in hosts if host != not_by]
            step = (self.job(job_id).get("progress") or {}).get("step", 0)
            return (there[0], step) if there and step > from_step else None

        seen = wait_for(found, JOB_TIMEOUT_S, f"job {job_id} to be painted past step {from_step}")
        host, step = seen or ("", 0)
        [container] = [worker for worker in self.project.containers("worker") if worker.host == host]
        return container, step

    def checkpoint(self, job_id: str) -> Any:
        """When the newest checkpoint of a job was stored; None: it has none."""
        try:
            return self.store("worker").head_object(Bucket="work", Key=checkpoint_key(job_id))["LastModified"]
        except ClientError:
            return None

    def counted(self, metric: str) -> float:
        found = re.findall(rf"^{metric}(?:\{{.*\}})? (\S+)$", self.ask("GET", "/metrics").text, re.MULTILINE)
        return sum(map(float, found))


@pytest.fixture(scope="module")
def running() -> Iterator[Deployment]:
    names = set(re.findall(r"\$\{(\w+):\?", FILE.read_text()))
    project = Project(FILE, "stylequeue-checked", {name: secrets.token_hex(24) for name in names})
    project.down()
    deployment = Deployment(project)
    try:
        project.compose("up", "--detach", "--no-build", "--scale", "worker=2")
        wait_for(lambda: answers(deployment), START_TIMEOUT_S, "the gateway to be ready")
        command = "stylequeue keys new --role admin --note checks"
        [deployment.key] = re.findall(r"\bsq_\w+", project.compose("run", "--rm", "keys", command).stdout)
        wait_for(lambda: len(deployment.workers()) == 2, START_TIMEOUT_S, "two workers")
        yield deployment
    finally:
        for container in project.containers():
            said = engine("logs", "--tail", "60", container.name, check=False)
            print(f"--- {container.name}", said.stdout, said.stderr, sep="\n")
        deployment.http.close()
        project.down()


def answers(deployment: Deployment) -> bool:
    try:
        return deployment.http.get("/readyz").status_code == 200
    except httpx2.HTTPError:
        return False


def is_picture(body: bytes) -> bool:
    return body.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))


def test_all_that_is_to_last_is_up_and_healthy(running: Deployment) -> None:
    for service in LASTING:
        containers = running.project.containers(service)
        assert len(containers) == (2 if service == "worker" else 1)
        for container in containers:
            assert container.is_running, service
            wait_for(container.healthy, START_TIMEOUT_S, f"{service} to be healthy")


@pytest.mark.parametrize("service", ENDING)
def test_what_is_to_end_has_done_its_work(running: Deployment, service: str) -> None:
    ended = wait_for(
        lambda: [c for c in running.project.containers(service) if not c.is_running], START_TIMEOUT_S, service
    )
    assert [container.inspect()["State"]["ExitCode"] for container in ended] == [0]


def test_uploads_go_by_themselves(running: Deployment) -> None:
    [rule] = running.store("operator").get_bucket_lifecycle_configuration(Bucket="uploads")["Rules"]
    assert (rule["Status"], rule["Expiration"]["Days"]) == ("Enabled", 8)


def test_every_process_is_somebody_without_rights(running: Deployment) -> None:
    for service in LASTING:
        for container in running.project.containers(service):
            processes = container.processes()
            assert processes
            for process in processes:
                assert "0" not in process["Uid"].split() + process["Gid"].split(), (service, process["Name"])
                for held in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                    assert int(process[held], 16) == 0, (service, process["Name"], held)
                assert process["NoNewPrivs"] == "1"


def test_no_root_file_system_can_be_written_to(running: Deployment) -> None:
    for service in LASTING:
        for container in running.project.containers(service):
            tried = engine("exec", container.name, "sh", "-c", "echo >/x || echo >/etc/x || echo >/usr/x", check=False)
            assert tried.returncode, service
            assert "ead-only file system" in tried.stderr


def test_a_fast_picture_comes_back_through_the_gateway(running: Deployment) -> None:
    files = {
        "content": ("chelsea.jpg", (SAMPLES / "chelsea.jpg").read_bytes(), "image/jpeg"),
        "style": (STYLES[0], (SAMPLES / STYLES[0]).read_bytes(), "image/jpeg"),
    }
    answer = running.ask("POST", "/v1/paint?wait=60", files=files, follow_redirects=False)
    job_id = ""
    while answer.status_code == 202:
        job_id = answer.json()["id"]
        answer = running.ask("GET", f"/v1/jobs/{job_id}/result", follow_redirects=False)
        if answer.status_code == 404:
            running.ended(job_id)
            answer = running.ask("GET", f"/v1/jobs/{job_id}/result", follow_redirects=False)
    if answer.is_redirect:
        answer = httpx2.get(answer.headers["Location"])
    assert answer.status_code == 200, answer.text
    assert is_picture(answer.content)


def test_pictures_go_to_the_store_and_come_from_it_by_links_that_are_signed(running: Deployment) -> None:
    """Sent past the gateway by a form, painted by optimisation, and fetched by whoever has the link, as browsers do."""
    body = (SAMPLES / "coffee.jpg").read_bytes()
    wanted = {"filename": "coffee.jpg", "content_type": "image/jpeg", "size": len(body)}
    form = running.ask("POST", "/v1/uploads", json=wanted).json()
    assert form["url"].startswith(STORE)
    sent = httpx2.post(form["url"], data=form["fields"], files={"file": ("coffee.jpg", body)}, headers={"Origin": PAGE})
    assert sent.status_code < 300, sent.text
    assert sent.headers["Access-Control-Allow-Origin"] in ("*", PAGE)
    recipe = {"method": "optimize", "size": 128, "steps": 20}
    job_id = running.submit(content=form["image"], recipe=recipe)
    view = running.ended(job_id)
    assert view["output"]["bucket"] == "results", view
    link = running.ask("GET", f"/v1/jobs/{job_id}/result", follow_redirects=False).headers["Location"]
    assert link.startswith(STORE)
    fetched = httpx2.get(link, headers={"Origin": PAGE})  # without any key
    assert fetched.status_code == 200
    assert is_picture(fetched.content)
    assert fetched.headers["Access-Control-Allow-Origin"] in ("*", PAGE)
    assert httpx2.get(link.partition("?")[0]).status_code == 403


def test_what_is_put_under_uploads_in_becomes_a_picture(running: Deployment) -> None:
    operator = running.store("operator")
    operator.put_object(Bucket="uploads", Key="in/cat.jpg", Body=(SAMPLES / "chelsea.jpg").read_bytes())

    def painted() -> str | None:
        there = operator.list_objects_v2(Bucket="results", Prefix="in/").get("Contents", ())
        return next((entry["Key"] for entry in there if entry["Key"].startswith("in/cat-")), None)

    key = wait_for(painted, JOB_TIMEOUT_S, "the upload's picture")
    assert is_picture(operator.get_object(Bucket="results", Key=key)["Body"].read())


def test_a_worker_told_to_stop_ends_within_its_grace_and_another_goes_on(running: Deployment) -> None:
    job_id = running.submit(content=a_picture(running), recipe=LONG)
    worker, step = running.painting(job_id, from_step=3)
    stored = running.checkpoint(job_id)
    resumes = running.counted("stylequeue_resumes_total")
    began_s = time.monotonic()
    engine("stop", "--time", "30", worker.name)
    took_s = time.monotonic() - began_s
    print(f"a worker at step {step} ended {took_s:.1f} s after SIGTERM")
    assert took_s < GRACE_S
    assert worker.inspect()["State"]["ExitCode"] == 0
    assert running.checkpoint(job_id) != stored, "a checkpoint was stored as it ended"
    other, resumed = running.painting(job_id, not_by=worker.host, from_step=step)
    assert other != worker
    assert running.counted("stylequeue_resumes_total") == resumes + 1
    print(f"another went on, and was seen at step {resumed}")
    assert running.ask("POST", f"/v1/jobs/{job_id}/cancel").status_code < 300
    engine("start", worker.name)
    wait_for(lambda: len(running.workers()) == 2, START_TIMEOUT_S, "two workers again")


def test_a_worker_is_killed_and_another_finishes_its_job(running: Deployment) -> None:
    job_id = running.submit(content=a_picture(running), recipe=LONG)
    running.painting(job_id)
    wait_for(lambda: running.checkpoint(job_id), JOB_TIMEOUT_S, "a checkpoint")
    worker, step = running.painting(job_id)
    resumes = running.counted("stylequeue_resumes_total")
    began_s = time.monotonic()
    engine("kill", "--signal", "KILL", worker.name)
    engine("stop", worker.name, check=False)  # else it may be restarted, and be the one to go on
    other, resumed = running.painting(job_id, not_by=worker.host)
    print(f"killed at step {step}, {time.monotonic() - began_s:.0f} s later another was seen at step {resumed}")
    assert other != worker
    view = running.ended(job_id)
    assert view["attempt"] == 2
    assert running.counted("stylequeue_resumes_total") == resumes + 1
    engine("start", worker.name)
    wait_for(lambda: len(running.workers()) == 2, START_TIMEOUT_S, "two workers again")


def test_prometheus_has_all_its_targets_and_the_alerts(running: Deployment) -> None:
    def targets() -> dict[str, str]:
        active = httpx2.get(f"{PROMETHEUS}/api/v1/targets").json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in active}

    wait_for(lambda: set(targets().values()) == {"up"}, 60, "all targets to be up")
    assert targets() == {"gateway": "up", "keeper": "up"}
    groups = httpx2.get(f"{PROMETHEUS}/api/v1/rules").json()["data"]["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
    query = {"query": "max(stylequeue_queue_workers)"}

    def workers() -> list[str]:
        found = httpx2.get(f"{PROMETHEUS}/api/v1/query", params=query).json()["data"]["result"]
        return [series["value"][1] for series in found]

    wait_for(lambda: workers() == ["2"], 60, "both workers to be counted")


def test_nothing_was_written_but_to_volumes_and_tmpfs(running: Deployment) -> None:
    for container in running.project.containers():
        assert container.changed() == set(), container.name


def test_what_is_sent_to_the_builder_is_sources(tmp_path: Path) -> None:
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path, filter="data")
        tracked = {entry.name for entry in archive if not entry.isdir()}
    planted = (".git/config", "docker/.env", "producer/.env", "worker/a.key", "requirements/b.env", "README.md.pem")
    for path in planted:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("secret")
    image, saved = "stylequeue-context", tmp_path / "saved.tar"
    file = tmp_path.with_name("Context.Dockerfile")
    file.write_text("FROM scratch\nCOPY . /context/\n")
    engine("build", "--file", str(file), "--tag", image, str(tmp_path))
    try:
        engine("save", "--output", str(saved), image)
        sent = set(contents(saved))
    finally:
        engine("rmi", image)
    assert sent
    assert sent <= tracked
    assert not sent & set(planted)
    assert {path for path in tracked if path.startswith(("producer/", "worker/", "requirements/"))} <= sent


def contents(image: Path) -> Iterator[str]:
    """Files under /context in the layers of a saved image."""
    with tarfile.open(image) as archive:
        [manifest] = json.load(archive.extractfile("manifest.json") or io.BytesIO(b"[]"))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(layer)) as files:
                for entry in files:
                    if entry.isfile():
                        yield entry.name.removeprefix("context/")


def a_picture(running: Deployment) -> dict[str, str]:
    """A picture that no job has painted yet, so that nothing is reused."""
    key = f"{secrets.token_hex(8)}.jpg"
    running.store("operator").put_object(
        Bucket="uploads", Key=key, Body=(SAMPLES / "coffee.jpg").read_bytes() + secrets.token_bytes(8)
    )
    return {"bucket": "uploads", "key": key}
