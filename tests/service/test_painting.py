"""The whole way of a job, on real parts: client, Redis, worker, engine, store and back."""

from __future__ import annotations

import hashlib
import io
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stylequeue.client import StyleQueue
from stylequeue.contract.events import Progress, Succeeded
from stylequeue.contract.objects import ImageRef
from stylequeue.ledger.names import events_key
from tests.service.conftest import WAIT_S, make, paint, put, stored
from tests.support import pictures
from tests.support.processes import wait_for


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
        {"method": "optimize", "preset": "painterly", "size": 64, "steps": 4, "network": "vgg16"},
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


def test_of_an_animation_the_first_frame(service: StyleQueue, photograph: ImageRef) -> None:
    film = put(service, "film.webp", pictures.ten_thousand_frame_webp())
    assert paint(service, make(photograph, content=film)).output.width_px == 64
