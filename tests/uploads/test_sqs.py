"""A queue of SQS's: what it is told of becomes jobs, and is deleted when these are on record."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from pydantic import SecretStr

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import InvalidSettings, Unavailable
from stylequeue.local import environment
from stylequeue.settings import Settings
from stylequeue.uploads import patience, sqs
from stylequeue.uploads.intake import Intake, Outcome
from tests.support.cloud import REGION, Cloud, cloud
from tests.support.listening import ODD_KEYS, jobs, keys, listening, operated, until
from tests.support.proxy import Proxy
from tests.support.roles import as_role

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")


@pytest.fixture(scope="module")
def aws() -> Iterator[Cloud]:
    with cloud() as made:
        yield made


@pytest.fixture
def url(aws: Cloud) -> str:
    return aws.queue()


@pytest.fixture
def listener(aws: Cloud, url: str, settings: Settings, tmp_path: Path) -> Settings:
    """Settings of one that fetches from the queue."""
    return operated(aws.settings(settings), tmp_path, f'[source.photos]\nsqs = "{url}"\nregion = "{REGION}"\n')


def told_of(key: str, etag: str = "e1") -> str:
    described = {"key": key, "size": 9, "eTag": etag}
    record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "uploads"}, "object": described}}
    return json.dumps({"Records": [record]})


@pytest.mark.parametrize("by", ["sqs", *(pytest.param(by, marks=pytest.mark.slow) for by in ("sns", "eventbridge"))])
def test_what_is_uploaded_becomes_jobs(aws: Cloud, url: str, listener: Settings, by: str) -> None:
    aws.announce(url, by=by)
    for key in ODD_KEYS:
        aws.put(key, key.encode())
    aws.put("in/../elsewhere.jpg" if by == "eventbridge" else "elsewhere.jpg")
    with StyleQueue(listener) as queue:
        with listening(listener):
            until(lambda: len(keys(queue)) >= len(ODD_KEYS) and not aws.left(url), "all jobs, and an empty queue")
        assert keys(queue) == sorted(ODD_KEYS)
        assert queue.dead_letters() == []
        counts = queue.upload_counts()["photos"]
        assert counts.outcomes["recorded"] == len(ODD_KEYS)
        assert counts.lags.count == len(ODD_KEYS)


def test_what_is_no_notification_is_a_dead_letter_that_can_be_taken_in_again(
    aws: Cloud, url: str, listener: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylequeue.uploads.replays._LOOK_S", 0.1)
    aws.send(url, ["{torn", told_of("in/a.jpg"), '{"Event": "s3:TestEvent"}', "{torn"])
    with StyleQueue(listener) as queue, listening(listener):
        until(lambda: keys(queue) == ["in/a.jpg"] and not aws.left(url), "the job, and an empty queue")
        [letter] = queue.dead_letters()
        assert (letter.kind, letter.queue, letter.code, letter.message) == (
            "notification",
            "photos",
            "invalid_notice",
            "{torn",
        )
        buried_at = letter.buried_at
        queue.replay(letter.id)
        until(lambda: queue.dead_letter(letter.id).buried_at > buried_at, "it is no good still")
        # What a version to come can read, say.
        queue._ledger.redis.hset(f"stylequeue:dead:{letter.id}", "message", told_of("in/b.jpg"))
        queue.replay(letter.id)
        until(lambda: keys(queue) == ["in/a.jpg", "in/b.jpg"] and not queue.dead_letters(), "it is a job now")


def test_a_dead_letter_that_is_wanted_again_as_it_is_found_no_good_is_read_again(
    aws: Cloud, url: str, listener: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylequeue.uploads.replays._LOOK_S", 0.1)
    aws.send(url, ["{torn"])
    came, read = [], Intake.read
    with StyleQueue(listener) as queue:

        async def hasty(self: Intake, data: bytes | str, *, source: str) -> list[Outcome]:
            outcomes = await read(self, data, source=source)
            came.append(data)
            if len(came) == 1:
                await asyncio.to_thread(queue.replay, letter.id)
            return outcomes

        monkeypatch.setattr(Intake, "read", hasty)
        with listening(listener):
            until(queue.dead_letters, "the letter")
            [letter] = queue.dead_letters()
            queue.replay(letter.id)
            until(lambda: len(came) == 2, "it is read again")
        assert [left.id for left in queue.dead_letters()] == [letter.id]


def test_a_message_whose_queue_is_full_comes_again(
    aws: Cloud, url: str, listener: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqs, "_LATER_S", 1)
    listener = listener.model_copy(update={"max_open_jobs": 1})
    aws.send(url, [told_of("in/a.jpg"), told_of("in/b.jpg")])
    with StyleQueue(listener) as queue, listening(listener):
        until(lambda: "later" in outcomes(queue), "one has to wait")
        [first] = jobs(queue)
        assert aws.left(url) >= 1
        queue.cancel(first.id)
        until(lambda: not aws.left(url), "both are done with")
        assert keys(queue) == ["in/a.jpg", "in/b.jpg"]


def outcomes(queue: StyleQueue) -> dict[str, int]:
    counts = queue.upload_counts()
    return counts["photos"].outcomes if counts else {}


def test_nobody_else_gets_a_message_while_redis_is_away(
    aws: Cloud, url: str, listener: Settings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqs, "VISIBILITY_S", 2)
    monkeypatch.setattr(patience, "_LONGEST_S", 0.5)
    redis = settings.redis
    ((host, port),) = redis.hosts
    with Proxy(host, port) as proxy:
        there = settings.redis_url.get_secret_value().replace(f":{port}/", f":{proxy.port}/")
        away = listener.model_copy(update={"redis_url": SecretStr(there), "redis_timeout_s": 0.5})
        proxy.refuse()
        aws.send(url, [told_of("in/a.jpg")])
        with listening(away):
            began = time.monotonic()
            until(lambda: visible(aws, url) == 0, "it is received")
            while time.monotonic() - began < 5:
                assert visible(aws, url) == 0, "it is hidden for longer than 2 s"
                time.sleep(0.2)
            proxy.heal()
            until(lambda: not aws.left(url), "it is done with")
    with StyleQueue(listener) as queue:
        assert keys(queue) == ["in/a.jpg"]


def visible(aws: Cloud, url: str) -> int:
    name = "ApproximateNumberOfMessages"
    found = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return int(found["Attributes"][name])


def test_one_that_is_told_to_stop_does_not_wait_for_its_poll(listener: Settings) -> None:
    began = time.monotonic()
    with listening(listener):
        time.sleep(1)
    assert time.monotonic() - began < sqs.POLL_S / 2


def test_what_was_received_is_anybodys_when_it_is_told_to_stop(
    aws: Cloud, url: str, listener: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = listener.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0"), "redis_timeout_s": 0.2})
    aws.send(url, [told_of("in/a.jpg")])
    with listening(away):
        until(lambda: visible(aws, url) == 0, "it is received")
    assert visible(aws, url) == 1


@pytest.mark.parametrize(
    ("there", "said"),
    [("http://127.0.0.1:1/1234/q", "does not answer"), ("{url}-missing", "is not there")],
)
def test_what_is_wrong_with_a_queue_is_said(url: str, there: str, said: str) -> None:
    queue = sqs.Queue(there.format(url=url), REGION)
    with pytest.raises(Unavailable, match=said) as caught:
        queue.receive(lambda: None)
    assert caught.value.code == "source_unavailable"
    queue.close()


def test_what_sqs_says_of_an_error_is_not_passed_on(url: str, caplog: pytest.LogCaptureFixture) -> None:
    queue = sqs.Queue(url, REGION)
    secret = "s3cr3t"
    told: Any = {"Code": "InvalidSecurity", "Message": f"credential {secret} is no good"}
    answers: list[Any] = [ClientError({"Error": told}, "ReceiveMessage"), {"Failed": [{"Id": "0", **told}]}]
    answers += [EndpointConnectionError(endpoint_url=f"https://{secret}@x/"), ClientError({"Error": {}}, "x")]

    def answer(*_: object) -> Any:
        now = answers.pop(0)
        if isinstance(now, Exception):
            raise now
        return now

    queue._client._make_api_call = answer
    with pytest.raises(Unavailable, match="InvalidSecurity") as refused:
        queue.receive(lambda: None)
    queue.delete(["a handle"])
    assert "InvalidSecurity" in caplog.text
    with pytest.raises(Unavailable, match="EndpointConnectionError") as away:
        queue.attributes()
    with pytest.raises(Unavailable, match="an error without a code"):
        queue.attributes()
    assert secret not in f"{refused.value} {away.value} {caplog.text}"
    queue.close()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No environment and no file says a region."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)


@pytest.mark.usefixtures("nowhere")
def test_a_queue_of_no_known_region_is_said(url: str) -> None:
    with pytest.raises(InvalidSettings, match="does not say its region") as caught:
        sqs.Queue(url, None)
    assert "`region`" in caught.value.hint
    sqs.Queue("https://sqs.eu-west-1.amazonaws.com/123456789012/uploads", None).close()


def test_to_delete_is_not_waited_for_as_long_as_to_receive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqs, "_ANSWER_S", 0.5)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-a-test")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        queue = sqs.Queue(f"http://127.0.0.1:{silent.getsockname()[1]}/1234/q", REGION)
        for ask in (lambda: queue.delete(["a"]), lambda: queue.hide({"a": 0}), queue.attributes):
            began = time.monotonic()
            with pytest.raises(Unavailable, match="does not answer") as caught:
                ask()
            assert caught.value.code == "source_unavailable"
            assert time.monotonic() - began < sqs.POLL_S / 2
        queue.close()


def test_one_that_is_broken_off_leaves_the_loop_to_others(
    listener: Settings, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_end = threading.Event(), threading.Event()
    ended: list[bool] = []

    def receive(*_: object) -> list[Any]:
        began.set()
        ended.append(may_end.wait(5))
        return []

    monkeypatch.setattr(sqs.Queue, "receive", receive)

    async def run() -> None:
        async with AsyncStyleQueue(listener) as queue:
            running = asyncio.create_task(sqs.SqsSource("photos", url, REGION).run(Intake(queue), asyncio.Event()))
            await asyncio.to_thread(began.wait)
            running.cancel()
            await asyncio.wait([running])
            assert ended == [], "its requests are still under way"
            may_end.set()

    asyncio.run(run())


KILLED = """
import os, signal
from stylequeue.uploads import sqs
sqs.VISIBILITY_S = 5
sqs.Queue.delete = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from stylequeue.settings import Settings
from tests.support.listening import listening
with listening(Settings.load()):
    signal.pause()
"""


@pytest.mark.slow
def test_one_that_is_killed_between_record_and_delete(aws: Cloud, url: str, listener: Settings) -> None:
    aws.send(url, [told_of(f"in/{number}.jpg") for number in range(10)])
    env = {**os.environ, **environment(as_role(listener, "listener"))}
    killed = subprocess.run([sys.executable, "-c", KILLED], env=env, check=False, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with StyleQueue(listener) as queue:
        on_record = keys(queue)
        assert on_record
        assert aws.left(url) == 10
        with listening(listener):
            until(lambda: not aws.left(url), "all are done with")
        assert keys(queue) == sorted(f"in/{number}.jpg" for number in range(10))
        assert queue.upload_counts()["photos"].outcomes["known"] == len(on_record)
