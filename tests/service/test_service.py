"""The whole way of a job, on real parts: client, Redis, worker, engine, store and back."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from PIL import Image

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, JobExpired, JobFailed
from stylequeue.contract.events import Failed, Progress, Succeeded, SucceededData
from stylequeue.contract.job import Job
from stylequeue.contract.objects import ImageRef
from stylequeue.ledger.names import events_key
from stylequeue.local import Process, Stack
from tests.support import pictures
from tests.support.processes import arguments_below, wait_for

WAIT_S = 60


def make(photograph: ImageRef, recipe: dict[str, Any] | None = None, **fields: Any) -> Job:
    return Job.model_validate(
        {
            "content": photograph,
            "styles": [{"image": photograph}],
            "output": {"bucket": "results"},
            "recipe": recipe or {"method": "fast", "size": 64},
            **fields,
        }
    )


def stored(queue: StyleQueue, key: str) -> bytes:
    return queue._store._client.get_object(Bucket="results", Key=key)["Body"].read()


def put(queue: StyleQueue, key: str, body: bytes) -> ImageRef:
    queue._store._client.put_object(Bucket="uploads", Key=key, Body=body)
    return ImageRef(bucket="uploads", key=key)


def paint(queue: StyleQueue, job: Job) -> SucceededData:
    queue.submit(job)
    return queue.wait(job.id, timeout_s=WAIT_S)


def test_a_fast_job_from_submit_to_picture(service: StyleQueue, photograph: ImageRef, tmp_path: Path) -> None:
    job = make(photograph, labels={"user": "42"})
    service.submit(job)
    events = list(service.watch(job.id, timeout_s=WAIT_S))

    kinds = [event.type.split(".")[-2] for event in events]
    assert kinds[:2] == ["accepted", "started"]
    assert set(kinds[2:-1]) == {"progress"}
    last = events[-1]
    assert isinstance(last, Succeeded)
    assert last.data.labels == {"user": "42"}
    assert last.data.report.network == "fast"

    out = last.data.output
    picture = stored(service, out.key)
    assert hashlib.sha256(picture).hexdigest() == out.sha256
    assert len(picture) == out.size_bytes
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "JPEG"
        assert image.size == (out.width_px, out.height_px) == (64, 43)
    # What lies beside the picture, a moment later, is the event itself, byte for byte.
    wait_for(partial(service._store.exists, "results", out.key + ".json"), WAIT_S, "the event beside the picture")
    entries: Any = service._ledger.redis.xrange(events_key(job.id))
    assert stored(service, out.key + ".json").decode() == entries[-1][1]["event"]

    record = service.status(job.id)
    assert (record.state, record.attempt) == ("succeeded", 1)
    assert record.outcome == last
    service._store.download(out.bucket, out.key, tmp_path / "picture.jpg")
    assert (tmp_path / "picture.jpg").read_bytes() == picture


MASKS: dict[str, tuple[Image.Image, int | tuple[int, int]]] = {
    "grey": (Image.new("L", (20, 16), 255), 0),
    "white on transparency": (Image.new("LA", (20, 16), (255, 255)), (255, 0)),
    "of two pixels": (Image.new("L", (2, 1), 255), 0),
    "of quite another shape": (Image.new("L", (4000, 16), 255), 0),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_style_applies_where_its_mask_is_white(service: StyleQueue, photograph: ImageRef, name: str) -> None:
    white, nothing = MASKS[name]
    mask = white.copy()
    mask.paste(nothing, (mask.width // 2, 0, *mask.size))
    file = pictures.saved(mask, "PNG")
    styles = [{"image": photograph, "mask": put(service, f"mask {name}.png", file)}]
    fields: dict[str, Any] = {"styles": styles, "output": {"bucket": "results", "format": "png"}}
    done = paint(service, make(photograph, **fields))
    untouched = paint(service, make(photograph, {"method": "fast", "size": 64, "strength": 0.0}, **fields))
    masked, content = (
        Image.open(io.BytesIO(stored(service, made.output.key))).convert("RGB") for made in (done, untouched)
    )
    width, height = content.size
    edge = width // 4 if name == "of two pixels" else 4  # which is soft over half the picture
    right, left = (width // 2 + edge, 0, width, height), (0, 0, width // 2 - edge, height)
    assert masked.crop(right).tobytes() == content.crop(right).tobytes()
    assert masked.crop(left).tobytes() != content.crop(left).tobytes()


def test_a_painted_job_with_a_report(service: StyleQueue, photograph: ImageRef) -> None:
    job = make(
        photograph,
        {"method": "optimize", "size": 64, "steps": 4, "network": "vgg16"},
        output={"bucket": "results", "key": "painted/ü +.png", "format": "png", "report": True},
    )
    done = paint(service, job)
    assert done.report.network == "vgg16"
    assert done.report.steps == 4
    assert set(done.report.losses) == {"content", "style", "variation"}
    assert done.output.key == "painted/ü +.png"
    with Image.open(io.BytesIO(stored(service, done.output.key))) as image:
        assert image.format == "PNG"
        assert max(image.size) == 64
    assert done.report_key == "painted/ü +.png.report.png"
    with Image.open(io.BytesIO(stored(service, done.report_key))) as image:
        assert min(image.size) > 300
    steps = [e.data.step for e in service.watch(job.id) if isinstance(e, Progress) and e.data.stage == "painting"]
    assert steps == sorted(steps)
    assert steps[-1] == 4


def test_no_strength_is_the_content(service: StyleQueue, photograph: ImageRef) -> None:
    for recipe in ({"method": "fast", "size": 96, "strength": 0}, {"method": "optimize", "size": 96, "strength": 0}):
        done = paint(service, make(photograph, recipe, output={"bucket": "results", "format": "png"}))
        with Image.open(io.BytesIO(stored(service, done.output.key))) as image:
            got = image.tobytes()
        original = service._store._client.get_object(Bucket=photograph.bucket, Key=photograph.key)["Body"].read()
        with Image.open(io.BytesIO(original)) as image:
            assert got == image.convert("RGB").tobytes()


# Without our package on the sender's side


@pytest.fixture
def plain_celery(stack: Stack) -> Celery:
    """A Celery app as any program makes it, knowing nothing of us."""
    url = stack.settings.redis_url.get_secret_value()
    return Celery("somebody", broker=url, backend=url)


def fields(job: Job) -> dict[str, Any]:
    return job.model_dump(mode="json", exclude_none=True, exclude={"id"})


def test_plain_celery_can_send_and_get(service: StyleQueue, plain_celery: Celery, photograph: ImageRef) -> None:
    result = plain_celery.send_task("stylequeue.stylize", kwargs={"job": fields(make(photograph))}, queue="paint")
    outcome = result.get(timeout=WAIT_S)
    assert outcome["output"]["key"] == f"{result.id}.jpg"
    assert service.status(result.id).state == "succeeded"


def test_plain_celery_gets_code_and_message(service: StyleQueue, plain_celery: Celery) -> None:
    job = make(ImageRef(bucket="uploads", key="nowhere.jpg"))
    result = plain_celery.send_task("stylequeue.stylize", kwargs={"job": fields(job)}, queue="fast")
    with pytest.raises(JobFailed) as caught:
        result.get(timeout=WAIT_S)
    assert caught.value.code == Code.OBJECT_NOT_FOUND
    assert "nowhere.jpg" in caught.value.message


def test_a_program_without_our_package_gets_code_and_message(service: StyleQueue, stack: Stack) -> None:
    """In an interpreter that cannot import stylequeue."""
    script = """
