"""The store refuses, falters, changes its mind, or serves what nobody should open."""

from __future__ import annotations

import gzip
import io
import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, ExitCode, InvalidJob, JobFailed, Unavailable
from stylequeue.contract.events import SucceededData
from stylequeue.contract.job import TASK_NAME, Job
from stylequeue.contract.objects import ImageRef
from stylequeue.ledger.names import painted_key
from stylequeue.local import Process, Stack
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.support import odd_pictures, pictures
from tests.support.deployment import ENDLESS, WAIT_S, Deployment
from tests.support.invariants import check
from tests.support.processes import child_of
from tests.support.proxy import Proxy, s3_error

VISIBILITY_S = 30
TRIES = 2
"""Of a request, before the job is put back."""
MORE_MEMORY_BYTES = 320 * 1024**2
"""That any one of the pictures may take in the process that opens it; 75 million pixels are 225 MB."""


class Service:
    """One worker behind a proxy to the store, for all tests here."""

    def __init__(self, deployment: Deployment, worker: Process, proxy: Proxy) -> None:
        self.deployment = deployment
        self.worker = worker
        self.proxy = proxy
        self.queue: StyleQueue = deployment.queue
        self._weights = itertools.count(1)

    def put(self, body: bytes, name: str = "picture.jpg") -> ImageRef:
        """An object of this test's own."""
        ref = ImageRef(bucket="uploads", key=f"{uuid.uuid4().hex}/{name}")
        self.queue._store._client.put_object(Bucket=ref.bucket, Key=ref.key, Body=body)
        return ref

    def job(self, content: ImageRef | None = None, **fields: Any) -> Job:
        """A job that nobody has painted before."""
        content = content or self.put(pictures.jpeg())
        # The same bytes have the same ETag: a weight of its own makes a picture of its own.
        recipe = {"method": "optimize", "size": 64, "steps": 2, "style_weight": next(self._weights)}
        return self.deployment.job(**{"content": content.model_dump(), "recipe": recipe, **fields})

    def paint(self, job: Job) -> SucceededData:
        self.queue.submit(job)
        return self.queue.wait(job.id, timeout_s=WAIT_S)

    def fail(self, job: Job) -> Code:
        self.queue.submit(job)
        with pytest.raises(JobFailed) as caught:
            self.queue.wait(job.id, timeout_s=WAIT_S)
        assert caught.value.message
        assert caught.value.hint
        return Code(caught.value.code)

    def check(self, *jobs: Job) -> None:
        check(self.queue, [job.id for job in jobs], visibility_timeout_s=VISIBILITY_S)

    def attempts(self, job: Job) -> int:
        return self.queue.status(job.id).attempt


@pytest.fixture(scope="module")
def shared(stack: Stack, module_settings: Settings) -> Iterator[Service]:
    with (
        Proxy(HOST, stack.seaweedfs.port) as proxy,
        Deployment(stack, module_settings, keeper_interval_s=0.2) as deployment,
    ):
        worker = deployment.worker(store=proxy, s3_attempts=TRIES, retry_delay_s=0.1)
        yield Service(deployment, worker, proxy)


@pytest.fixture
def service(shared: Service) -> Iterator[Service]:
    child = child_of(shared.worker)
    yield shared
    shared.proxy.heal()
    assert shared.worker.running
    assert child_of(shared.worker) == child, "nothing here costs a process"


def of(method: str, ref: ImageRef) -> bytes:
    """What a request for an object looks like on its way to the store: a pattern for a proxy."""
    return f"{method} /{ref.bucket}/{ref.key}".encode()


def to(job: Job) -> bytes:
    return f"PUT /results/{job.output_key}".encode()


# What can never succeed


