"""Pictures that pass piece by piece, and addresses that are signed for those who have no keys."""

from __future__ import annotations

import http.client
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from stylequeue.asking_pictures import SHELF
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import InvalidRequest, JobNotFound, JobOpen, Permanent, StyleQueueError
from stylequeue.contract.job import Job
from stylequeue.contract.objects import ImageRef, StoredObject, UploadForm, preview_key
from stylequeue.contract.scope import Scope
from stylequeue.local.shelf import STYLES
from stylequeue.settings import Settings
from stylequeue.store import Store
from stylequeue.store.exchange import PART_BYTES, Upload
from tests.support import pictures
from tests.support.by_hand import paint
from tests.support.clients import Client
from tests.support.jobs import make_job
from tests.support.processes import wait_for

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


def asked(method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, bytes, Any]:
    """The store's answer to somebody without keys."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=30)) as connection:
        connection.request(method, f"{parts.path}?{parts.query}", body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers


def sent(form: UploadForm, body: bytes, **instead: str) -> int:
    """The status that whoever sends this by a form gets."""
    if form.method == "PUT":
        return asked("PUT", form.url, body, {**form.headers, "Content-Length": str(len(body)), **instead})[0]
    boundary = "a-boundary"
    fields = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {**form.fields, **instead}.items()
    )
    file = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    whole = (fields + file).encode() + body + f"\r\n--{boundary}--\r\n".encode()
    return asked("POST", form.url, whole, {"Content-Type": f"multipart/form-data; boundary={boundary}"})[0]


@pytest.fixture
def uploaded(queue: StyleQueue) -> Callable[..., Any]:
    def pieces(sizes: list[int]) -> Iterator[bytes]:
        for number, size in enumerate(sizes):
            yield bytes([number % 256]) * size

    return lambda *sizes, **how: queue.upload_stream(pieces(list(sizes)), **how)


def read(queue: StyleQueue, image: Any, **part: int) -> bytes:
    info = queue._store.find(image.bucket, image.key)
    assert info
    there = StoredObject(**vars(info))
    return b"".join(queue.read(there, **part))


@pytest.mark.parametrize("sizes", [[7], [1000] * 9, [PART_BYTES], [PART_BYTES, 1], [3 * 1024**2] * 4])
def test_what_comes_piece_by_piece_lies_there_whole(queue: StyleQueue, uploaded: Any, sizes: list[int]) -> None:
    image = uploaded(*sizes, suffix=".png")
    assert re.fullmatch(r"[0-9a-f-]{36}\.png", image.key)
    whole = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
    assert read(queue, image) == whole
    assert read(queue, image, first=3, last=6) == whole[3:7]
    found = queue._store.find(image.bucket, image.key)
    assert found
    assert (found.etag, found.content_type) == (image.etag, "image/png")
    assert uploaded(*sizes).etag == image.etag, "the same picture, so that what was painted of it is found again"
    queue.discard(image)
    assert not queue._store.exists(image.bucket, image.key)


def lying(queue: StyleQueue, prefix: str) -> list[str]:
    client = queue._store._client
    objects = client.list_objects_v2(Bucket="uploads", Prefix=prefix).get("Contents", [])
    begun = client.list_multipart_uploads(Bucket="uploads", Prefix=prefix).get("Uploads", [])
    return [one["Key"] for one in (*objects, *begun)]


def test_of_what_breaks_off_nothing_stays(client: Client, settings: Settings) -> None:
    with client(settings.model_copy(update={"max_image_bytes": 2 * PART_BYTES})) as queue:
        tenant = f"breaks-off-{uuid.uuid4().hex}"
        mine = queue.for_tenant(tenant)

        def breaking(size: int) -> Iterator[bytes]:
            yield bytes(size)
            raise ConnectionError

        for size in (10, PART_BYTES + 10):
            with pytest.raises(ConnectionError):
                mine.upload_stream(breaking(size))
        for pieces, code in (([bytes(PART_BYTES)] * 3, "image_too_many_bytes"), ([], "image_empty")):
            with pytest.raises(Permanent) as raised:
                mine.upload_stream(pieces)
            assert raised.value.code == code
        assert lying(queue, f"{tenant}/") == []
        mine.upload_stream([b"a"])
        assert len(lying(queue, f"{tenant}/")) == 1


@pytest.mark.parametrize("name", [None, "named.jpg"])
def test_whoever_goes_once_it_lies_there(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    tenant = f"goes-{uuid.uuid4().hex}"
    end = Upload.end

    def cancelled(upload: Upload) -> ImageRef:
        end(upload)
        raise ConnectionError

    with client(settings) as queue:
        mine = queue.for_tenant(tenant)
        if name:
            mine.upload_stream([b"a"], name=name)
        monkeypatch.setattr(Upload, "end", cancelled)
        with pytest.raises(ConnectionError):
            mine.upload_stream([b"a"], name=name)
        # What was sent under the name before, a job may have named by now.
        assert lying(queue, f"{tenant}/") == ([f"{tenant}/{name}"] if name else [])


# Addresses for others


@pytest.mark.parametrize("method", ["post", "put"])
def test_an_upload_is_of_its_type_and_size(client: Client, settings: Settings, method: str) -> None:
    body = pictures.jpeg()
    with client(settings.model_copy(update={"upload_method": method})) as queue:
        acme = queue.for_tenant("acme")
        form = acme.upload_form("Foto.JPEG", content_type="image/jpeg", size_bytes=len(body))
        assert re.fullmatch(r"acme/[0-9a-f-]{36}\.jpeg", form.image.key)
        assert sent(form, body) in (200, 204)
        found = queue._store.find(form.image.bucket, form.image.key)
        assert found
        assert (found.content_type, found.size_bytes) == ("image/jpeg", len(body))
        form = acme.upload_form("a.jpg", content_type="image/jpeg", size_bytes=len(body))
        assert sent(form, body + b"more") in (400, 403), "too long"
        assert sent(form, body, **{"Content-Type": "image/png"}) == 403
        if method == "post":
            assert sent(form, body, key=form.image.key.replace("acme", "globex")) == 403
        else:
            others = form.model_copy(update={"url": form.url.replace("/acme/", "/globex/")})
            assert sent(others, body) == 403
        assert not queue._store.exists(form.image.bucket, form.image.key)
        assert not queue._store.exists(form.image.bucket, form.image.key.replace("acme", "globex"))
        for wrong, code in (
            ({"content_type": "image/gif"}, "image_format_unsupported"),
            ({"size_bytes": 0}, "image_empty"),
            ({"size_bytes": 10**9}, "image_too_many_bytes"),
            ({"valid_s": 0}, "invalid_request"),
        ):
            fields: Any = {"content_type": "image/webp", "size_bytes": 1, **wrong}
            with pytest.raises(StyleQueueError) as raised:
                acme.upload_form("a", **fields)
            assert raised.value.code == code
        assert acme.upload_form("a.txt", content_type="image/webp", size_bytes=1).image.key.endswith(".webp")


def test_an_upload_is_taken_until_it_expires(settings: Settings) -> None:
    body = pictures.jpeg()
    with ExitStack() as queues:
        given: list[tuple[StyleQueue, UploadForm, UploadForm]] = []
        for method in ("post", "put"):
            queue = queues.enter_context(StyleQueue(settings.model_copy(update={"upload_method": method})))
            long, short = (
                queue.upload_form("a.jpg", content_type="image/jpeg", size_bytes=len(body), valid_s=valid_s)
                for valid_s in (600, 1)
            )
            given.append((queue, long, short))
        # Signed a moment after that was said, and by whole seconds.
        over = given[-1][2].expires_at + timedelta(seconds=1)
        wait_for(lambda: datetime.now(UTC) > over, 30, "them to expire")
        for queue, long, short in given:
            assert sent(short, body) == 403
            assert not queue._store.exists(short.image.bucket, short.image.key)
            assert sent(long, body) in (200, 204)
            queue.discard(long.image)


def test_addresses_are_signed_for_the_host_that_others_know(client: Client, settings: Settings) -> None:
    outside = settings.model_copy(
        update={"s3_public_endpoint_url": (settings.s3_endpoint_url or "").replace("127.0.0.1", "localhost")}
    )
    with client(outside) as queue:
        image = queue.upload_stream([b"seen from outside"], suffix=".jpg")
        link = queue.link(image, filename='Zürich "am\nSee".jpg')
        assert urlsplit(link).hostname == "localhost"
        status, body, headers = asked("GET", link)
        assert (status, body) == (200, b"seen from outside")
        assert headers["Content-Disposition"] == (
            "inline; filename=\"Z_rich _am_See_.jpg\"; filename*=UTF-8''Z%C3%BCrich%20%22am%0ASee%22.jpg"
        )
        assert headers["Cache-Control"] == "private, no-store"
        form = queue.upload_form("a.jpg", content_type="image/jpeg", size_bytes=3)
        assert urlsplit(form.url).hostname == "localhost"
        assert sent(form, b"abc") in (200, 204)


# What there is of a job


def test_what_there_is_of_a_job_is_looked_at(queue: StyleQueue) -> None:
    job = make_job()
    queue.submit(job)
    with pytest.raises(JobOpen):
        queue.look(job.id)
    with pytest.raises(Permanent, match="object_not_found"):
        queue.look(job.id, "preview")
    queue._store._client.put_object(Bucket="work", Key=preview_key(job.id), Body=b"preview", ContentType="image/webp")
    preview = queue.look(job.id, "preview")
    assert (b"".join(queue.read(preview)), preview.content_type) == (b"preview", "image/webp")
    painted = make_job()
    paint(queue, painted)
    there = queue.look(painted.id)
    assert (there.key, b"".join(queue.read(there))) == (painted.output_key, b"picture")
    assert queue.look(painted.id, "report").key == f"{painted.output_key}.report.png"
    assert queue.look(painted.id, "thumbnail").key == f"{painted.output_key}.thumb.webp"
    assert asked("GET", queue.link(there))[1] == b"picture"
    with pytest.raises(JobNotFound):
        queue.for_tenant("acme").look(painted.id, "preview")


def test_what_a_job_is_painted_from_is_looked_at(queue: StyleQueue) -> None:
    put = queue._store._client.put_object
    content = ImageRef(bucket="uploads", key="look/content.jpg")
    etag = put(Bucket=content.bucket, Key=content.key, Body=b"content")["ETag"]
    put(Bucket="styles", Key="look/style.jpg", Body=b"style")
    styles = [{"image": {"bucket": "styles", "key": f"look/{name}.jpg"}} for name in ("none", "style")]
    job = make_job(content={**content.model_dump(exclude_none=True), "etag": etag}, styles=styles)
    queue.submit(job)
    assert b"".join(queue.read(queue.look(job.id, "content"))) == b"content"
    assert b"".join(queue.read(queue.look(job.id, "style", number=2))) == b"style"
    for number in (1, 3):
        with pytest.raises(Permanent, match="object_not_found"):
            queue.look(job.id, "style", number=number)
    put(Bucket=content.bucket, Key=content.key, Body=b"another")
    with pytest.raises(Permanent, match="object_changed"):
        queue.look(job.id, "content")


def test_a_picture_that_was_replaced_is_not_shown(queue: StyleQueue) -> None:
    job = make_job()
    paint(queue, job)
    there = queue.look(job.id)
    queue._store._client.put_object(Bucket="results", Key=job.output_key, Body=b"another's")
    with pytest.raises(Permanent) as raised:
        queue.look(job.id)
    assert raised.value.code == "object_changed"
    with pytest.raises(StyleQueueError) as late:
        list(queue.read(there))
    assert late.value.code == "object_changed"


def test_a_scope_holds_for_what_is_fetched_too(queue: StyleQueue, tmp_path: Any) -> None:
    scope = Scope(read=("uploads/{tenant}/*",), write=("results/{tenant}/*",))
    acme = queue.for_tenant("acme", scope=scope)
    (tmp_path / "a.jpg").write_bytes(pictures.jpeg())
    mine = acme.upload(tmp_path / "a.jpg")
    assert mine.key.startswith("acme/")
    assert acme.link(mine)
    others = queue.upload(tmp_path / "a.jpg")
    for call in (lambda: acme.link(others), lambda: acme.download(others, tmp_path / "b.jpg")):
        with pytest.raises(Permanent, match="bucket_not_allowed"):
            call()
    with pytest.raises(InvalidRequest):
        acme.link(mine, valid_s=0)
    assert isinstance(acme.job({"content": mine, "styles": [{"image": mine}]}), Job)


def test_the_shelf_has_the_styles_that_one_may_use(client: Client, settings: Settings) -> None:
    settings = settings.model_copy(update={"read_buckets": ("uploads", "styles", "nowhere")})
    with client(settings) as queue:
        store = queue._store
        for key in ("shelf/of the sea.png", "shelf/acme/own.jpg", "shelf/notes.txt", "beside.jpg"):
            store._client.put_object(Bucket="styles", Key=key, Body=pictures.png())
        store._client.put_object(Bucket="uploads", Key="shelf/another's.png", Body=pictures.png())
        try:
            found = {there.key: there for there in queue.shelf() if there.key not in SAMPLES}
            assert {*found} == {"shelf/of the sea.png", "shelf/acme/own.jpg"}
            there = found["shelf/of the sea.png"]
            assert (there.bucket, there.content_type, there.size_bytes) == ("styles", "image/png", len(pictures.png()))
            assert there.etag == store._client.head_object(Bucket="styles", Key=there.key)["ETag"]
            scope = Scope(read=("uploads/acme/*", "styles/shelf/acme/*"), write=("results/acme/*",))
            assert [there.key for there in queue.for_tenant("acme", scope=scope).shelf()] == ["shelf/acme/own.jpg"]
        finally:
            for bucket, key in [*(("styles", key) for key in found), ("uploads", "shelf/another's.png")]:
                store._client.delete_object(Bucket=bucket, Key=key)


SAMPLES = {SHELF + name for name in STYLES}
"""May be there: the buckets are everybody's."""


def test_what_lies_on_the_shelf_stays(settings: Settings) -> None:
    store = Store(settings)
    assert store.exchange.put_new("styles", "shelf/mine.jpg", pictures.jpeg())
    try:
        assert not store.exchange.put_new("styles", "shelf/mine.jpg", b"another")
        there = store._client.get_object(Bucket="styles", Key="shelf/mine.jpg")
        assert (there["Body"].read(), there["ContentType"]) == (pictures.jpeg(), "image/jpeg")
    finally:
        store._client.delete_object(Bucket="styles", Key="shelf/mine.jpg")
        store.close()