import sys
sys.modules["stylequeue"] = None
import os
from celery import Celery
app = Celery(broker=os.environ["URL"], backend=os.environ["URL"])
try:
    app.send_task("stylequeue.stylize", kwargs={"job": {"nonsense": 1}}, queue="paint").get(timeout=60)
except Exception as error:
    print(type(error).__name__, *error.args, sep="|")
"""
    env = {"URL": stack.settings.redis_url.get_secret_value()}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    name, code, message, hint = done.stdout.strip().split("|")
    assert (name, code) == ("JobFailed", "invalid_job")
    assert "nonsense" in message
    assert hint


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"job": {"recipe": {"method": "optimize", "size": 10**9}}}, "recipe.optimize.size"),
        ({"job": {"id": "mine", "content": "x"}}, "content"),
        ({"job": "text"}, "not a JSON object"),
        ({}, "not a JSON object"),
        ({"image": "s3://a/b"}, "not a JSON object"),
    ],
)
def test_what_is_no_job_fails_under_its_task_id(
    service: StyleQueue, plain_celery: Celery, photograph: ImageRef, kwargs: dict[str, Any], named: str
) -> None:
    result = plain_celery.send_task("stylequeue.stylize", kwargs=kwargs, queue="paint")
    with pytest.raises(JobFailed) as caught:
        result.get(timeout=WAIT_S)
    assert caught.value.code == Code.INVALID_JOB
    assert named in caught.value.message
    outcome = service.status(result.id).outcome
    assert isinstance(outcome, Failed)
    assert outcome.data.code == Code.INVALID_JOB
    assert outcome in [event for _, event in service.events(follow=False)]
    assert paint(service, make(photograph)).output


def test_a_task_id_that_is_no_job_id_reaches_no_key(
    service: StyleQueue, plain_celery: Celery, photograph: ImageRef
) -> None:
    victim = make(photograph)
    result = plain_celery.send_task(
        "stylequeue.stylize", kwargs={"job": {"nonsense": 1}}, queue="paint", task_id=f"{victim.id}:events"
    )
    with pytest.raises(JobFailed) as caught:
        result.get(timeout=WAIT_S)
    assert caught.value.code == Code.INVALID_JOB
    assert any("nonsense" in letter.message for letter in service.dead_letters())
    assert paint(service, victim).output


def test_a_job_under_an_impossible_task_id_can_be_replayed(
    service: StyleQueue, plain_celery: Celery, photograph: ImageRef
) -> None:
    """Under another one, since it was not the job that was wrong."""
    key = f"{uuid.uuid4().hex}.jpg"
    job = fields(make(photograph, output={"bucket": "results", "key": key}))
    result = plain_celery.send_task("stylequeue.stylize", kwargs={"job": job}, queue="paint", task_id="two words")
    with pytest.raises(JobFailed, match=Code.INVALID_JOB):
        result.get(timeout=WAIT_S)
    [letter] = [letter for letter in service.dead_letters() if key in letter.message]
    service.replay(letter.id)
    wait_for(partial(service._store.exists, "results", key), WAIT_S, "the picture")
    assert letter not in service.dead_letters()


def test_what_json_cannot_write_is_a_dead_letter_too(service: StyleQueue, plain_celery: Celery) -> None:
    """Celery's JSON carries dates and UUIDs as such."""
    job: dict[str, Any] = {"id": uuid.uuid4(), "deadline": datetime.now(UTC), "nonsense": Decimal(1)}
    result = plain_celery.send_task("stylequeue.stylize", kwargs={"job": job}, queue="paint")
    with pytest.raises(JobFailed) as caught:
        result.get(timeout=WAIT_S)
    assert caught.value.code == Code.INVALID_JOB
    assert job["id"].hex in service._ledger.dead_letter(result.id).message


