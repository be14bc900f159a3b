"""Cancelling, sending refused messages again, running jobs again; also while Redis fails."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import JobCancelled, Unavailable
from stylequeue.contract.job import TASK_NAME
from stylequeue.ledger.moves import script
from stylequeue.ledger.names import UNTOLD_KEY
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.client.conftest import OFTEN, REFUSAL
from tests.support.by_hand import refuse, tasks
from tests.support.clients import Client
from tests.support.deployment import WAIT_S
from tests.support.jobs import make_job
from tests.support.proxy import Proxy
from tests.support.roles import everything

# Celery's own way to store results.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


@pytest.mark.parametrize("attempts", [0, 1])
def test_cancelling_needs_no_store(client: Client, settings: Settings, attempts: int) -> None:
    with socket.create_server((HOST, 0)) as silent:
        address = f"http://{HOST}:{silent.getsockname()[1]}"
        slow = {"s3_endpoint_url": address, "s3_read_timeout_s": 0.2, "s3_attempts": 1}
        with client(settings.model_copy(update=slow)) as queue:
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
    messages: Any = everything(queue.settings).lrange("paint", 0, -1)
    [message] = messages
    assert (TASK_NAME in message) if task else (message == "{torn")


@pytest.mark.parametrize("trouble", [REFUSAL, b""], ids=["refused", "cut off"])
@pytest.mark.parametrize("command", [b"celery-task-meta", b"lpush"])
def test_a_retry_that_broke_off_can_be_tried_again(
    queue: StyleQueue, behind: StyleQueue, proxy: Proxy, command: bytes, trouble: bytes
) -> None:
    job = make_job()
    queue.submit(job)
    queue.cancel(job.id)
    everything(queue.settings).delete("paint")
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
    held.wait(WAIT_S)
    held.drop()
    thread.join(WAIT_S)
    assert queue.status(job.id).run == 2
    assert set(tasks(queue)) == {job.id}
