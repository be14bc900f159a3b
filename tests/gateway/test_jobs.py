"""Jobs by HTTP: handed in, looked at, waited for, ended."""

from __future__ import annotations

import json
import re
import threading
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import JobNotFound
from stylequeue.gateway import bodies
from stylequeue.ledger import names
from tests.gateway.test_edge import check_problem
from tests.support.by_hand import paint, tasks
from tests.support.gate import Gate
from tests.support.jobs import job_fields, make_job
from tests.support.processes import wait_for
from tests.support.roles import everything
from tests.support.stages import STAGES

# Celery's own way to store results.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

GOLDEN = Path(__file__).parent / "views.json"
KEY = {"Idempotency-Key": "order-7"}


def theirs(tenant: str = "acme", **fields: Any) -> dict[str, Any]:
    """A job that the tenant's key reaches."""
    return {"content": {"bucket": "uploads", "key": f"{tenant}/photo.jpg"}, **_styles(), **fields}


def _styles() -> dict[str, Any]:
    return {"styles": [{"image": {"bucket": "styles", "key": "wave.jpg"}}]}


class TestSubmitting:
    def test_a_job_is_on_record_and_says_where(self, gate: Gate, queue: StyleQueue) -> None:
        answer = gate.post("/v1/jobs", json=job_fields(labels={"user": "7"}))
        assert answer.status_code == 202
        view = answer.json()
        assert answer.headers["location"] == view["links"]["self"] == f"/v1/jobs/{view['id']}"
        assert (view["state"], view["labels"], view["queue"]["name"]) == ("queued", {"user": "7"}, "paint")
        assert queue.status(view["id"]).state == "queued"
        assert tasks(queue) == [view["id"]]
        assert gate.get(view["links"]["self"]).json() == view
        assert "idempotent-replayed" not in answer.headers

    def test_the_same_key_is_the_same_job(self, gate: Gate, queue: StyleQueue) -> None:
        first = gate.post("/v1/jobs", json=job_fields(), headers=KEY)
        again = gate.post("/v1/jobs", json=job_fields(), headers=KEY)
        assert (first.status_code, again.status_code) == (202, 200)
        assert first.json()["id"] == again.json()["id"]
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        other = gate.post("/v1/jobs", json=job_fields(labels={"a": "b"}), headers=KEY)
        check_problem(other, "job_conflict")
        another = gate.post("/v1/jobs", json=job_fields(), headers={"Idempotency-Key": "order-8"})
        assert another.json()["id"] != first.json()["id"]
        assert len(queue.jobs()) == 2

    def test_each_tenant_has_its_own_keys(self, gate: Gate) -> None:
        ids = set()
        for tenant in (None, "acme", "globex"):
            key = gate.key("submit", tenant)
            answer = gate.post("/v1/jobs", json=theirs(tenant or "x"), headers=KEY, key=key)
            assert answer.status_code == 202, answer.text
            ids.add(answer.json()["id"])
        assert len(ids) == 3

    def test_no_tenant_takes_the_id_of_anothers_key(self, gate: Gate, queue: StyleQueue) -> None:
        acme, globex = gate.key("submit", "acme"), gate.key("submit", "globex")
        # Both names can be guessed.
        job_id, body = bodies.job_id_of("acme", KEY["Idempotency-Key"]), theirs("globex")
        check_problem(gate.ask("PUT", f"/v1/jobs/{job_id}", json=body, key=globex), "invalid_request")
        check_problem(gate.post("/v1/jobs", json={**body, "id": job_id}, key=globex), "invalid_request")
        batch = {"jobs": [{**body, "id": job_id}, {**body, "id": [job_id]}, body]}
        verdicts = gate.post("/v1/jobs:batch", json=batch, key=globex).json()["jobs"]
        assert [one["verdict"] for one in verdicts] == ["refused", "refused", "new"]
        assert verdicts[0]["problem"]["code"] == "invalid_request"
        assert queue.jobs()[0].tenant == "globex"
        assert len(queue.jobs()) == 1
        first = gate.post("/v1/jobs", json=theirs(), headers=KEY, key=acme)
        assert (first.status_code, first.json()["id"]) == (202, job_id)
        refused = [
            check_problem(gate.ask("PUT", f"/v1/jobs/{named}", json=body, key=globex), "invalid_request")["detail"]
            for named in (job_id, bodies.job_id_of("acme", "never sent"))
        ]
        assert refused[0].replace(job_id, "") == refused[1].replace(bodies.job_id_of("acme", "never sent"), "")
        # Its own it names.
        assert gate.ask("PUT", f"/v1/jobs/{job_id}", json=theirs(), key=acme).status_code == 200
        assert gate.ask(
            "PUT", f"/v1/jobs/{uuid.uuid5(uuid.NAMESPACE_DNS, 'order-8')}", json=theirs(), key=acme
        ).is_success

    def test_an_id_of_ones_own(self, gate: Gate) -> None:
        assert gate.post("/v1/jobs", json=job_fields(id="mine")).status_code == 202
        again = gate.post("/v1/jobs", json=job_fields(id="mine"))
        assert (again.status_code, again.json()["id"]) == (200, "mine")
        check_problem(gate.post("/v1/jobs", json=job_fields(id="mine"), headers=KEY), "invalid_request")

    def test_anothers_id_is_taken_whatever_the_content(self, gate: Gate) -> None:
        acme, globex = gate.key("submit", "acme"), gate.key("submit", "globex")
        body = {**_styles(), "id": "one", "content": {"bucket": "styles", "key": "a.jpg"}}
        assert gate.post("/v1/jobs", json=body, key=acme).status_code == 202
        same = check_problem(gate.post("/v1/jobs", json=body, key=globex), "job_conflict")
        other = check_problem(gate.post("/v1/jobs", json={**body, "labels": {"a": "b"}}, key=globex), "job_conflict")
        assert {**same, "instance": ""} == {**other, "instance": ""}
        assert "state" not in same

    def test_put_is_the_same_job_as_often_as_need_be(self, gate: Gate) -> None:
        answers = [gate.ask("PUT", "/v1/jobs/mine", json=job_fields()) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 200, 200]
        assert {answer.json()["id"] for answer in answers} == {"mine"}
        check_problem(gate.ask("PUT", "/v1/jobs/mine", json=job_fields(labels={"a": "b"})), "job_conflict")
        assert gate.ask("PUT", "/v1/jobs/other", json=job_fields(id="other")).status_code == 201
        check_problem(gate.ask("PUT", "/v1/jobs/mine", json=job_fields(id="other")), "invalid_request")

    def test_two_hundred_at_once_are_one_job(self, gate: Gate, queue: StyleQueue) -> None:
        asked = [
            gate.begin(
                gate._http.post("/v1/jobs", json=job_fields(), headers={**KEY, "Authorization": f"Bearer {gate.admin}"})
            )
            for _ in range(200)
        ]
        answers = [one.result(60) for one in asked]
        assert sorted({answer.status_code for answer in answers}) == [200, 202], {answer.text for answer in answers}
        assert [answer.status_code for answer in answers].count(202) == 1
        (job_id,) = {answer.json()["id"] for answer in answers}
        assert [job.id for job in queue.jobs()] == [job_id]
        # Doubled messages are dropped by workers: the job is claimed once.
        job = make_job(id=job_id)
        verdicts = [queue._ledger.claim(job, task_id=job_id, worker="tester").verdict for _ in range(3)]
        assert verdicts == ["yours", "held", "held"]

    def test_output_is_the_deployments_unless_said(self, gate: Gate, queue: StyleQueue) -> None:
        body = {key: value for key, value in job_fields().items() if key != "output"}
        operators = queue.status(gate.post("/v1/jobs", json=body).json()["id"])
        assert operators.job
        assert operators.job["output"]["bucket"] == "results"
        answer = gate.post("/v1/jobs", json=theirs(output={"format": "png"}), key=gate.key("submit", "acme"))
        acmes = queue.status(answer.json()["id"])
        assert acmes.job
        assert acmes.tenant == "acme"
        assert acmes.job["output"]["key"] == f"acme/{acmes.id}.png"

    @pytest.mark.parametrize(
        ("body", "pointers"),
        [
            ({}, ["/content"]),
            (job_fields(size=7), ["/size"]),
            (job_fields(recipe={"steps": -1}), ["/recipe/steps"]),
            (job_fields(styles=[{"image": {"bucket": "styles"}}]), ["/styles/0/image/key"]),
            (job_fields(labels={"a/b": 7}), ["/labels/a~1b"]),
            (job_fields(id="a b", deadline="soon"), ["/id", "/deadline"]),
            (job_fields(template=7), ["/template"]),
            (job_fields(notify="crm"), ["/notify"]),
        ],
        ids=str,
    )
    def test_faults_are_named_where_they_are(self, gate: Gate, body: dict[str, Any], pointers: list[str]) -> None:
        problem = check_problem(gate.post("/v1/jobs", json=body), "invalid_job")
        assert {fault["pointer"] for fault in problem["errors"]} >= set(pointers)

    @pytest.mark.parametrize(
        ("content", "kind", "code"),
        [
            (b"{", "application/json", "invalid_request"),
            (b"[]", "application/json", "invalid_job"),
            (b"", "application/json", "invalid_job"),
            (b'{"content": {}, "content": {}}', "application/json", "invalid_request"),
            (b'{"deadline": NaN}', "application/json", "invalid_request"),
            (b"[" * 100_000, "application/json", "invalid_request"),
            (b'{"id": "\xff"}', "application/json", "invalid_request"),
            (b"\xff", "application/json", "invalid_request"),
            (b"a=b", "application/x-www-form-urlencoded", "media_type_unsupported"),
            (b"{}", "text/plain", "media_type_unsupported"),
        ],
    )
    def test_what_is_no_json_is_refused(self, gate: Gate, content: bytes, kind: str, code: str) -> None:
        check_problem(gate.post("/v1/jobs", content=content, headers={"Content-Type": kind}), code)

    @pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\tb", "ä"])
    def test_what_is_no_idempotency_key_is_refused(self, gate: Gate, key: str) -> None:
        headers: Any = {"Idempotency-Key": key.encode()}
        check_problem(gate.post("/v1/jobs", json=job_fields(), headers=headers), "invalid_request")

    def test_endpoints_that_there_are_not(self, gate: Gate) -> None:
        check_problem(gate.post("/v1/jobs", json=job_fields(notify=["crm"])), "invalid_request")
        check_problem(gate.post("/v1/jobs", json=job_fields(template="wave")), "invalid_request")


