"""The client where no worker is: what it promises, also while Redis or the store fails."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import stylequeue
from stylequeue.client import StyleQueue
from stylequeue.contract.base import QUEUES
from stylequeue.contract.errors import (
    Code,
    FileUnusable,
    InvalidJob,
    InvalidRequest,
    JobCancelled,
    JobConflict,
    JobNotFound,
    JobOpen,
    JobsRefused,
    JobSucceeded,
    QueueFull,
    StyleQueueError,
    Unavailable,
    WaitTimeout,
)
from stylequeue.contract.events import FailedData, ProgressData, StoredPicture, SucceededData, read_event
from stylequeue.contract.job import TASK_NAME, Job
from stylequeue.contract.objects import ImageRef
from stylequeue.contract.recipe import resolve
from stylequeue.contract.status import JobStatus, Page
from stylequeue.ledger import names
from stylequeue.ledger.moves import script
from stylequeue.ledger.names import UNTOLD_KEY
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.support import pictures
from tests.support.jobs import NO_REPORT, job_fields, make_job
from tests.support.processes import wait_for
from tests.support.proxy import Proxy

# Celery's own way to store results.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

REFUSAL = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
OFTEN = 20
"""More often than anybody tries."""
FAR = timedelta(days=31)


@pytest.fixture
def queue(settings: Settings) -> Iterator[StyleQueue]:
    with StyleQueue(settings) as queue:
        yield queue


@pytest.fixture
def proxy(stack: Stack) -> Iterator[Proxy]:
    with Proxy(HOST, stack.valkey.port) as proxy:
        yield proxy


@pytest.fixture
def redis_timeout_s() -> float:
    return 1


@pytest.fixture
def behind(stack: Stack, settings: Settings, proxy: Proxy, redis_timeout_s: float) -> Iterator[StyleQueue]:
    """A client that meets what the proxy does."""
    url = settings.redis_url.get_secret_value().replace(f":{stack.valkey.port}/", f":{proxy.port}/")
    there = {"redis_url": url, "redis_timeout_s": redis_timeout_s}
    with StyleQueue(Settings(**{**settings.model_dump(), **there})) as queue:
        yield queue


def tasks(queue: StyleQueue, name: str = "paint") -> list[str]:
    """Task ids of the messages on a list."""
    messages: Any = queue._ledger.redis.lrange(name, 0, -1)
    return [json.loads(message)["headers"]["id"] for message in messages]


def refuse(queue: StyleQueue, task_id: str, *, came_from: str = "paint") -> None:
    """As a worker does with a message that holds no job."""
    data = FailedData(code=Code.INVALID_JOB, message="no job")
    message = json.dumps({"args": [], "kwargs": {"job": {"brush": "new"}}})
    queue._ledger.refuse(task_id, queue=came_from, message=message, data=data)


def paint(queue: StyleQueue, job: Job, body: bytes = b"picture") -> SucceededData:
    """As a worker does with a job, without painting."""
    queue._ledger.accept([job])
    claim = queue._ledger.claim(job, task_id=job.id, worker="tester")
    bucket, key = job.output.bucket, job.output_key
    written = queue._store.write(bucket, key, body, content_type="image/jpeg", overwrite=True)
    for side in (".json", ".report.png"):
        queue._store.write(bucket, key + side, b"beside", content_type="text/plain", overwrite=True)
    data = SucceededData(
        output=StoredPicture(
            bucket=bucket,
            key=key,
            etag=written.etag,
            sha256="",
            width_px=1,
            height_px=1,
            size_bytes=len(body),
            content_type="image/jpeg",
        ),
        report_key=f"{key}.report.png",
        fingerprint="f",
        recipe=resolve(job.recipe),
        engine_version="1",
        report=NO_REPORT,
    )
    queue._ledger.finish(job.id, fence=claim.record.fence, data=data)
    return data


def lying_there(queue: StyleQueue, job: Job) -> list[bool]:
    sides = ("", ".json", ".report.png")
    return [queue._store.exists(job.output.bucket, job.output_key + side) for side in sides]


# What is refused


def test_each_job_goes_to_its_own_queue(queue: StyleQueue) -> None:
    jobs = {name: make_job(queue=name) for name in QUEUES}
    queue.submit_many(jobs.values())
    for name, job in jobs.items():
        [message] = queue._ledger.redis.lrange(name, 0, -1)
        assert json.loads(message)["headers"]["id"] == job.id


def test_each_refused_job_has_its_error(settings: Settings) -> None:
    with StyleQueue(settings.model_copy(update={"max_open_jobs": 2})) as queue:
        known, late, new, too_many = make_job(), make_job(deadline=datetime.now(UTC) + FAR), make_job(), make_job()
        queue.submit(known)
        other = make_job(id=known.id, labels={"other": "content"})
        with pytest.raises(JobsRefused) as caught:
            queue.submit_many([late, other, new, too_many])
        assert caught.value.code == Code.JOBS_REFUSED
        assert caught.value.message == f"3 jobs were refused, the first with: {caught.value.exceptions[0]}"
        assert {job_id: type(error) for job_id, error in caught.value.refused.items()} == {
            late.id: InvalidJob,
            other.id: JobConflict,
            too_many.id: QueueFull,
        }
        assert set(tasks(queue)) == {known.id, new.id}
        assert queue.status(new.id).state == "queued"
        with pytest.raises(JobNotFound):
            queue.status(late.id)
        full: list[BaseException] = []
        others: list[BaseException] = []
        try:
            queue.submit_many([late, other, too_many])
        except* QueueFull as group:
            full += group.exceptions
        except* StyleQueueError as group:
            others += group.exceptions
        assert ([type(error) for error in full], {type(error) for error in others}) == (
            [QueueFull],
            {InvalidJob, JobConflict},
        )


def test_one_job_that_is_refused_has_its_own_error(queue: StyleQueue) -> None:
    known = make_job()
    queue.submit(known)
    with pytest.raises(JobConflict):
        queue.submit(make_job(id=known.id, labels={"other": "content"}))


@pytest.mark.parametrize("job", [{}, job_fields(), None, "job", TASK_NAME])
def test_what_is_no_job_is_refused_before_anything_is_sent(queue: StyleQueue, job: Any) -> None:
    with pytest.raises(InvalidJob, match="is no Job"):
        queue.submit(job)
    with pytest.raises(InvalidJob, match="is no Job"):
        queue.submit_many([make_job(), job])
    assert tasks(queue) == []


def test_a_deadline_too_far_ahead_is_refused(queue: StyleQueue) -> None:
    with pytest.raises(InvalidJob, match="deadline: more than 30 days ahead"):
        queue.submit(make_job(deadline=datetime.now(UTC) + FAR))
    at_most = make_job(deadline=datetime.now(UTC) + timedelta(days=30))
    assert queue.submit(at_most) == at_most.id


def test_a_job_that_succeeded_is_not_run_again(queue: StyleQueue) -> None:
    job = make_job()
    paint(queue, job)
    queue._app.backend.mark_as_done(job.id, "result")
    with pytest.raises(JobSucceeded, match="it cannot be run again") as caught:
        queue.retry(job.id)
    assert caught.value.code == "job_succeeded"
    assert queue._app.AsyncResult(job.id).get(timeout=1) == "result"


# Pictures


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
    queue._store.delete("results", [job.output_key])
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
    with urllib.request.urlopen(address, timeout=10) as answer:
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
    wait_for(lambda: refuses(short), 10, "the link to end")


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


# What is known of jobs


def test_status_says_what_others_may_know(queue: StyleQueue) -> None:
    job = make_job(labels={"user": "42"})
    queue.submit(job)
    record = queue._ledger.claim(job, task_id=job.id, worker="tester").record
    queue._ledger.heartbeat(job.id, fence=record.fence, data=ProgressData(number=1, stage="painting", step=3))
    status = queue.status(job.id)
    assert (status.state, status.run, status.attempt, status.worker) == ("running", 1, 1, "tester")
    assert (status.queue, status.labels, status.ended) == ("paint", {"user": "42"}, False)
    assert status.job == json.loads(job.canonical_json())
    assert status.progress
    assert status.progress.data.step == 3
    assert not set(status.model_dump()) & {"fence", "token", "task_id", "lease_until", "sequence", "fingerprint"}
    assert JobStatus.model_validate_json(status.model_dump_json()) == status


def test_what_wait_returns_has_the_jobs_id(queue: StyleQueue) -> None:
    job = make_job()
    data = paint(queue, job)
    done = queue.wait(job.id, timeout_s=1)
    assert done.id == job.id
    assert done.output == data.output


def test_jobs_come_newest_first_in_pages(queue: StyleQueue) -> None:
    jobs = [make_job(labels={"number": str(number)}) for number in range(7)]
    assert queue.jobs() == []
    queue.submit_many(jobs)
    listed: list[str] = []
    page = Page[JobStatus]()
    sizes: list[int] = []
    while page.after or not sizes:
        page = queue.jobs(after=page.after, limit=3)
        sizes.append(len(page))
        listed += [status.labels["number"] for status in page]
    assert sizes == [3, 3, 1]
    # Those made in the same millisecond come in an order of their own, but each once.
    assert sorted(listed) == [str(number) for number in range(7)]
    created = [status.created_at for status in queue.jobs()]
    assert created == sorted(created, reverse=True)


def test_jobs_are_found_by_state_and_labels(queue: StyleQueue) -> None:
    def found(**asked: Any) -> list[str]:
        return [status.id for status in queue.jobs(**asked)]

    first, second, third = (make_job(labels={"user": user, "kind": "x"}) for user in ("a", "b", "a"))
    for job in (first, second, third):
        queue.submit(job)
        time.sleep(0.002)  # each in a millisecond of its own
    queue.cancel(first.id)
    assert found() == [third.id, second.id, first.id]
    assert found(state="queued") == [third.id, second.id]
    assert found(state="cancelled") == [first.id]
    assert found(state="failed") == []
    assert found(label={"user": "a"}) == [third.id, first.id]
    assert found(label={"user": "a", "kind": "x"}, state="queued") == [third.id]
    assert found(label={"user": "a", "kind": "y"}) == []
    page = queue.jobs(label={"user": "a"}, limit=1)
    assert ([status.id for status in page], found(label={"user": "a"}, after=page.after)) == ([third.id], [first.id])
    # What a page ended with may be deleted before the next one is asked for.
    page = queue.jobs(state="cancelled", limit=1)
    assert page.after is None
    page = queue.jobs(limit=2)
    queue.cancel(second.id)
    queue.delete(second.id)
    assert found(after=page.after) == [first.id]


def test_a_job_whose_record_has_expired_is_not_listed(queue: StyleQueue) -> None:
    gone, there = make_job(), make_job()
    queue.submit_many([gone, there])
    queue._ledger.redis.delete(names.record_key(gone.id))
    assert [status.id for status in queue.jobs()] == [there.id]
    queue._ledger.redis.flushdb()


def test_more_jobs_than_are_read_at_once(queue: StyleQueue) -> None:
    queue._ledger.accept([make_job(labels={"number": str(number)}) for number in range(1200)])
    assert [status.labels["number"] for status in queue.jobs(label={"number": "0"})] == ["0"]
    page = queue.jobs(limit=1000)
    rest = queue.jobs(after=page.after, limit=1000)
    numbers = {status.labels["number"] for status in [*page, *rest]}
    assert (len(page), len(rest), len(numbers), rest.after) == (1000, 200, 1200, None)


@pytest.mark.parametrize(
    "asked", [{"limit": 0}, {"limit": 1001}, {"state": "lost"}, {"after": "x"}, {"after": ""}, {"after": "1-"}], ids=str
)
def test_what_cannot_be_listed_is_refused(queue: StyleQueue, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        queue.jobs(**asked)
    assert caught.value.hint


@pytest.mark.parametrize("after", ["$", "", "-", "+", "x", "1-x", "1-2-3", "9" * 30, "0; DROP", "²"])
def test_what_is_no_position_is_refused(queue: StyleQueue, after: str) -> None:
    with pytest.raises(InvalidRequest, match="is no position"):
        next(queue.events(after=after))


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


def test_events_from_now_on(queue: StyleQueue) -> None:
    assert queue.newest_position() == "0"
    before, since = make_job(), make_job()
    queue.submit(before)
    now = queue.newest_position()
    queue.submit(since)
    assert [event.subject for _, event in queue.events(after=now, follow=False)] == [since.id]
    assert [event.subject for _, event in queue.events(follow=False)] == [before.id, since.id]


# Cancelling


@pytest.mark.parametrize("attempts", [0, 1])
def test_cancelling_needs_no_store(settings: Settings, attempts: int) -> None:
    with socket.create_server((HOST, 0)) as silent:
        address = f"http://{HOST}:{silent.getsockname()[1]}"
        slow = {"s3_endpoint_url": address, "s3_read_timeout_s": 0.2, "s3_attempts": 1}
        with StyleQueue(settings.model_copy(update=slow)) as queue:
            job = make_job()
            queue.submit(job)
            if attempts:
                record = queue._ledger.claim(job, task_id=job.id, worker="tester").record
                queue._ledger.put_back(record, error="came to harm")
            assert queue.cancel(job.id) == "cancelled"
            with pytest.raises(JobCancelled):
                queue._app.AsyncResult(job.id).get(timeout=1)
            # A keeper has yet to take away what an attempt left.
            assert queue._ledger.redis.zcard(UNTOLD_KEY) == attempts
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_producer_listens_to_nothing_that_it_sends(settings: Settings) -> None:
    """Else it would hold more and more, as long as it runs."""
    with StyleQueue(settings) as queue:

        def listeners() -> int:
            return len(queue._ledger.redis.client_list(_type="pubsub"))

        before = listeners()
        queue.submit_many([make_job(), make_job()])
        assert listeners() == before


# Dead letters


@pytest.mark.parametrize("came_from", ["bulk", "somewhere"])
def test_a_refused_message_is_sent_again_and_stays_a_letter_until_a_worker_has_it(
    queue: StyleQueue, came_from: str
) -> None:
    refuse(queue, "sent-by-celery", came_from=came_from)
    queue.replay("sent-by-celery")
    assert tasks(queue, "bulk" if came_from == "bulk" else "paint") == ["sent-by-celery"]
    # The worker is as old as before.
    refuse(queue, "sent-by-celery", came_from=came_from)
    [letter] = queue.dead_letters()
    assert letter.id == "sent-by-celery"
    # Now it is one that knows the message as a job.
    queue.replay("sent-by-celery")
    job = make_job(id="sent-by-celery")
    assert queue._ledger.claim(job, task_id=job.id, worker="tester").verdict == "yours"
    assert queue.dead_letters() == []


@pytest.mark.parametrize("trouble", [REFUSAL, b""], ids=["refused", "cut off"])
@pytest.mark.parametrize("task", [True, False])
def test_a_letter_that_redis_does_not_take_stays_a_letter(
    queue: StyleQueue, behind: StyleQueue, proxy: Proxy, trouble: bytes, task: bool
) -> None:
    if task:
        letter_id = "sent-by-celery"
        refuse(queue, letter_id)
    else:
        letter_id = queue._ledger.bury(queue="somewhere", raw="{torn", code="message_malformed", reason="not JSON")
    for _ in range(OFTEN):
        proxy.answer_once(b"lpush", trouble)
    with pytest.raises(Unavailable):
        behind.replay(letter_id)
    assert [letter.id for letter in queue.dead_letters()] == [letter_id]
    proxy.heal()
    behind.replay(letter_id)
    messages: Any = queue._ledger.redis.lrange("paint", 0, -1)
    [message] = messages
    assert (TASK_NAME in message) if task else (message == "{torn")


# Running again


@pytest.mark.parametrize("trouble", [REFUSAL, b""], ids=["refused", "cut off"])
@pytest.mark.parametrize("command", [b"celery-task-meta", b"lpush"])
def test_a_retry_that_broke_off_can_be_tried_again(
    queue: StyleQueue, behind: StyleQueue, proxy: Proxy, command: bytes, trouble: bytes
) -> None:
    job = make_job()
    queue.submit(job)
    queue.cancel(job.id)
    queue._ledger.redis.delete("paint")
    for _ in range(OFTEN):
        proxy.answer_once(command, trouble)
    with pytest.raises(Unavailable):
        behind.retry(job.id)
    proxy.heal()
    behind.retry(job.id)
    record = queue.status(job.id)
    assert (record.state, record.run) == ("queued", 2)
    assert set(tasks(queue)) == {job.id}
    assert queue._app.AsyncResult(job.id).state == "PENDING"


def test_a_retry_whose_answer_was_lost_has_happened(queue: StyleQueue, behind: StyleQueue, proxy: Proxy) -> None:
    job = make_job()
    queue.submit(job)
    queue.cancel(job.id)
    sha = str(queue._ledger.redis.script_load(script("replay"))).encode()
    held = proxy.hold_answer(sha)
    thread = threading.Thread(target=behind.retry, args=(job.id,))
    thread.start()
    held.wait(5)
    held.drop()
    thread.join(10)
    assert queue.status(job.id).run == 2
    assert set(tasks(queue)) == {job.id}


# Where Redis does not answer

CALLS: dict[str, Callable[[StyleQueue], object]] = {
    "submit": lambda queue: queue.submit(make_job()),
    "jobs": lambda queue: queue.jobs(),
    "link": lambda queue: queue.link("j"),
    "newest_position": lambda queue: queue.newest_position(),
    "dead_letter": lambda queue: queue.dead_letter("j"),
    "status": lambda queue: queue.status("j"),
    "watch": lambda queue: next(queue.watch("j")),
    "wait": lambda queue: queue.wait("j"),
    "download": lambda queue: queue.download("j", "nowhere"),
    "cancel": lambda queue: queue.cancel("j"),
    "retry": lambda queue: queue.retry("j"),
    "delete": lambda queue: queue.delete("j"),
    "dead_letters": lambda queue: queue.dead_letters(),
    "replay": lambda queue: queue.replay("j"),
    "drop": lambda queue: queue.drop("j"),
    "events": lambda queue: next(queue.events()),
    "workers": lambda queue: queue.workers(wait_s=0.1),
}


def test_every_method_is_among_the_calls() -> None:
    methods = {name for name, value in vars(StyleQueue).items() if callable(value) and not name.startswith("_")}
    assert methods - {"close", "submit_many", "upload"} == set(CALLS), "upload has nothing to do with Redis"


@pytest.mark.parametrize("name", CALLS)
def test_every_method_says_so_where_redis_is_away(behind: StyleQueue, proxy: Proxy, name: str) -> None:
    proxy.refuse()
    with pytest.raises(Unavailable) as caught:
        CALLS[name](behind)
    assert caught.value.code == Code.BROKER_UNAVAILABLE


@pytest.mark.parametrize("redis_timeout_s", [0.2])
@pytest.mark.parametrize("name", ["submit", "cancel", "workers"])
def test_every_method_gives_up_where_redis_is_silent(behind: StyleQueue, proxy: Proxy, name: str) -> None:
    proxy.half_open()
    with pytest.raises(Unavailable):
        CALLS[name](behind)


@pytest.mark.parametrize(("name", "command"), [("submit", b"lpush"), ("workers", b"pidbox")])
@pytest.mark.parametrize("trouble", [REFUSAL, b""], ids=["refused", "cut off"])
def test_what_celery_raises_is_translated(
    behind: StyleQueue, proxy: Proxy, name: str, command: bytes, trouble: bytes
) -> None:
    for _ in range(OFTEN):
        proxy.answer_once(command, trouble)
    with pytest.raises(Unavailable) as caught:
        CALLS[name](behind)
    assert caught.value.hint


# Names


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