def test_32_what_is_not_there_or_not_for_us(service: Service) -> None:
    denied = service.put(pictures.jpeg())
    # First HEAD, which cannot say why, then GET.
    service.proxy.answer_once(of("HEAD", denied), s3_error(403, "AccessDenied"))
    service.proxy.answer_once(of("GET", denied), s3_error(403, "AccessDenied"))
    faults: dict[Code, list[Job]] = {
        Code.OBJECT_NOT_FOUND: [service.job(ImageRef(bucket="uploads", key="nowhere.jpg"))],
        Code.BUCKET_NOT_ALLOWED: [
            service.job(ImageRef(bucket="secrets", key="a.jpg")),
            service.job(output={"bucket": "uploads"}),
        ],
        Code.ACCESS_DENIED: [service.job(denied)],
    }
    for code, jobs in faults.items():
        for job in jobs:
            assert service.fail(job) == code
            assert service.attempts(job) == 1, "it is not tried again"
    service.check(*(job for jobs in faults.values() for job in jobs))


@pytest.mark.parametrize(
    "name",
    [
        "größe 筆 🎨.jpg",
        "a+b %2B c%20d.jpg",
        "?query&amp;=#fragment;:@$,'\"<>|^`{}[]~*()!.jpg",
        # SeaweedFS takes 255 bytes between slashes; the first part is 33.
        "/".join(["é" * 120, "k" * 249, "l" * 249, "m" * 250]),
    ],
)
def test_32_odd_keys_mean_what_they_say(service: Service, name: str) -> None:
    content = service.put(pictures.jpeg(), name)
    job = service.job(content, output={"bucket": "results", "key": content.key[: -len(".report.png")]})
    done = service.paint(job)
    assert done.output.key == job.output.key
    service.check(job)


@pytest.mark.parametrize("key", ["../secret.jpg", "a/../b.jpg", ".", "x\n.jpg", "k" * 1025, ""])
def test_32_keys_that_are_none(service: Service, key: str) -> None:
    with pytest.raises(InvalidJob):
        service.deployment.job(content={"bucket": "uploads", "key": key})
    fields = service.job().model_dump(mode="json", exclude_none=True)
    for name, place in (("content", {"bucket": "uploads", "key": key}), ("output", {"bucket": "results", "key": key})):
        task_id = f"{name}-{uuid.uuid4().hex}"
        kwargs = {"job": {**fields, "id": task_id, name: place}}
        service.queue._app.send_task(TASK_NAME, kwargs=kwargs, queue="paint", task_id=task_id)
        with pytest.raises(JobFailed, match=Code.INVALID_JOB):
            service.queue._app.AsyncResult(task_id).get(timeout=WAIT_S)
        service.queue.drop(task_id)


def test_32_a_key_too_long_for_what_lies_beside_it(service: Service) -> None:
    with pytest.raises(InvalidJob, match=r"output\.key"):
        service.deployment.job(output={"bucket": "results", "key": "k" * 1020})


# What passes


def short_body(service: Service, content: ImageRef) -> bytes:
    seen = service.queue._store.look(content)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {seen.size_bytes}\r\nETag: {seen.etag}\r\nConnection: close\r\n\r\n"
    return head.encode() + pictures.jpeg()[:100]


FALTERING = ("503 SlowDown", "500 InternalError", "nothing")


@pytest.mark.parametrize(("method", "fault"), [*itertools.product(("HEAD", "GET"), FALTERING), ("GET", "a short body")])
def test_33_a_faltering_store(service: Service, method: str, fault: str) -> None:
    content = service.put(pictures.jpeg())
    number, _, code = fault.partition(" ")
    answer = s3_error(int(number), code) if number.isdigit() else b""
    service.proxy.answer_once(of(method, content), short_body(service, content) if "short" in fault else answer)
    job = service.job(content)
    assert service.paint(job).output.width_px == 64
    assert service.attempts(job) == 1
    service.check(job)


def test_33_a_store_that_falters_longer(service: Service) -> None:
    """Longer than one attempt asks again: the job is put back, and tried again later."""
    content = service.put(pictures.jpeg())
    for _ in range(TRIES):
        service.proxy.answer_once(of("GET", content), s3_error(503, "SlowDown"))
    job = service.job(content)
    service.paint(job)
    assert service.attempts(job) == 2
    assert Code.STORE_UNAVAILABLE in str(service.queue.status(job.id).last_error)
    service.check(job)


