"""Pictures that come and go by the client."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import (
    FileUnusable,
    InvalidRequest,
    JobCancelled,
    JobNotFound,
    JobOpen,
    WaitTimeout,
)
from stylequeue.contract.job import Job
from stylequeue.contract.objects import ImageRef
from tests.support import pictures
from tests.support.by_hand import paint
from tests.support.deployment import WAIT_S
from tests.support.jobs import make_job
from tests.support.processes import wait_for

# Celery's own way to store results.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


def lying_there(queue: StyleQueue, job: Job) -> list[bool]:
    sides = ("", ".json", ".report.png")
    return [queue._store.exists(job.output.bucket, job.output_key + side) for side in sides]


def test_a_picture_comes_by_what_wait_returns_or_by_the_job(queue: StyleQueue, tmp_path: Path) -> None:
    job = make_job()
    paint(queue, job)
    queue.download(queue.wait(job.id, timeout_s=1).output, tmp_path / "waited")
    queue.download(job.id, str(tmp_path / "asked"))
    assert (tmp_path / "waited").read_bytes() == (tmp_path / "asked").read_bytes() == b"picture"


def test_a_job_without_a_picture_says_why(queue: StyleQueue, tmp_path: Path) -> None:
    job = make_job()
    queue.submit(job)
    with pytest.raises(JobOpen, match="it cannot be downloaded"):
        queue.download(job.id, tmp_path / "picture")
    queue.cancel(job.id)
    with pytest.raises(JobCancelled):
        queue.download(job.id, tmp_path / "picture")
    assert not list(tmp_path.iterdir())


def test_deleting_takes_the_picture_and_what_lies_beside_it(queue: StyleQueue) -> None:
    job = make_job()
    paint(queue, job)
    assert all(lying_there(queue, job))
    queue.delete(job.id)
    assert not any(lying_there(queue, job))


def test_deleting_leaves_what_another_job_put_in_its_place(queue: StyleQueue, tmp_path: Path) -> None:
    first = make_job()
    where = {"bucket": "results", "key": first.output_key, "overwrite": True}
    second = make_job(output=where)
    paint(queue, first)
    paint(queue, second, b"another")
    queue.delete(first.id)
    assert all(lying_there(queue, first))
    queue.download(second.id, tmp_path / "picture")
    assert (tmp_path / "picture").read_bytes() == b"another"
    with pytest.raises(JobNotFound):
        queue.status(first.id)


def test_deleting_a_job_whose_picture_is_gone(queue: StyleQueue) -> None:
    job = make_job()
    paint(queue, job)
    queue._store._client.delete_object(Bucket="results", Key=job.output_key)
    queue.delete(job.id)
    with pytest.raises(JobNotFound):
        queue.status(job.id)


@pytest.mark.parametrize("path", ["no/such/directory/picture.jpg", "", "."])
def test_a_file_that_cannot_be_used_is_an_error_of_ours(queue: StyleQueue, tmp_path: Path, path: str) -> None:
    job = make_job()
    paint(queue, job)
    for call in (lambda: queue.upload(tmp_path / path), lambda: queue.download(job.id, tmp_path / path)):
        with pytest.raises(FileUnusable) as caught:
            call()
        assert isinstance(caught.value, OSError)
        assert (caught.value.code, bool(caught.value.errno), bool(caught.value.hint)) == ("file_unusable", True, True)
        assert str(tmp_path) in caught.value.message


def test_a_job_that_has_not_ended_in_time(queue: StyleQueue) -> None:
    job = make_job()
    queue.submit(job)
    with pytest.raises(WaitTimeout, match="has not ended after 0") as caught:
        queue.wait(job.id, timeout_s=0.01)
    assert (caught.value.code, isinstance(caught.value, TimeoutError)) == ("timeout", True)


def test_any_picture_of_the_store_can_be_had(queue: StyleQueue, tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    source.write_bytes(pictures.jpeg())
    queue.download(queue.upload(source), tmp_path / "copy.jpg")
    assert (tmp_path / "copy.jpg").read_bytes() == source.read_bytes()


def fetched(address: str) -> bytes:
    """As a browser does it, without keys."""
    with urllib.request.urlopen(address, timeout=WAIT_S) as answer:
        return bytes(answer.read())


def test_a_link_shows_a_picture_to_those_without_keys(queue: StyleQueue, tmp_path: Path) -> None:
    job = make_job()
    data = paint(queue, job)
    ref = ImageRef(bucket=data.output.bucket, key=data.output.key)
    for picture in (job.id, data.output, ref):
        assert "X-Amz-Signature=" in queue.link(picture)
        assert fetched(queue.link(picture)) == b"picture"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        fetched(queue.link(job.id).partition("?")[0])
    short = queue.link(job.id, valid_s=1)
    wait_for(lambda: refuses(short), WAIT_S, "the link to end")


def refuses(address: str) -> bool:
    try:
        fetched(address)
    except urllib.error.HTTPError as error:
        return error.code == 403
    return False


def test_a_job_without_a_picture_has_no_link(queue: StyleQueue) -> None:
    job = make_job()
    queue.submit(job)
    with pytest.raises(JobOpen, match="it cannot be linked"):
        queue.link(job.id)
    for valid_s in (0, 7 * 24 * 3600 + 1):
        with pytest.raises(InvalidRequest, match="valid_s"):
            queue.link(ImageRef(bucket="results", key="a"), valid_s=valid_s)