def test_a_newer_schema_is_said_to_be_newer(service: StyleQueue, plain_celery: Celery, photograph: ImageRef) -> None:
    job = fields(make(photograph)) | {"schema_version": 99}
    with pytest.raises(JobFailed) as caught:
        plain_celery.send_task("stylequeue.stylize", kwargs={"job": job}, queue="paint").get(timeout=WAIT_S)
    assert caught.value.code == Code.SCHEMA_TOO_NEW


# Bad pictures: each its own code, an event, and the next job taken

BAD_PICTURES: dict[str, tuple[Callable[[], bytes], Code]] = {
    "zero bytes": (lambda: b"", Code.IMAGE_EMPTY),
    "html": (pictures.html_page, Code.IMAGE_NOT_RECOGNISED),
    "gif": (pictures.gif, Code.IMAGE_FORMAT_UNSUPPORTED),
    "truncated": (pictures.truncated_jpeg, Code.IMAGE_TRUNCATED),
    "huge": (pictures.huge_png, Code.IMAGE_TOO_MANY_PIXELS),
    "tiny": (pictures.tiny_png, Code.IMAGE_TOO_SMALL),
}


@pytest.mark.parametrize("fault", BAD_PICTURES)
@pytest.mark.parametrize("role", ["content", "style 1"])
def test_a_bad_picture_fails_its_own_job_only(service: StyleQueue, photograph: ImageRef, fault: str, role: str) -> None:
    body, code = BAD_PICTURES[fault]
    bad = put(service, f"bad/{fault}.jpg", body())
    change: dict[str, Any] = {"content": bad} if role == "content" else {"styles": [{"image": bad}]}
    message = assert_fails(service, make(photograph, **change), code)
    assert message.startswith(f"{role} s3://{bad.bucket}/{bad.key}: ")
    assert paint(service, make(photograph)).output