@pytest.mark.parametrize("when", ["request", "answer"])
def test_33_a_connection_reset(service: Service, when: str) -> None:
    job = service.job()
    caught = (service.proxy.hold if when == "request" else service.proxy.hold_answer)(of("GET", job.content))
    service.queue.submit(job)
    caught.wait(WAIT_S)
    service.proxy.reset()
    service.queue.wait(job.id, timeout_s=WAIT_S)
    assert service.attempts(job) == 1
    service.check(job)


def test_34_a_picture_replaced_between_look_and_read(service: Service) -> None:
    job = service.job()
    reading = service.proxy.hold(of("GET", job.content))
    service.queue.submit(job)
    reading.wait(WAIT_S)
    upright = pictures.saved(pictures.quarters(32, 64), "PNG")
    service.queue._store._client.put_object(Bucket=job.content.bucket, Key=job.content.key, Body=upright)
    reading.release()
    done = service.queue.wait(job.id, timeout_s=WAIT_S)
    assert (done.output.width_px, done.output.height_px) == (32, 64)
    assert service.attempts(job) == 2
    assert Code.OBJECT_CHANGED in str(service.queue.status(job.id).last_error)
    service.check(job)


# Pictures


REFUSED: dict[str, tuple[Callable[[], bytes], Code]] = {
    "zero bytes": (lambda: b"", Code.IMAGE_EMPTY),
    "HTML": (pictures.html_page, Code.IMAGE_NOT_RECOGNISED),
    "50,000 x 50,000 PNG": (pictures.huge_png, Code.IMAGE_TOO_MANY_PIXELS),
    "huge WebP": (pictures.huge_webp, Code.IMAGE_TOO_MANY_PIXELS),
    "text-chunk bomb": (pictures.text_bomb_png, Code.IMAGE_TOO_COSTLY),
    "many texts": (pictures.many_texts_png, Code.IMAGE_TOO_COSTLY),
    "truncated JPEG": (pictures.truncated_jpeg, Code.IMAGE_TRUNCATED),
    "truncated PNG": (pictures.truncated_png, Code.IMAGE_TRUNCATED),
    "truncated WebP": (pictures.truncated_webp, Code.IMAGE_TRUNCATED),
    "a bit flipped": (pictures.corrupt_png, Code.IMAGE_CORRUPT),
    "tiny": (pictures.tiny_png, Code.IMAGE_TOO_SMALL),
    "narrow": (pictures.narrow_png, Code.IMAGE_TOO_NARROW),
    **{
        name: (partial(pictures.other_formats().__getitem__, name), Code.IMAGE_FORMAT_UNSUPPORTED)
        for name in pictures.other_formats()
    },
}
QUARTERS = (pictures.RED, pictures.GREEN, pictures.BLUE, pictures.YELLOW)
WHITE, GREY = (255, 255, 255), (127, 127, 127)
RIGHT: dict[str, tuple[Callable[[], bytes], tuple[tuple[int, int, int], ...]]] = {
    "JPEG": (pictures.jpeg, QUARTERS),
    "PNG": (pictures.png, QUARTERS),
    "WebP": (pictures.webp, QUARTERS),
    "palette": (pictures.palette_png, QUARTERS),
    "CMYK": (pictures.cmyk_jpeg, QUARTERS),
    "CMYK without its marker": (pictures.plain_cmyk_jpeg, QUARTERS),
    "another colour profile": (pictures.red_means_green_png, QUARTERS),
    "no colour profile where one should be": (pictures.wrong_profile_jpeg, QUARTERS),
    "16-bit grey": (pictures.sixteen_bit_grey_png, ((64, 64, 64), (191, 191, 191)) * 2),
    "black and white": (pictures.bilevel_png, ((0, 0, 0), (0, 0, 0), WHITE, WHITE)),
    "transparent": (pictures.transparent_png, (pictures.RED, WHITE, pictures.BLUE, WHITE)),
    "half transparent": (pictures.half_transparent_webp, (GREY,) * 4),
    "JPEG without its end": (lambda: odd_pictures.endless(pictures.jpeg()), QUARTERS),
    "a colour profile of 3 MB": (odd_pictures.png_with_large_profile, QUARTERS),
    "a comment of 40 MB": (odd_pictures.odd_pngs()["a large text"], QUARTERS),
    "10,000 frames of WebP": (pictures.ten_thousand_frame_webp, (pictures.RED,) * 4),
    "10,000 frames of APNG": (pictures.ten_thousand_frame_apng, (pictures.RED,) * 4),
    **{f"EXIF {turn}": (partial(pictures.exif_rotated, turn), QUARTERS) for turn in range(2, 9)},
}


