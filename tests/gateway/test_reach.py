"""What a tenant's key does not reach, however it is named, and what a tenant is not told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.keeper import Keeper
from stylequeue.settings import Settings
from tests.gateway.test_edge import check_problem
from tests.gateway.test_jobs import theirs
from tests.gateway.test_pictures import form, lying
from tests.support.gate import Gate
from tests.support.jobs import make_job
from tests.support.ledger import lose_lease
from tests.support.roles import as_role
from tests.support.sse import events

# Celery's own way to store results.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

VERSION = {"version_id": "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY"}
OTHERS: dict[str, dict[str, str]] = {
    "plain": {"key": "globex/photo.jpg"},
    "by version id": {"key": "globex/photo.jpg", **VERSION},
    "dots": {"key": "acme/../globex/photo.jpg"},
    "percent": {"key": "acme/%2e%2e/globex/photo.jpg"},
    "percent, twice": {"key": "acme/%252e%252e%252fglobex/photo.jpg", **VERSION},
    "a folder's slash": {"key": "acme%2f..%2fglobex/photo.jpg"},
}
WORKER = "celery@ip-10-0-0-7"


def image(fields: dict[str, str]) -> dict[str, str]:
    return {"bucket": "uploads", **fields}


@pytest.mark.parametrize("other", OTHERS)
def test_a_job_names_no_object_of_anothers(gate: Gate, queue: StyleQueue, other: str) -> None:
    key, there = gate.key("submit", "acme"), image(OTHERS[other])
    bodies: list[dict[str, Any]] = [
        {"content": there},
        {"styles": [{"image": there}]},
        {"styles": [{"image": image({"key": "acme/style.jpg"}), "mask": there}]},
        {"keep_mask": there},
        {"recipe": {"method": "optimize", "init": "image", "init_image": there}},
        {"output": {"bucket": "results", "key": OTHERS[other]["key"]}},
    ]
    for body in bodies:
        check_problem(gate.post("/v1/jobs", json=theirs(**body), key=key), "bucket_not_allowed")
    assert queue.jobs() == []


def test_by_its_version_id_a_job_names_ones_own_alone(gate: Gate) -> None:
    key = gate.key("submit", "acme")
    mine, shared = image({"key": "acme/photo.jpg", **VERSION}), {"bucket": "styles", "key": "wave.jpg", **VERSION}
    assert gate.post("/v1/jobs", json=theirs(content=mine), key=key).status_code == 202
    refused = gate.post("/v1/jobs", json=theirs(styles=[{"image": shared}]), key=key)
    assert "version" in check_problem(refused, "bucket_not_allowed")["detail"]


@pytest.mark.parametrize("other", [name for name in OTHERS if name != "dots"])
def test_a_form_takes_nothing_of_anothers_from_a_template(
    settings: Settings, tmp_path: Path, queue: StyleQueue, other: str
) -> None:
    """A form's own pictures are its files; what else it names, its template does."""
    file = tmp_path / "operator.toml"
    tables = {"theirs": OTHERS[other], "mine": {"key": "acme/style.jpg", **VERSION}}
    for name, fields in tables.items():
        inline = ", ".join(f'{field} = "{value}"' for field, value in image(fields).items())
        with file.open("a") as text:
            text.write(f"[template.{name}]\nstyles = [{{image = {{{inline}}}}}]\n")
    with Gate(settings.model_copy(update={"operator_file": file}), tmp_path / "keys.json") as gate:
        key = gate.key("submit", "acme")
        before = lying(queue, "acme/")
        answer = gate.post("/v1/paint", files=form()[:1], data={"template": "theirs"}, key=key)
        check_problem(answer, "bucket_not_allowed")
        assert lying(queue, "acme/") == before
        assert queue.jobs() == []
        answer = gate.post("/v1/paint", files=form()[:1], data={"template": "mine"}, key=key)
        assert answer.status_code == 202
        queue._store._client.delete_object(Bucket="uploads", Key=queue.jobs()[0].job["content"]["key"])  # type: ignore[index]


@pytest.mark.parametrize("field", ["content.key", "bucket", "key", "version_id", "init_image", "output.key", "mask"])
def test_a_form_names_no_object(gate: Gate, queue: StyleQueue, field: str) -> None:
    data = {field: "globex/photo.jpg"}
    check_problem(gate.post("/v1/paint", files=form(), data=data, key=gate.key("submit", "acme")), "invalid_request")
    assert queue.jobs() == []


@pytest.mark.parametrize("whose", ["acme", "globex", "secrets"])
def test_what_a_job_is_painted_from_is_for_who_might_name_it(gate: Gate, queue: StyleQueue, whose: str) -> None:
    """An operator's own client may hand in jobs of a tenant's that name more than the tenant's keys reach."""
    there = {"bucket": "secrets" if whose == "secrets" else "uploads", "key": f"{whose}/photo.jpg"}
    job = make_job(content=there)
    queue.for_tenant("acme").submit(job)
    # The operator's own key reaches what workers read.
    for key, may in ((gate.key("read", "acme"), whose == "acme"), (gate.admin, whose != "secrets")):
        view = gate.get(f"/v1/jobs/{job.id}", key=key).json()
        assert (view["links"]["content"] == f"/v1/jobs/{job.id}/content") is may
        assert (view["asked"] is not None) is may
        assert view["links"]["styles"] == [f"/v1/jobs/{job.id}/styles/1"]
        answer = gate.get(f"/v1/jobs/{job.id}/content?as=json", key=key)
        hidden = "bucket_not_allowed" if whose == "globex" else "object_not_found"
        check_problem(answer, "object_not_found" if may else hidden)
        if may:
            assert view["asked"]["content"] == {**there, "version_id": None, "etag": None}
            assert view["asked"]["recipe"]["method"] == "optimize"
        else:
            assert f"{whose}/photo" not in gate.get(f"/v1/jobs/{job.id}", key=key).text
    check_problem(gate.get(f"/v1/jobs/{job.id}/content", key=gate.key("read", "globex")), "job_not_found")
    check_problem(gate.get(f"/v1/jobs/{job.id}/styles/9"), "invalid_request")


@pytest.mark.parametrize("by", ["keeper", "another worker"])
def test_no_tenant_is_told_the_names_of_workers(settings: Settings, gate: Gate, by: str) -> None:
    """Also not of the one that was lost with the last attempt of its job."""
    key = gate.key("submit", "acme")
    with StyleQueue(settings.model_copy(update={"max_attempts": 1})) as queue:
        acme, job = queue.for_tenant("acme"), make_job()
        acme.submit(job)
        queue._ledger.claim(job, task_id=job.id, worker=WORKER)
        lose_lease(queue._ledger, job)
        if by == "keeper":
            Keeper(as_role(queue.settings, "keeper")).round()
        else:
            queue._ledger.claim(job, task_id=job.id, worker="another")
        view = gate.get(f"/v1/jobs/{job.id}", key=key)
        assert view.json()["error"]["code"] == "attempts_exhausted"
        assert "not heard of" in view.json()["error"]["hint"]
        stream = gate.get(f"/v1/jobs/{job.id}/events", key=key)
        assert [event.kind for event in events(stream.text.splitlines())] == ["accepted", "started", "failed"]
        letter = acme.dead_letter(job.id)
        assert WORKER not in view.text + stream.text + letter.reason
        # Who runs the workers is.
        assert queue.status(job.id).worker == WORKER