def test_errors_name_the_input_they_mean(service: StyleQueue, photograph: ImageRef) -> None:
    html, gone = put(service, "bad/page.png", pictures.html_page()), ImageRef(bucket="uploads", key="gone.png")
    masked = [{"image": photograph}, {"image": photograph, "mask": html}]
    message = assert_fails(service, make(photograph, styles=masked), Code.IMAGE_NOT_RECOGNISED)
    assert message.startswith("mask 2 s3://uploads/bad/page.png: ")
    message = assert_fails(service, make(photograph, styles=[*masked, {"image": gone}]), Code.OBJECT_NOT_FOUND)
    assert message.startswith("style 3: ")
    assert "s3://uploads/gone.png" in message
    over = {"method": "optimize", "size": 64, "init": "image", "init_image": html}
    message = assert_fails(service, make(photograph, over), Code.IMAGE_NOT_RECOGNISED)
    assert message.startswith("init image s3://uploads/bad/page.png: ")


def assert_fails(service: StyleQueue, job: Job, code: Code) -> str:
    """The message it failed with."""
    service.submit(job)
    with pytest.raises(JobFailed) as caught:
        service.wait(job.id, timeout_s=WAIT_S)
    assert caught.value.code == code
    assert caught.value.message
    assert caught.value.hint
    outcome = service.status(job.id).outcome
    assert isinstance(outcome, Failed)
    assert outcome.data.code == code
    assert outcome in [event for _, event in service.events(follow=False)]
    return caught.value.message


def test_missing_keys_and_forbidden_buckets(service: StyleQueue, photograph: ImageRef) -> None:
    assert_fails(service, make(ImageRef(bucket="uploads", key="nowhere.jpg")), Code.OBJECT_NOT_FOUND)
    assert_fails(service, make(ImageRef(bucket="secrets", key="a.jpg")), Code.BUCKET_NOT_ALLOWED)
    assert_fails(service, make(photograph, output={"bucket": "uploads"}), Code.BUCKET_NOT_ALLOWED)
    assert paint(service, make(photograph)).output


def test_a_network_that_no_worker_has_is_waited_for(service: StyleQueue, photograph: ImageRef) -> None:
    job = make(photograph, {"method": "optimize", "network": "vgg19"})
    service.submit(job)
    # The worker has taken its message once it has painted the next one.
    assert paint(service, make(photograph, {"method": "optimize", "size": 64, "steps": 2})).output
    waiting = service.status(job.id)
    assert (waiting.state, waiting.attempt) == ("queued", 0)
    assert waiting.waits_for == "a worker with the network vgg19: none that takes from queue 'paint' has it now"
    assert service.cancel(job.id) == "cancelled"


def test_of_an_animation_the_first_frame(service: StyleQueue, photograph: ImageRef) -> None:
    film = put(service, "film.webp", pictures.ten_thousand_frame_webp())
    assert paint(service, make(photograph, content=film)).output.width_px == 64