@contextmanager
def memory_bounded(service: Service) -> Iterator[None]:
    """The process that opens pictures takes no more than it may."""
    child = Path(f"/proc/{child_of(service.worker)}")
    (child / "clear_refs").write_text("5")  # forgets the peak so far
    before = _kilobytes(child, "VmRSS")
    yield
    assert (_kilobytes(child, "VmHWM") - before) * 1024 < MORE_MEMORY_BYTES


def _kilobytes(process: Path, name: str) -> int:
    return int(dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())[name].split()[0])


@pytest.mark.parametrize("name", REFUSED)
def test_35_a_picture_that_is_refused(service: Service, name: str) -> None:
    make, code = REFUSED[name]
    job = service.job(service.put(make()), recipe={"method": "optimize", "size": 512, "steps": 2})
    with memory_bounded(service):
        assert service.fail(job) == code
    assert service.attempts(job) == 1
    service.check(job)


@pytest.mark.parametrize("name", RIGHT)
def test_35_an_odd_picture_that_is_right(service: Service, name: str) -> None:
    make, expected = RIGHT[name]
    recipe = {"method": "fast", "size": 128}
    job = service.job(service.put(make()), recipe=recipe, output={"bucket": "results", "format": "png"})
    with memory_bounded(service):
        done = service.paint(job)
    body = service.queue._store._client.get_object(Bucket=done.output.bucket, Key=done.output.key)["Body"].read()
    picture = Image.open(io.BytesIO(body)).convert("RGB")
    middles = [(picture.width * x // 4, picture.height * y // 4) for y in (1, 3) for x in (1, 3)]
    found = np.array([picture.getpixel(middle) for middle in middles])
    assert np.abs(found - np.array(expected)).max() <= 12, found
    service.check(job)


# Writing


def test_36_an_answer_lost_after_the_picture_was_stored(service: Service) -> None:
    job = service.job()
    stored = service.proxy.hold_answer(to(job))
    service.queue.submit(job)
    stored.wait(WAIT_S)
    lies_there = service.queue._store.look(ImageRef(bucket="uploads", key=job.content.key))
    stored.drop()
    done = service.queue.wait(job.id, timeout_s=WAIT_S)
    assert lies_there.etag
    assert service.attempts(job) == 1
    assert done.output.key == job.output_key
    service.check(job)


def test_36_another_attempt_stored_it_before(service: Service) -> None:
    """The store took the picture and then said nothing for as long as anybody asked."""
    job = service.job()
    lost = [service.proxy.hold_answer(to(job)) for _ in range(TRIES)]
    service.queue.submit(job)
    for answer in lost:
        answer.wait(WAIT_S)
        answer.drop()
    service.queue.wait(job.id, timeout_s=WAIT_S)
    assert service.attempts(job) == 2
    service.check(job)


@pytest.mark.parametrize("request_is", ["reading", "storing"])
@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId"])
def test_37_credentials_expire_in_the_middle_of_a_job(service: Service, request_is: str, code: str) -> None:
    job = service.job()
    status = 400 if code == "ExpiredToken" else 403
    service.proxy.answer_once(to(job) if request_is == "storing" else of("GET", job.content), s3_error(status, code))
    service.paint(job)
    assert service.attempts(job) == 2
    assert Code.STORE_UNAVAILABLE in str(service.queue.status(job.id).last_error)
    service.check(job)


class Careless(BaseHTTPRequestHandler):
    """A store that takes whatever it is given, whatever the conditions."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self._answer(200)

    def do_DELETE(self) -> None:
        self._answer(204)

    def log_message(self, format: str, *args: object) -> None:
        """In silence."""

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("ETag", '"whatever"')
        self.send_header("Content-Length", "0")
        self.end_headers()


def test_38_a_store_without_conditional_writes(deployment: Deployment) -> None:
    with ThreadingHTTPServer((HOST, 0), Careless) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        endpoint_url = f"http://{HOST}:{server.server_port}"
        with pytest.raises(Unavailable, match="ended with status") as caught:
            deployment.worker("careful", s3_endpoint_url=endpoint_url)
        server.shutdown()
        thread.join()
    assert "does not start" in str(caught.value)
    assert "If-None-Match" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        pytest.param({"work_bucket": "nowhere"}, "no such bucket", marks=pytest.mark.slow),
        pytest.param(
            {"read_buckets": ("uploads", "nowhere")},
            "bucket 'nowhere': there is no such bucket",
            marks=pytest.mark.slow,
        ),
        pytest.param({"write_buckets": ("nowhere",)}, "no such bucket", marks=pytest.mark.slow),
        ({"s3_secret_key": SecretStr("another-store's")}, "STYLEQUEUE_S3_SECRET_KEY"),
    ],
    ids=["work", "read", "write", "keys"],
)
def test_56_what_no_job_could_use_is_seen_at_the_start(
    deployment: Deployment, wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(Unavailable, match="ended with status") as caught:
        deployment.worker("careful", **wrong)
    assert f"ended with status {ExitCode.BAD_INPUT}" in str(caught.value)
    assert "does not start" in str(caught.value)
    assert says in str(caught.value)


# The finer answers


def once(service: Service, job: Job, method: str, status: int, code: str) -> None:
    """The store refuses this job once in this way, as soon as it is asked in that one."""
    pattern = to(job) if method == "PUT" else of(method, job.content)
    service.proxy.answer_once(pattern, s3_error(status, code))
    if method == "HEAD" and status != 301:
        # Whose answer has no body: the one to GET says why.
        service.proxy.answer_once(of("GET", job.content), s3_error(status, code))


@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT"])
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, "PermanentRedirect"),
        (400, "AuthorizationHeaderMalformed"),
        (400, "ExpiredToken"),
        (403, "RequestTimeTooSkewed"),
        (403, "QuotaExceeded"),
    ],
)
def test_54_the_workers_fault(service: Service, method: str, status: int, code: str) -> None:
    """The job goes back uncharged, and is made where and when the store lets somebody in."""
    job = service.job()
    once(service, job, method, status, code)
    service.paint(job)
    record = service.queue._ledger.record(job.id)
    assert (record.attempt, record.spared) == (2, 1)
    assert record.last_error
    assert f"({status})" in record.last_error
    service.check(job)


def test_54_the_workers_fault_to_write(service: Service) -> None:
    """After it the bucket is tried before the next painting: what is lost is one picture, and not one of each job."""
    jobs = [service.job() for _ in range(2)]
    once(service, jobs[0], "PUT", 403, "AccessDenied")
    service.proxy.answer_once(b"PUT /results/.stylequeue-probe-", s3_error(403, "AccessDenied"))
    service.queue.submit_many(jobs)
    for job in jobs:
        service.queue.wait(job.id, timeout_s=WAIT_S)
    spared = [service.queue._ledger.record(job.id).spared for job in jobs]
    assert sum(spared) == 2, "once when it was painted, once before anything was"
    service.check(*jobs)


def test_54_the_workers_fault_for_longer_than_attempts_last(service: Service) -> None:
    """More often than the job may be tried: it is not the job's end, and the log says whose fault it is."""
    job = service.job()
    times = service.deployment.settings.max_attempts + 1
    for _ in range(times):
        once(service, job, "GET", 400, "ExpiredToken")
    service.paint(job)
    record = service.queue._ledger.record(job.id)
    assert (record.attempt, record.spared) == (times + 1, times)
    assert '"level": "critical"' in service.worker.log_text()
    service.check(job)


@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT"])
@pytest.mark.parametrize(
    ("status", "code"), [(400, "ThrottlingException"), (409, "OperationAborted"), (503, "SlowDown")]
)
def test_54_the_moments_fault(service: Service, method: str, status: int, code: str) -> None:
    job = service.job()
    service.proxy.answer_once(to(job) if method == "PUT" else of(method, job.content), s3_error(status, code))
    service.paint(job)
    assert service.attempts(job) == 1
    service.check(job)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "InvalidObjectState", Code.OBJECT_ARCHIVED),
        (400, "KMS.DisabledException", Code.ACCESS_DENIED),
        (400, "InvalidRequest", Code.STORE_REFUSED),
    ],
)
def test_54_the_jobs_fault(service: Service, status: int, code: str, expected: Code) -> None:
    job = service.job()
    once(service, job, "GET", status, code)
    assert service.fail(job) == expected
    assert service.attempts(job) == 1
    service.check(job)


