"""Bad pictures and buckets: each its own code, an event, and the next job taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code
from stylequeue.contract.objects import ImageRef
from tests.service.conftest import assert_fails, make, paint, put
from tests.support import pictures

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


def test_missing_keys_and_forbidden_buckets(service: StyleQueue, photograph: ImageRef) -> None:
    assert_fails(service, make(ImageRef(bucket="uploads", key="nowhere.jpg")), Code.OBJECT_NOT_FOUND)
    assert_fails(service, make(ImageRef(bucket="secrets", key="a.jpg")), Code.BUCKET_NOT_ALLOWED)
    assert_fails(service, make(photograph, output={"bucket": "uploads"}), Code.BUCKET_NOT_ALLOWED)
    assert paint(service, make(photograph)).output


def test_a_network_that_no_worker_has_is_waited_for(service: StyleQueue, photograph: ImageRef) -> None:
    job = make(photograph, {"method": "optimize", "network": "vgg19"})
    service.submit(job)
    # The worker has taken its message once it has painted the next one.
    recipe = {"method": "optimize", "preset": "painterly", "size": 64, "steps": 2}
    assert paint(service, make(photograph, recipe)).output
    waiting = service.status(job.id)
    assert (waiting.state, waiting.attempt) == ("queued", 0)
    assert waiting.waits_for == "a worker with the network vgg19: none that takes from queue 'paint' has it now"
    assert service.cancel(job.id) == "cancelled"
