"""Pictures by HTTP: uploaded, painted in one request, and fetched."""

from __future__ import annotations

import threading
import urllib.request
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uuid_utils

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, Unavailable
from stylequeue.contract.job import Job
from stylequeue.contract.objects import UploadForm, preview_key
from stylequeue.settings import Settings
from stylequeue.store import exchange
from tests.client.test_exchange import sent
from tests.gateway.test_edge import check_problem
from tests.support import pictures
from tests.support.by_hand import paint
from tests.support.gate import Gate, uncollected
from tests.support.jobs import make_job
from tests.support.processes import wait_for

# Celery's own way to store results.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

PHOTO, WAVE = pictures.jpeg(), pictures.png()


def form(*styles: bytes, content: bytes = PHOTO) -> list[tuple[str, tuple[str, bytes]]]:
    return [("content", ("Photo.JPG", content)), *(("style", ("wave.jpg", style)) for style in styles or (WAVE,))]


@pytest.fixture
def acme(gate: Gate) -> str:
    """A key of a tenant's."""
    return gate.key("submit", "acme")


@contextmanager
def painting(queue: StyleQueue, body: bytes = b"painted") -> Iterator[None]:
    """Whatever is handed in while the block runs is painted, by hand."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.02):
            for status in queue.jobs(state="queued"):
                paint(queue, Job.model_validate(status.job), body)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def lying(queue: StyleQueue, prefix: str) -> list[str]:
    listed = queue._store._client.list_objects_v2(Bucket="uploads", Prefix=prefix)
    return [one["Key"] for one in listed.get("Contents", [])]


@pytest.fixture
def tenant(queue: StyleQueue, gate: Gate, request: pytest.FixtureRequest) -> tuple[str, Callable[[], int]]:
    """A key of a tenant that nobody else is, and how many uploads lie there of it."""
    name = f"t{abs(hash(request.node.name))}"
    for key in lying(queue, f"{name}/"):
        queue._store._client.delete_object(Bucket="uploads", Key=key)
    return gate.key("submit", name), lambda: len(lying(queue, f"{name}/"))


# One request


def test_the_answer_is_the_picture(gate: Gate, queue: StyleQueue, acme: str) -> None:
    with painting(queue):
        answer = gate.post(
            "/v1/paint?wait=30", key=acme, files=form(WAVE, PHOTO), data={"size": "64", "weight": ["1", "2"]}
        )
    assert (answer.status_code, answer.content) == (200, b"painted")
    assert answer.headers["content-type"] == "image/jpeg"
    job_id = answer.headers["location"].removeprefix("/v1/jobs/")
    assert answer.headers["content-disposition"].startswith(f'inline; filename="{job_id}.jpg"')
    status = queue.status(job_id)
    job = Job.model_validate(status.job)
    assert (status.tenant, status.queue, job.output_key) == ("acme", "fast", f"acme/{job_id}.jpg")
    assert (job.recipe.method, job.recipe.size, [style.weight for style in job.styles]) == ("fast", 64, [1, 2])
    assert job.content.key.startswith("acme/")
    assert job.content.key.endswith(".jpg")
    stored = queue._store.find("uploads", job.content.key)
    assert stored
    assert (stored.size_bytes, stored.content_type) == (len(PHOTO), "image/jpeg")


def test_a_form_has_all_the_pictures_that_a_job_has(gate: Gate, queue: StyleQueue, tenant: Any) -> None:
    key, uploads = tenant
    whole = [
        ("keep_mask", ("keep.png", WAVE)),
        ("mask", ("mask.png", WAVE)),
        *form(WAVE, PHOTO),
        ("mask", (None, b"all")),
        ("init_image", ("start.jpg", PHOTO)),
    ]
    asked: dict[str, Any] = {"key": key, "headers": {"Idempotency-Key": "order-8"}, "data": {"method": "optimize"}}
    answer = gate.post("/v1/paint", files=whole, **asked)
    assert answer.status_code == 202, answer.text
    job = Job.model_validate(queue.status(answer.json()["id"]).job)
    named = [job.content, job.styles[0].image, job.styles[0].mask, job.styles[1].image, job.keep_mask, job.init_image]
    sizes = [len(picture) for picture in (PHOTO, WAVE, WAVE, PHOTO, WAVE, PHOTO)]
    found = [image and queue._store.find(image.bucket, image.key) for image in named]
    assert [there and there.size_bytes for there in found] == sizes
    assert (job.styles[1].mask, job.recipe.init) == (None, "image")  # type: ignore[union-attr]
    again = gate.post("/v1/paint", files=whole, **asked)
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (job.id, "true")
    for number, (name, _) in enumerate(whole):
        changed = [*whole[:number], (name, ("x.webp", pictures.webp())), *whole[number + 1 :]]
        check_problem(gate.post("/v1/paint", files=changed, **asked), "job_conflict")
    check_problem(gate.post("/v1/paint", files=whole[2:], **asked), "invalid_request")
    assert uploads() == 6


def test_what_is_not_waited_for_is_a_job(gate: Gate, queue: StyleQueue, acme: str) -> None:
    fields = {
        "method": "optimize",
        "steps": "3",
        "style_layers": '{"block1_conv1": 1}',
        "format": "png",
        "label.order": "7",
    }
    answer = gate.post("/v1/paint", key=acme, files=form(), data=fields)
    view = answer.json()
    assert (answer.status_code, view["state"], view["labels"]) == (202, "queued", {"order": "7"})
    assert answer.headers["location"] == view["links"]["self"]
    job = Job.model_validate(queue.status(view["id"]).job)
    recipe: Any = job.recipe
    assert (recipe.steps, recipe.style_layers, job.output.format) == (3, {"block1_conv1": 1.0}, "png")
    late = gate.post("/v1/paint?wait=1", key=acme, files=form(), headers={"Accept": "application/json"})
    assert (late.status_code, late.json()["state"]) == (202, "queued")
    with painting(queue):
        done = gate.post(
            "/v1/paint", key=acme, files=form(), headers={"Accept": "application/json", "Prefer": "wait=30"}
        )
    assert (done.status_code, done.json()["state"]) == (200, "succeeded")
    assert done.headers["preference-applied"] == "wait=30"


def test_a_template_fills_in_what_the_form_leaves_out(settings: Settings, tmp_path: Path, queue: StyleQueue) -> None:
    file = tmp_path / "operator.toml"
    file.write_text('[template.wave]\nstyles = ["s3://styles/wave.jpg"]\nrecipe = {method = "optimize", steps = 9}\n')
    with Gate(settings.model_copy(update={"operator_file": file}), tmp_path / "keys.json") as gate:
        answer = gate.post("/v1/paint", files=form()[:1], data={"template": "wave", "size": "64"})
        job = Job.model_validate(queue.status(answer.json()["id"]).job)
        assert (job.recipe.method, job.recipe.steps, job.recipe.size) == ("optimize", 9, 64)  # type: ignore[union-attr]
        assert job.styles[0].image.key == "wave.jpg"
        check_problem(gate.post("/v1/paint", files=form()[:1], data={"template": "tide"}), "invalid_request")


def test_a_job_that_fails_is_its_problem(gate: Gate, queue: StyleQueue, acme: str) -> None:
    def cancel() -> None:
        wait_for(lambda: queue.jobs(state="queued"), 30, "the job")
        queue.cancel(queue.jobs(state="queued")[0].id)

    thread = threading.Thread(target=cancel)
    thread.start()
    answer = gate.post("/v1/paint?wait=30", key=acme, files=form())
    thread.join()
    check_problem(answer, "cancelled")


def test_the_same_form_again_is_the_same_job(gate: Gate, queue: StyleQueue, tenant: Any) -> None:
    key, uploads = tenant
    first = gate.post("/v1/paint", key=key, files=form(), headers={"Idempotency-Key": "order-7"})
    assert uploads() == 2
    again = gate.post("/v1/paint", key=key, files=form(), headers={"Idempotency-Key": "order-7"})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    for other in (
        {"files": form(content=WAVE)},
        {"files": form(PHOTO)},
        {"files": form(WAVE, PHOTO)},
        {"files": form(), "data": {"size": "64"}},
    ):
        answer = gate.post("/v1/paint", key=key, headers={"Idempotency-Key": "order-7"}, **other)
        check_problem(answer, "job_conflict")
    assert uploads() == 2, "and nothing of them stays"
    assert len(queue.jobs()) == 1


@pytest.mark.parametrize(
    ("files", "data", "code"),
    [
        (form()[1:], {}, "invalid_job"),
        (form()[:1], {}, "invalid_job"),
        ([*form(), ("content", ("b.jpg", PHOTO))], {}, "invalid_request"),
        (form(*[WAVE] * 9), {}, "invalid_request"),
        (form(), {"brush": "soft"}, "invalid_request"),
        (form(), {"size": "5"}, "invalid_job"),
        (form(), {"steps": "5"}, "invalid_job"),
        (form(), {"style_layers": "{"}, "invalid_request"),
        (form(), {"style_layers": '{"a":' * 3000}, "invalid_request"),
        (form(), {"size": ["64", "65"]}, "invalid_request"),
        (form(), {"weight": ["1", "2"]}, "invalid_request"),
        (form(), {"mask": ["all", "all"]}, "invalid_request"),
        (form(), {"mask": "none"}, "invalid_request"),
        (form(), {"keep_mask": "all"}, "invalid_request"),
        ([*form(), *[("keep_mask", ("m.png", WAVE))] * 2], {}, "invalid_request"),
        ([*form(), ("init_image", ("m.png", WAVE))], {}, "invalid_job"),
        (form(), {"content": "s3://uploads/a.jpg"}, "invalid_request"),
        (form(), {"size": "6" * 20_000}, "body_too_large"),
        (form(), {f"label.{n}": "x" for n in range(70)}, "invalid_request"),
        ([("content", ("a.jpg", b"")), *form()[1:]], {}, "image_empty"),
        (form(content=b"x" * 70_000), {}, "image_too_many_bytes"),
    ],
)
def test_of_what_is_refused_nothing_stays(
    settings: Settings, tmp_path: Path, queue: StyleQueue, files: Any, data: dict[str, str], code: str
) -> None:
    with Gate(settings.model_copy(update={"max_image_bytes": 65_536}), tmp_path / "keys.json") as gate:
        key = gate.key("submit", "refused")
        before = lying(queue, "refused/")
        answer = gate.post("/v1/paint", key=key, files=files, data=data)
        check_problem(answer, code)
        assert lying(queue, "refused/") == before
        assert not queue.jobs()


def test_who_may_not_sends_nothing(gate: Gate, queue: StyleQueue) -> None:
    before = lying(queue, "")
    check_problem(gate.post("/v1/paint", key=None, files=form()), "unauthenticated")
    check_problem(gate.post("/v1/paint", key=gate.key("read", "acme"), files=form()), "forbidden")
    check_problem(
        gate.post("/v1/paint", content=b"{}", headers={"Content-Type": "application/json"}), "media_type_unsupported"
    )
    odd = {"Content-Type": "multipart/form-data; boundary=b"}
    check_problem(gate.post("/v1/paint", content=b"no form", headers=odd), "invalid_request")
    check_problem(gate.post("/v1/paint", content=b"--b\r\nContent-", headers=odd), "invalid_request")
    odd = {"Content-Type": f"multipart/form-data; boundary={'b' * 300}"}
    check_problem(gate.post("/v1/paint", content=b"--b\r\n", headers=odd), "media_type_unsupported")
    assert lying(queue, "") == before


@pytest.mark.parametrize("step", ["send", "status"])
def test_what_a_job_on_record_names_stays(
    gate: Gate, queue: StyleQueue, tenant: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    key, uploads = tenant
    with monkeypatch.context() as patched:

        def gone(*_: object) -> None:
            raise Unavailable(Code.BROKER_UNAVAILABLE, "Redis is gone", "")

        patched.setattr(
            *{"send": (gate.state.queue._access, "send"), "status": (AsyncStyleQueue, "status")}[step], gone
        )
        answer = gate.post("/v1/paint", key=key, files=form(), headers={"Idempotency-Key": "order-7"})
        check_problem(answer, "broker_unavailable")
    assert uploads() == 2
    again = gate.post("/v1/paint", key=key, files=form(), headers={"Idempotency-Key": "order-7"})
    assert again.status_code == 202, again.text
    job = Job.model_validate(queue.status(again.json()["id"]).job)
    assert all(queue._store.exists(image.bucket, image.key) for image in job.images)
    assert uploads() == 2


def test_of_a_broken_connection_nothing_stays(gate: Gate, tenant: Any) -> None:
    key, uploads = tenant
    seen: list[int] = []
    whole = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"; filename="a.jpg"\r\n\r\n%s\r\n' % (name, PHOTO)
        for name in (b"content", b"style", b"style")
    )
    messages = iter([whole[:-40], whole[-40:-20]])

    async def receive() -> dict[str, Any]:
        piece = next(messages, None)
        if piece is None:
            seen.append(uploads())
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    headers = {"authorization": f"Bearer {key}", "content-type": "multipart/form-data; boundary=b"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/paint",
        "raw_path": b"/v1/paint",
        "query_string": b"wait=9",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "http_version": "1.1",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("gateway", 80),
    }
    gate.run(gate.app(scope, receive, send))
    assert seen == [2], "two pictures were there when the connection broke"
    assert uploads() == 0


# Past the gateway


def test_an_upload_goes_to_the_store_and_is_named_in_a_job(gate: Gate, queue: StyleQueue, acme: str) -> None:
    wanted = {"filename": "Photo.JPG", "content_type": "image/jpeg", "size": len(PHOTO)}
    answer = gate.post("/v1/uploads", key=acme, json=wanted)
    assert answer.status_code == 201
    upload = UploadForm.model_validate(answer.json())
    assert upload.image.key.startswith("acme/")
    assert sent(upload, PHOTO) in (200, 204)
    fields = {"content": answer.json()["image"], "styles": [{"image": {"bucket": "styles", "key": "wave.jpg"}}]}
    assert gate.post("/v1/jobs", key=acme, json=fields).status_code == 202
    check_problem(gate.post("/v1/jobs", key=gate.key("submit", "globex"), json=fields), "bucket_not_allowed")
    for wrong, code in (
        ({"content_type": "text/html"}, "image_format_unsupported"),
        ({"size": 10**9}, "image_too_many_bytes"),
        ({"size": 0}, "image_empty"),
        ({"size": "many"}, "invalid_job"),
    ):
        check_problem(gate.post("/v1/uploads", key=acme, json={**wanted, **wrong}), code)


# What was made


@pytest.fixture
def painted(queue: StyleQueue) -> Job:
    job = make_job(output={"bucket": "results", "key": "cards/wave.jpg", "overwrite": True})
    paint(queue, job, b"0123456789")
    return job


@pytest.mark.parametrize("name", ["result", "report"])
def test_a_picture_is_where_the_answer_leads(gate: Gate, painted: Job, name: str) -> None:
    bytes_of = {"result": b"0123456789", "report": b"sheet"}
    answer = gate.get(f"/v1/jobs/{painted.id}/{name}")
    assert answer.status_code == 303
    assert answer.headers["cache-control"] == "private, no-store"
    told = gate.get(f"/v1/jobs/{painted.id}/{name}?as=json")
    assert told.status_code == 200  # browsers take a 303 without an address for a failure
    link = told.json()
    assert link["expires_at"]
    for url in (answer.headers["location"], link["url"]):
        with urllib.request.urlopen(url) as there:
            assert there.read() == bytes_of[name]
            assert 'filename="wave.jpg' in there.headers["Content-Disposition"]


def test_a_preview_is_shown_while_it_is_there(gate: Gate, queue: StyleQueue) -> None:
    job = make_job()
    queue.submit(job)
    check_problem(gate.get(f"/v1/jobs/{job.id}/preview"), "object_not_found")
    queue._store._client.put_object(Bucket="work", Key=preview_key(job.id), Body=b"preview", ContentType="image/webp")
    with urllib.request.urlopen(gate.get(f"/v1/jobs/{job.id}/preview").headers["location"]) as there:
        assert there.read() == b"preview"
        assert f'filename="{job.id}-preview.webp"' in there.headers["Content-Disposition"]


def test_where_there_is_no_picture_the_answer_says_why(gate: Gate, queue: StyleQueue, painted: Job) -> None:
    job = make_job()
    queue.submit(job)
    check_problem(gate.get(f"/v1/jobs/{job.id}/result"), "job_open")
    queue.cancel(job.id)
    check_problem(gate.get(f"/v1/jobs/{job.id}/result"), "cancelled")
    check_problem(gate.get("/v1/jobs/unknown/result"), "job_not_found")
    for name in ("result", "preview", "report"):
        check_problem(gate.get(f"/v1/jobs/{painted.id}/{name}", key=gate.key("read", "acme")), "job_not_found")
        check_problem(gate.get(f"/v1/jobs/{painted.id}/{name}", key=None), "unauthenticated")
    check_problem(gate.get(f"/v1/jobs/{painted.id}/result?as=xml"), "invalid_request")
    queue._store._client.put_object(Bucket="results", Key=painted.output_key, Body=b"another's")
    answer = gate.get(f"/v1/jobs/{painted.id}/result")
    check_problem(answer, "object_changed")
    assert answer.status_code == 410
    queue._store._client.delete_object(Bucket="results", Key=painted.output_key)
    check_problem(gate.get(f"/v1/jobs/{painted.id}/result"), "object_not_found")


@pytest.fixture
def streaming(settings: Settings, tmp_path: Path) -> Iterator[Gate]:
    """A gateway whose callers reach no store."""
    with Gate(settings.model_copy(update={"gateway_stream": True}), tmp_path / "keys.json") as gate:
        yield gate


def test_the_host_of_a_link_is_the_one_that_browsers_know(settings: Settings, tmp_path: Path, painted: Job) -> None:
    public = "http://pictures.example:8333"
    with Gate(settings.model_copy(update={"s3_public_endpoint_url": public}), tmp_path / "keys.json") as gate:
        assert urlsplit(gate.get(f"/v1/jobs/{painted.id}/result").headers["location"]).netloc == "pictures.example:8333"
        wanted = {"filename": "a", "content_type": "image/png", "size": 7}
        assert gate.post("/v1/uploads", json=wanted).json()["url"].startswith(public)


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ({}, 200, b"0123456789"),
        ({"Range": "bytes=2-4"}, 206, b"234"),
        ({"Range": "bytes=7-"}, 206, b"789"),
        ({"Range": "bytes=-3"}, 206, b"789"),
        ({"Range": "bytes=-30"}, 206, b"0123456789"),
        ({"Range": "bytes=5-500"}, 206, b"56789"),
        ({"Range": "bytes=10-"}, 416, None),
        ({"Range": "bytes=-0"}, 416, None),
        ({"Range": "bytes=4-2"}, 200, b"0123456789"),
        ({"Range": "bytes=0-1,3-4"}, 200, b"0123456789"),
        ({"Range": "lines=1-2"}, 200, b"0123456789"),
        ({"Range": "bytes=2-4", "If-Range": '"another"'}, 200, b"0123456789"),
    ],
)
def test_pictures_pass_through(streaming: Gate, painted: Job, asked: dict[str, str], status: int, body: Any) -> None:
    answer = streaming.get(f"/v1/jobs/{painted.id}/result", headers=asked)
    assert answer.status_code == status
    if body is None:
        check_problem(answer, "range_not_satisfiable")
        assert answer.headers["content-range"] == "bytes */10"
        return
    assert answer.content == body
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(body))
    if status == 206:
        begins = b"0123456789".index(body)
        assert answer.headers["content-range"] == f"bytes {begins}-{begins + len(body) - 1}/10"
    link = streaming.get(f"/v1/jobs/{painted.id}/result?as=json").json()
    assert link == {"url": f"/v1/jobs/{painted.id}/result", "expires_at": None}
    etag = answer.headers["etag"]
    same = streaming.get(f"/v1/jobs/{painted.id}/result", headers={"Range": "bytes=0-0", "If-Range": etag})
    assert (same.status_code, same.content) == (206, b"0")


def test_pictures_to_paint_pass_through(streaming: Gate, queue: StyleQueue) -> None:
    key, put = streaming.key("submit", "passing"), partial(streaming.ask, "PUT")
    asked_for = {"filename": "photo.jpeg", "content_type": "image/jpeg", "size": len(PHOTO)}
    told = streaming.post("/v1/uploads", json=asked_for, key=key).json()
    image = told["image"]
    assert (told["method"], told["fields"]) == ("PUT", {})
    assert told["url"] == f"/v1/uploads/{image['key'].removeprefix('passing/')}"
    answer = put(told["url"], headers=told["headers"], content=PHOTO, key=key)
    assert answer.status_code == 201, answer.text
    job = streaming.post("/v1/jobs", json={"content": answer.json(), "styles": [{"image": image}]}, key=key).json()
    assert streaming.get(job["links"]["content"], key=key).content == PHOTO
    assert streaming.get(f"{job['links']['styles'][0]}?as=json", key=key).json()["expires_at"] is None
    # Only there, only for whom it is, and only for as long.
    put = partial(streaming.ask, "PUT", headers=told["headers"])
    check_problem(put(told["url"], content=PHOTO, key=streaming.key("read", "passing")), "forbidden")
    name = told["url"].removeprefix("/v1/uploads/")
    in_a_minute = uuid.UUID(int=uuid.UUID(name.removesuffix(".jpeg")).int + (60_000 << 80))
    for other in (
        "a.jpg",
        f"{uuid.uuid4()}.jpg",
        name.replace("jpeg", "gif"),
        f"00000000{name[8:]}",
        f"{in_a_minute}.jpeg",
    ):
        check_problem(put(f"/v1/uploads/{other}", content=PHOTO, key=key), "address_not_found")
    for said in ({"Content-Type": "image/png"}, {}):
        refused = streaming.ask("PUT", told["url"], headers=said, content=PHOTO, key=key)
        check_problem(refused, "media_type_unsupported")
    assert len(lying(queue, "passing/")) == 1
    too_large = put(told["url"], content=bytes(queue.settings.max_image_bytes + 1), key=key)
    check_problem(too_large, "image_too_many_bytes")
    assert too_large.headers["connection"] == "close"
    check_problem(put(told["url"], content=b"", key=key), "image_empty")
    assert streaming.get(job["links"]["content"], key=key).content == PHOTO, "what lay there stays"
    queue._store._client.delete_object(Bucket="uploads", Key=image["key"])


def test_where_they_do_not_none_is_taken(gate: Gate, queue: StyleQueue, acme: str) -> None:
    name, said = f"{uuid_utils.uuid7()}.jpg", {"Content-Type": "image/jpeg"}
    refused = gate.ask("PUT", f"/v1/uploads/{name}", headers=said, content=PHOTO, key=acme)
    check_problem(refused, "address_not_found")
    assert lying(queue, f"acme/{name}") == []


def test_so_does_the_shelf(streaming: Gate, queue: StyleQueue) -> None:
    # Each is itself, also where two are called alike.
    lie = {"shelf/a wave.png": WAVE, "shelf/of/a wave.png": WAVE + b"another", "beside.png": WAVE}
    for style, body in lie.items():
        queue._store._client.put_object(Bucket="styles", Key=style, Body=body)
    there = {style["image"]["key"]: style for style in streaming.get("/v1/styles").json()["styles"]}
    assert there["shelf/a wave.png"]["url"] == "/v1/styles/styles/shelf/a%20wave.png"
    for style in ("shelf/a wave.png", "shelf/of/a wave.png"):
        assert streaming.get(there[style]["url"]).content == lie[style]
    for other in ("styles/shelf/none.png", "styles/a%20wave.png", "uploads/shelf/a%20wave.png", "styles/beside.png"):
        check_problem(streaming.get(f"/v1/styles/{other}"), "object_not_found")
    for style in lie:
        queue._store._client.delete_object(Bucket="styles", Key=style)


def test_who_leaves_before_the_end_holds_no_connection(
    streaming: Gate, painted: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_CHUNK_BYTES", 1)
    reading: list[object] = []
    read = exchange.Exchange.read

    def counted(*args: Any, **options: Any) -> Generator[bytes, None, None]:
        reading.append(args)
        try:
            yield from read(*args, **options)
        finally:
            reading.pop()

    monkeypatch.setattr(exchange.Exchange, "read", counted)
    with uncollected():
        with streaming.stalled(f"/v1/jobs/{painted.id}/result"):
            assert len(reading) == 1
        assert not reading