def test_54_a_picture_stored_as_gzip(service: Service) -> None:
    content = ImageRef(bucket="uploads", key=f"{uuid.uuid4().hex}/packed.jpg")
    body = gzip.compress(pictures.jpeg())
    service.queue._store._client.put_object(Bucket=content.bucket, Key=content.key, Body=body, ContentEncoding="gzip")
    job = service.job(content)
    assert service.paint(job).output.width_px == 64
    service.check(job)


@pytest.mark.parametrize("name", ["folder/", "//", "a//b.jpg", "a/b.jpg/"])
def test_55_keys_that_stores_keep_as_paths(service: Service, name: str) -> None:
    """SeaweedFS takes a picture put to `folder/`, and has an empty directory there."""
    key = f"{uuid.uuid4().hex}/{name}"
    with pytest.raises(InvalidJob, match="some stores take it for another key"):
        service.deployment.job(output={"bucket": "results", "key": key})
    fields = service.job().model_dump(mode="json", exclude_none=True)
    task_id = uuid.uuid4().hex
    kwargs = {"job": {**fields, "id": task_id, "output": {"bucket": "results", "key": key}}}
    service.queue._app.send_task(TASK_NAME, kwargs=kwargs, queue="paint", task_id=task_id)
    with pytest.raises(JobFailed, match=Code.INVALID_JOB):
        service.queue._app.AsyncResult(task_id).get(timeout=WAIT_S)
    service.queue.drop(task_id)
    assert not service.queue._store.exists("results", key)