# One job, one picture


def test_the_same_job_sent_again_is_painted_once(service: StyleQueue, photograph: ImageRef) -> None:
    job = make(photograph)
    for _ in range(5):
        service.submit(job)
    done = service.wait(job.id, timeout_s=WAIT_S)
    service.submit(job)
    assert paint(service, make(photograph)).output, "the messages before it are dealt with by now"
    assert service.status(job.id).attempt == 1
    assert service.wait(job.id) == done


def test_a_picture_in_the_way_is_not_replaced_unless_asked(service: StyleQueue, photograph: ImageRef) -> None:
    where = {"bucket": "results", "key": "in-the-way.jpg"}
    first = paint(service, make(photograph, output=where))
    other = {"method": "fast", "size": 48}
    assert_fails(service, make(photograph, other, output=where), Code.OUTPUT_EXISTS)
    assert hashlib.sha256(stored(service, "in-the-way.jpg")).hexdigest() == first.output.sha256
    second = paint(service, make(photograph, other, output={**where, "overwrite": True}))
    assert hashlib.sha256(stored(service, "in-the-way.jpg")).hexdigest() == second.output.sha256 != first.output.sha256


def test_the_same_picture_in_the_way_is_success(service: StyleQueue, photograph: ImageRef) -> None:
    """As when a worker was killed between storing the picture and recording that."""
    where = {"bucket": "results", "key": "twice.jpg"}
    first = paint(service, make(photograph, output=where))
    second = paint(service, make(photograph, output=where))
    assert second.output == first.output
    assert second.fingerprint == first.fingerprint


def test_a_job_past_its_deadline_expires(service: StyleQueue, photograph: ImageRef) -> None:
    job = make(photograph, deadline="2020-01-01T00:00:00Z")
    service.submit(job)
    with pytest.raises(JobExpired) as caught:
        service.wait(job.id, timeout_s=WAIT_S)
    assert caught.value.code == Code.DEADLINE_PASSED


# The worker process


def test_the_parent_never_loads_tensorflow(service: StyleQueue, real_worker: Process) -> None:
    def maps(pid: int) -> str:
        return Path(f"/proc/{pid}/maps").read_text()

    parent = real_worker.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    assert "tensorflow" not in maps(parent)
    assert any("tensorflow" in maps(int(child)) for child in children)


def test_every_log_line_about_a_job_names_it(service: StyleQueue, real_worker: Process) -> None:
    job = make(ImageRef(bucket="uploads", key="nowhere.jpg"))
    assert_fails(service, job, Code.OBJECT_NOT_FOUND)
    real_worker.wait_for_line(f"job={job.id} stylequeue_worker.work.stylist: ended", WAIT_S)
    lines = [line for line in real_worker.log_text().splitlines() if "stylequeue_worker.work.stylist" in line]
    about_it = [line for line in lines if f"job={job.id}" in line]
    assert any("attempt 1" in line for line in about_it)
    assert any("object_not_found" in line for line in about_it)
    assert not any("job=-" in line for line in lines)


def test_no_secret_is_in_the_log(service: StyleQueue, stack: Stack, real_worker: Process) -> None:
    log = real_worker.log_text()
    settings = stack.settings
    assert settings.s3_secret_key is not None
    assert settings.s3_secret_key.get_secret_value() not in log
    password = settings.redis_url.get_secret_value().split("@")[0].split(":")[-1]
    assert password
    assert password not in log


def test_no_secret_is_among_the_arguments_of_any_process(service: StyleQueue, stack: Stack) -> None:
    """All users of a machine may read those: of servers and their guards, of a worker and its child."""
    secrets = (stack.valkey.password, stack.seaweedfs.access_key, stack.seaweedfs.secret_key)
    lines = arguments_below(os.getpid())
    assert any("stylequeue_worker" in line for line in lines)
    assert any("valkey-server" in line for line in lines)
    assert [line for line in lines if any(secret in line for secret in secrets)] == []