class TestWaiting:
    def test_a_job_that_ends_is_answered_in_one_call(self, gate: Gate, queue: StyleQueue) -> None:
        job = make_job()
        asked = gate.begin(
            gate._http.put(
                f"/v1/jobs/{job.id}?wait=30",
                json=json.loads(job.canonical_json()),
                headers={"Authorization": f"Bearer {gate.admin}"},
            )
        )
        wait_for(queue.jobs, 20, "the job to be on record")
        paint(queue, job)
        answer = asked.result(60)
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
        assert answer.json()["output"]["key"] == job.output_key
        known = gate.get(f"/v1/jobs/{job.id}?wait=30")
        assert known.status_code == 200
        assert gate.waiting() == []

    def test_one_that_does_not_is_answered_in_time(self, gate: Gate) -> None:
        for answer in (
            gate.post("/v1/jobs?wait=1", json=job_fields(id="a")),
            gate.get("/v1/jobs/a", headers={"Prefer": "respond-async, Wait=1"}),
            gate.ask("PUT", "/v1/jobs/a", json=job_fields(), headers={"Prefer": "wait=1; x"}),
        ):
            assert (answer.status_code, answer.json()["state"]) == (202, "queued")
            asked_by_header = "prefer" in answer.request.headers
            assert answer.headers.get("preference-applied") == ("wait=1" if asked_by_header else None)
            assert int(answer.headers["retry-after"]) >= 1
        assert gate.waiting() == []

    def test_the_gateway_has_a_limit(self, gate: Gate, queue: StyleQueue) -> None:
        limited = gate.state.settings.model_copy(update={"gateway_wait_s": 0.1})
        object.__setattr__(gate.state, "settings", limited)
        queue.submit(make_job(id="a"))
        answer = gate.get("/v1/jobs/a", headers={"Prefer": "wait=600"})
        assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0.1")

    def test_told_to_stop_it_answers_at_once(self, gate: Gate, queue: StyleQueue) -> None:
        queue.submit(make_job(id="a"))
        asked = gate.begin(
            gate._http.get("/v1/jobs/a?wait=60", headers={"Authorization": f"Bearer {gate.admin}"}, timeout=60)
        )
        wait_for(gate.waiting, 20, "the caller to wait")
        gate.run(_set(gate))
        assert asked.result(20).status_code == 202
        assert gate.get("/v1/jobs/a?wait=60").status_code == 202

    def test_a_caller_that_goes_leaves_nothing_behind(self, gate: Gate, queue: StyleQueue) -> None:
        queue.submit(make_job(id="a"))
        is_gone = threading.Event()
        heard: list[Any] = []

        async def receive() -> Any:
            while not is_gone.is_set():
                await _sleep()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            heard.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/v1/jobs/a",
            "query_string": b"wait=60",
            "headers": [(b"authorization", f"Bearer {gate.admin}".encode())],
        }
        asked = gate.begin(gate.app(scope, receive, send))
        wait_for(lambda: len(gate.waiting()) > 3, 20, "the caller to wait")
        is_gone.set()
        asked.result(20)
        assert gate.waiting() == []

    @pytest.mark.parametrize("wait", ["-1", "x", "1e9", "99999"])
    def test_what_is_no_time_is_refused(self, gate: Gate, wait: str) -> None:
        check_problem(gate.get(f"/v1/jobs/a?wait={wait}"), "invalid_request")

    def test_nothing_new_is_not_told_again(self, gate: Gate, queue: StyleQueue) -> None:
        job = make_job(id="a")
        queue.submit(job)
        first = gate.get("/v1/jobs/a")
        etag = first.headers["etag"]
        assert re.fullmatch(r'"1-\d+"', etag)
        for known in (etag, f'"x", W/{etag}', "*"):
            again = gate.get("/v1/jobs/a", headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        paint(queue, job)
        news = gate.get("/v1/jobs/a", headers={"If-None-Match": etag})
        assert (news.status_code, news.json()["state"]) == (200, "succeeded")
        assert news.headers["etag"] != etag
        assert "retry-after" not in news.headers


async def _sleep() -> None:
    import asyncio

    await asyncio.sleep(0.01)


async def _set(gate: Gate) -> None:
    gate.state.stopping.set()


# What a job's state says to each verb: the status, and what state the job is in then.
_VERBS: dict[str, dict[str, tuple[int, str | None]]] = {
    "cancel": {
        "queued": (200, "cancelled"),
        "running": (202, "running"),
        "put_back": (200, "cancelled"),
        "succeeded": (200, "succeeded"),
        "failed": (200, "failed"),
        "cancelled": (200, "cancelled"),
        "expired": (200, "expired"),
        "retried": (200, "cancelled"),
    },
    "stop": {
        "queued": (200, "cancelled"),
        "running": (202, "running"),
        "put_back": (202, "queued"),
        "succeeded": (200, "succeeded"),
        "failed": (200, "failed"),
        "cancelled": (200, "cancelled"),
        "expired": (200, "expired"),
        "retried": (200, "cancelled"),
    },
    "retry": {
        "queued": (409, "job_open"),
        "running": (409, "job_open"),
        "put_back": (409, "job_open"),
        "succeeded": (409, "job_succeeded"),
        "failed": (202, "queued"),
        "cancelled": (202, "queued"),
        "expired": (202, "queued"),
        "retried": (202, "queued"),
    },
    "delete": {
        "queued": (409, "job_open"),
        "running": (409, "job_open"),
        "put_back": (409, "job_open"),
        "succeeded": (204, None),
        "failed": (204, None),
        "cancelled": (204, None),
        "expired": (204, None),
        "retried": (409, "job_open"),
    },
}


@pytest.mark.parametrize("stage", STAGES)
def test_each_state_and_each_verb(gate: Gate, queue: StyleQueue, stage: str) -> None:
    for verb, expected in _VERBS.items():
        job = make_job()
        STAGES[stage](queue, job)
        path = f"/v1/jobs/{job.id}"
        ask = partial(gate.ask, "DELETE", path) if verb == "delete" else partial(gate.post, f"{path}/{verb}")
        answer, (code, said) = ask(), expected[stage]
        assert answer.status_code == code, (verb, answer.text)
        if code == 204:
            assert answer.content == b""
            with pytest.raises(JobNotFound):
                queue.status(job.id)
            check_problem(ask(), "job_not_found")
            continue
        if code == 409:
            check_problem(answer, str(said))
        else:
            assert answer.json()["state"] == queue.status(job.id).state == said
        again = ask()
        assert again.status_code == code, (verb, "again", again.text)
    everything(queue.settings).flushdb()


def test_verbs_and_an_unknown_job(gate: Gate) -> None:
    for method, path in (("POST", "/cancel"), ("POST", "/stop"), ("POST", "/retry"), ("DELETE", ""), ("GET", "")):
        check_problem(gate.ask(method, f"/v1/jobs/nobodys{path}"), "job_not_found")


def test_an_estimate(gate: Gate) -> None:
    body = {"recipe": {"method": "optimize", "size": 512}, "content": {"width_px": 800, "height_px": 600}, "styles": 2}
    answer = gate.post("/v1/estimate", json=body)
    assert answer.status_code == 200, answer.text
    # Nobody has painted yet.
    assert (answer.json()["paint_s"], answer.json()["workers"]) == (None, 0)
    masked = gate.post("/v1/estimate", json={**body, "masks": 3})
    assert masked.json()["peak_bytes"] > answer.json()["peak_bytes"] > 0
    check_problem(gate.post("/v1/estimate", json={**body, "masks": 4}), "invalid_request")
    assert gate.post("/v1/estimate", json={"recipe": {"method": "fast"}}).status_code == 200
    for wrong in ({"styles": 0}, {"content": {"width_px": 0, "height_px": 1}}, {"recipe": {"method": "wish"}}):
        check_problem(gate.post("/v1/estimate", json=wrong), "invalid_job")


def test_a_view_in_each_state(gate: Gate, queue: StyleQueue) -> None:
    """The golden file is what callers rely upon: what it has stays."""
    views = {}
    for stage, come_to in STAGES.items():
        job = make_job(id=f"job-{stage.replace('_', '-')}", labels={"user": "7"})
        come_to(queue, job)
        view = gate.get(f"/v1/jobs/{job.id}").json()
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "2026-01-01T00:00:00Z", json.dumps(view))
        views[stage] = json.loads(re.sub(r'"etag": "(?:[^"\\]|\\.)*"', '"etag": "\\"e\\""', text))
        for hidden in ("tester", "fence", "token", "task_id", "s3://work"):
            assert hidden not in text, (stage, hidden)
        for name, links in view["links"].items():
            for link in links if isinstance(links, list) else [links]:
                assert link is None or link.startswith(f"/v1/jobs/{job.id}"), name
    everything(queue.settings).flushdb()
    assert views == json.loads(GOLDEN.read_text()), json.dumps(views, indent=2)