def test_55_a_key_that_begins_with_anothers(service: Service) -> None:
    below = service.job(output={"bucket": "results", "key": f"{uuid.uuid4().hex}/a.jpg/b.jpg"})
    above = service.job(output={"bucket": "results", "key": str(below.output.key).removesuffix("/b.jpg")})
    service.paint(below)
    assert service.fail(above) == Code.OUTPUT_EXISTS
    service.check(below, above)


@pytest.mark.parametrize("what", ["another object", "another picture of ours", "no bucket of ours"])
def test_56_where_the_output_cannot_go(service: Service, what: str) -> None:
    """It would be painted for longer than anybody waits here."""
    expected, output = Code.OUTPUT_EXISTS, {"bucket": "results", "key": f"{uuid.uuid4().hex}.jpg"}
    match what:
        case "another object":
            service.queue._store._client.put_object(Bucket="results", Key=output["key"], Body=b"in the way")
        case "another picture of ours":
            service.paint(service.job(output=output))
        case _:
            expected, output = Code.BUCKET_NOT_ALLOWED, {"bucket": "uploads"}
    recipe = {"method": "optimize", "size": 64, "steps": ENDLESS}
    job = service.job(output=output, recipe=recipe)
    reading = service.proxy.hold(of("GET", job.content))
    assert service.fail(job) == expected
    assert service.attempts(job) == 1
    service.proxy.heal()
    with pytest.raises(AssertionError, match="did not come by"):
        reading.wait(0)


def test_56_the_same_picture_lies_there_already(service: Service) -> None:
    """The ledger does not know of it any more: what lies there is the picture, and nothing is read or painted."""
    job = service.job()
    done = service.paint(job)
    service.queue._ledger.redis.delete(painted_key(done.fingerprint))
    output = job.output.model_copy(update={"key": job.output_key})
    again = job.model_copy(update={"id": uuid.uuid4().hex, "output": output})
    reading = service.proxy.hold(of("GET", job.content))
    found = service.paint(again)
    assert found.reused
    assert found.output == done.output
    service.proxy.heal()
    with pytest.raises(AssertionError, match="did not come by"):
        reading.wait(0)
