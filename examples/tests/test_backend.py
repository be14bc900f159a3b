"""How to test what uses stylequeue; needs `pip install ".[testing]"` in a checkout, no TensorFlow and no GPU."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import pytest
from backend import paint
from follow_events import handle

from stylequeue import ImageRef, JobFailed, StyleQueue
from stylequeue.testing import JobEvents, Service, make_job


def test_a_picture_arrives(stylequeue_service: Service, tmp_path: Path) -> None:
    """The whole way; `StyleQueue()` finds the service, since the fixture sets the environment."""
    with as_file(files("stylequeue") / "local" / "samples" / "astronaut.jpg") as photo, StyleQueue() as queue:
        paint(queue, str(photo), str(photo), str(tmp_path / "picture.jpg"))
    assert (tmp_path / "picture.jpg").read_bytes()


def test_a_photo_that_is_not_there(stylequeue_service: Service) -> None:
    """Errors are those of a deployment as well."""
    queue = stylequeue_service.queue
    job = make_job(content=ImageRef(bucket="uploads", key="nowhere.jpg"))
    with pytest.raises(JobFailed) as caught:
        queue.wait(queue.submit(job), timeout_s=60)
    assert caught.value.code == "object_not_found"


def test_events_without_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    """Where only events are handled, they can be made."""
    job = make_job(id="a-job")
    events = JobEvents(job)
    for event in (events.accepted(), events.started(), events.succeeded()):
        handle(event)
    assert capsys.readouterr().out == "a-job: accepted\na-job: started\na-job: s3://results/a-job.jpg\n"