@pytest.mark.parametrize("change", [{"schema_version": 3}, {"output": {"bucket": "results", "key": "old.thumb.webp"}}])
def test_a_job_that_this_version_cannot_read_hides_no_other(
    gate: Gate, queue: StyleQueue, change: dict[str, Any]
) -> None:
    other, job = make_job(), make_job()
    queue.submit_many([other, job])
    text = json.dumps(json.loads(job.canonical_json()) | change)
    everything(queue.settings).hset(names.record_key(job.id), "job", text)
    view = gate.get(f"/v1/jobs/{job.id}").json()
    assert (view["state"], view["asked"], view["links"]["content"]) == ("queued", None, None)
    listed = {one["id"]: one for one in gate.get("/v1/jobs").json()["jobs"]}
    assert listed.keys() == {other.id, job.id}
    assert listed[job.id] == view
    assert listed[other.id]["asked"]
    check_problem(gate.get(f"/v1/jobs/{job.id}/content"), "object_not_found")


class TestList:
    def test_newest_first_with_cursors(self, gate: Gate, queue: StyleQueue) -> None:
        jobs = [make_job(labels={"number": str(number)}) for number in range(7)]
        queue.submit_many(jobs)
        found: list[str] = []
        sizes: list[int] = []
        cursor: str | None = ""
        while cursor is not None:
            page = gate.get("/v1/jobs?limit=3" + (f"&cursor={cursor}" if cursor else "")).json()
            found += [job["id"] for job in page["jobs"]]
            sizes.append(len(page["jobs"]))
            cursor = page["cursor"]
        assert sizes == [3, 3, 1]
        assert sorted(found) == sorted(job.id for job in jobs)

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("state=lost", "invalid_request"),
            ("limit=0", "invalid_request"),
            ("limit=101", "invalid_request"),
            ("cursor=x", "invalid_request"),
            ("cursor=MS0=", "invalid_request"),
            ("cursor=%FF", "invalid_request"),
            ("created_after=yesterday", "invalid_request"),
            ("created_after=2026-01-01T00:00:00", "invalid_request"),
            ("stat=queued", "invalid_request"),
            ("label.user=7", "invalid_request"),
            ("label=user", "invalid_request"),
        ],
    )
    def test_what_cannot_be_listed_is_refused(self, gate: Gate, query: str, code: str) -> None:
        check_problem(gate.get(f"/v1/jobs?{query}"), code)


