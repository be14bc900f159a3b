"""What users match on: names and errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import stylequeue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, StyleQueueError
from stylequeue.contract.events import read_event
from stylequeue.contract.objects import ImageRef
from tests.support.by_hand import refuse
from tests.support.jobs import make_job

# Celery's own way to store results.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


HALF_A_CHARACTER = "\ud800"


@pytest.mark.parametrize(
    "call",
    [
        lambda queue: queue.status(HALF_A_CHARACTER),
        lambda queue: queue.wait(HALF_A_CHARACTER),
        lambda queue: queue.download(HALF_A_CHARACTER, "picture.jpg"),
        lambda queue: queue.retry(HALF_A_CHARACTER),
        lambda queue: queue.dead_letter(HALF_A_CHARACTER),
        lambda queue: queue.upload(HALF_A_CHARACTER),
        lambda queue: queue.upload("\0"),
        lambda queue: queue.download(ImageRef(bucket="results", key="a"), "\0"),
        lambda _: read_event(b"{"),
        lambda _: read_event("[]"),
        lambda queue: queue.submit_many([None]),
    ],
)
def test_whatever_the_api_is_given_its_errors_are_of_one_tree(
    queue: StyleQueue, call: Callable[[StyleQueue], object]
) -> None:
    with pytest.raises(StyleQueueError) as caught:
        call(queue)
    assert caught.value.hint


def test_what_users_match_on_has_a_public_name(queue: StyleQueue) -> None:
    job = make_job()
    queue.submit(job)
    queue.cancel(job.id)
    assert isinstance(queue.status(job.id), stylequeue.JobStatus)
    first, last = queue.watch(job.id, timeout_s=1)
    assert isinstance(first, stylequeue.Accepted)
    assert isinstance(last, stylequeue.Cancelled)
    refuse(queue, "letter")
    assert [type(letter) for letter in queue.dead_letters()] == [stylequeue.DeadLetter]
    assert queue.dead_letter("letter").code == Code.INVALID_JOB
    for name in ("JobOpen", "EventsLost", "InvalidJob"):
        assert issubclass(getattr(stylequeue, name), StyleQueueError)