class TestBatch:
    def test_each_stands_alone(self, gate: Gate, queue: StyleQueue) -> None:
        queue.submit(make_job(id="taken", labels={"other": "content"}))
        batch = [
            job_fields(id="good"),
            job_fields(id="bad", recipe={"steps": -1}),
            job_fields(id="taken"),
            7,
            job_fields(id="good"),
            job_fields(notify=["nobody"]),
            job_fields(),
        ]
        check_problem(gate.post("/v1/jobs:batch", json={"jobs": batch}), "invalid_job")
        batch.remove(7)
        answer = gate.post("/v1/jobs:batch", json={"jobs": batch})
        assert answer.status_code == 200, answer.text
        verdicts = answer.json()["jobs"]
        assert [one["verdict"] for one in verdicts] == ["new", "refused", "refused", "known", "refused", "new"]
        codes = [one["problem"] and one["problem"]["code"] for one in verdicts]
        assert codes == [None, "invalid_job", "job_conflict", None, "invalid_request", None]
        assert verdicts[1]["problem"]["errors"][0]["pointer"] == "/recipe/steps"
        assert [one["id"] for one in verdicts[:4]] == ["good", "bad", "taken", "good"]
        assert verdicts[0]["job"] == gate.get("/v1/jobs/good").json()
        assert sorted(job.id for job in queue.jobs()) == sorted(["good", "taken", verdicts[5]["id"]])

    def test_the_same_batch_is_the_same_jobs(self, gate: Gate) -> None:
        batch = {"jobs": [job_fields(), job_fields(labels={"a": "b"}), job_fields(id="own")]}
        first, again = (gate.post("/v1/jobs:batch", json=batch, headers=KEY).json()["jobs"] for _ in range(2))
        assert [one["verdict"] for one in first] == ["new"] * 3
        assert [one["verdict"] for one in again] == ["known"] * 3
        assert [one["id"] for one in first] == [one["id"] for one in again]
        assert len({one["id"] for one in first}) == 3

    @pytest.mark.parametrize("count", [0, 1001])
    def test_a_batch_has_its_limits(self, gate: Gate, count: int) -> None:
        check_problem(gate.post("/v1/jobs:batch", json={"jobs": [{}] * count}), "invalid_job")

    def test_a_thousand_at_once(self, gate: Gate, queue: StyleQueue) -> None:
        batch = [job_fields(id=f"job-{number}") for number in range(1000)]
        for number in (3, 500, 999):
            batch[number]["size"] = 7
        verdicts = gate.post("/v1/jobs:batch", json={"jobs": batch}).json()["jobs"]
        refused = [number for number, one in enumerate(verdicts) if one["verdict"] == "refused"]
        assert refused == [3, 500, 999]
        assert queue._ledger.open_jobs("paint") == queue._ledger.redis.llen("paint") == 997
        assert queue._ledger.redis.zcard(names.CREATED_KEY) == 997
        everything(queue.settings).flushdb()
