"""What becomes of a bad message when things go wrong while it is put away."""

from __future__ import annotations

import base64
import inspect
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest
from celery import shared_task
from kombu.transport.redis import Channel, SentinelChannel
from kombu.transport.redis import QoS as KombusQoS
from redis import Redis, ResponseError

from stylequeue.broker.app import make_app
from stylequeue.contract.errors import Code
from stylequeue.contract.job import TASK_NAME
from stylequeue.settings import Settings
from stylequeue_worker.process import inspection
from stylequeue_worker.process.inspection import MAX_BURIED_BYTES, inspect_messages
from stylequeue_worker.process.message import Fault
from stylequeue_worker.process.restoring import MAX_NOTE_BYTES, QoS, restore_as_text
from tests.support.messages import BAD_MESSAGES, NOTHING_TASK, encoded, message
from tests.support.processes import wait_for

QUEUE = "paint"
WAIT_S = 30
READ_S = 0.2
"""How long a reader without messages waits before it says so."""
BAD = b'{"half": "\xff\\ud800 a mess\xc3\xa4ge'
BAD_AS_TEXT = '{"half": "\\xff\\ud800 a messäge'


class Graveyard:
    """Takes bad messages, or fails to."""

    def __init__(self) -> None:
        self.letters: list[dict[str, str]] = []
        self.failure: BaseException | None = None

    def __call__(self, *, queue: str, raw: str, fault: Fault) -> None:
        if self.failure:
            raise self.failure
        self.letters.append({"queue": queue, "raw": raw, "code": fault.code})


class Reader:
    """An app that reads its broker as a worker does, step by step, in this process."""

    def __init__(self, settings: Settings) -> None:
        restore_as_text()
        self.graveyard = Graveyard()
        self.passed: list[Any] = []
        self.redis = Redis.from_url(settings.redis_url.get_secret_value())
        self._app = make_app(settings)
        inspect_messages(self._app, self.graveyard)
        inspect_messages(self._app, self.graveyard)
        self.connect()

    def connect(self) -> None:
        """What Celery's worker does when it starts and after each loss of the connection."""
        self._connection: Any = self._app.connection_for_read()
        consumer = self._app.amqp.TaskConsumer(self._connection.default_channel, on_message=self._take)
        for step in self._app.steps["consumer"]:
            step(None).start(SimpleNamespace(task_consumer=consumer))
        consumer.consume()
        self.channel: Any = consumer.channel

    def _take(self, taken: Any) -> None:
        self.passed.append(taken.headers["id"])
        taken.ack()

    def push(self, item: bytes) -> None:
        self.redis.lpush(QUEUE, item)

    def read(self) -> Reader:
        """Read until nothing comes any more."""
        try:
            while True:
                self._connection.drain_events(timeout=READ_S)
        except TimeoutError:
            return self

    def unacknowledged(self) -> list[Any]:
        assert self.redis.hlen("unacked") == self.redis.zcard("unacked_index")
        return [json.loads(value) for value in self.redis.hvals("unacked")]

    def put_back(self) -> None:
        """As if the visibility timeout had passed."""
        tags: list[Any] = self.redis.zrange("unacked_index", 0, -1)
        self.redis.zadd("unacked_index", dict.fromkeys(tags, 1))
        self.channel.qos.restore_visible(num=self.channel.unacked_restore_limit, interval=1)

    def disconnect(self) -> None:
        database = self.redis.connection_pool.connection_kwargs["db"]
        for client in self.redis.client_list():
            if client["cmd"] == "brpop" and int(client["db"]) == database:
                self.redis.client_unblock(int(client["id"]))  # else it waits for its turn to end
        self._connection.release()

    def close(self) -> None:
        self.disconnect()
        self._app.close()
        self.redis.close()


@pytest.fixture
def reader(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.setattr(inspection, "TASKS", {*inspection.TASKS, NOTHING_TASK})
    reader = Reader(settings)
    yield reader
    reader.close()


def test_buried_once_and_gone(reader: Reader) -> None:
    good = message()
    reader.push(BAD)
    reader.push(json.dumps(good).encode())
    reader.read()
    [letter] = reader.graveyard.letters
    assert letter["raw"] == BAD_AS_TEXT
    assert (letter["queue"], letter["code"]) == (QUEUE, Code.MESSAGE_MALFORMED)
    assert reader.passed == [good["headers"]["id"]]
    assert reader.unacknowledged() == []
    assert not reader.redis.exists(QUEUE)


def test_only_what_was_read_is_handed_on(reader: Reader) -> None:
    """Not the sender's name for it at the broker, nor where it is to be put back, nor what Celery would act upon."""
    replies: list[Any] = []
    parse_response = reader.channel.client.parse_response

    def noting(*args: Any, **options: Any) -> Any:
        replies.append(parse_response(*args, **options))
        return replies[-1]

    reader.channel.client.parse_response = noting
    call = [[1.5], {"job": {"id": "é", "x": [None, True, 10**18]}}, {"callbacks": []}]
    elsewhere = {"exchange": "celeryev", "routing_key": "stylequeue:events", "priority": 9}
    whole = message(
        headers={
            "eta": "2020-01-01T00:00:00+00:00",
            "timelimit": [5, None],
            "stylequeue_recorded": True,
            "stylequeue_later": "kept for a newer worker",
            **dict.fromkeys(("group", "origin", "root_id", "parent_id", "shadow", "argsrepr"), "somebodys"),
            **{
                "ignore_result": True,
                "replaced_task_nesting": 9,
                "stamps": {"a": 1},
                "retries": 7,
                "redelivered": True,
            },
        },
        properties={"delivery_info": elsewhere, "priority": 9, "reply_to": "somebody"},
        body=encoded(call),
    )
    reader.push(json.dumps(whole).encode())
    reader.read()
    [handed_on] = [json.loads(reply[1]) for reply in replies if reply]
    task_id = whole["headers"]["id"]
    assert handed_on["headers"] == {
        "task": NOTHING_TASK,
        "id": task_id,
        "eta": "2020-01-01T00:00:00+00:00",
        "expires": None,
        "timelimit": [5, None],
        "stylequeue_recorded": True,
        "stylequeue_later": "kept for a newer worker",
        "lang": "py",
        "root_id": task_id,
        "parent_id": None,
        "retries": 0,
        "argsrepr": "()",
        "kwargsrepr": "{}",
    }
    tag = handed_on["properties"].pop("delivery_tag")
    assert tag != whole["properties"]["delivery_tag"]
    assert handed_on["properties"] == {
        "correlation_id": task_id,
        "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": QUEUE},
    }
    assert json.loads(base64.b64decode(handed_on["body"])) == [call[0], call[1], None]


def test_two_messages_of_one_name_are_two(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the sender's own tag, the second would take the first one's place at the broker, and take it along."""
    first, second = message(), message()
    second["properties"]["delivery_tag"] = first["properties"]["delivery_tag"]
    kept: list[Any] = []
    monkeypatch.setattr(reader, "_take", kept.append)
    reader.disconnect()
    reader.connect()
    for whole in (first, second):
        reader.push(json.dumps(whole).encode())
    reader.read()
    assert [taken.headers["id"] for taken in kept] == [first["headers"]["id"], second["headers"]["id"]]
    kept[1].ack()
    [[left, exchange, queue]] = reader.unacknowledged()
    assert (left["headers"]["id"], exchange, queue) == (first["headers"]["id"], "", QUEUE)
    kept[0].ack()


def test_no_more_bad_messages_wait_in_memory_than_fit(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_MAX_IN_MEMORY", 3)
    monkeypatch.setattr(inspection, "_PAUSE_S", 0.01)
    reader.redis.set("unacked", "of another type, so that writing fails")
    for _ in range(10):
        reader.push(BAD)
    done = threading.Event()

    def mend() -> None:
        wait_for(lambda: reader.redis.llen(QUEUE) == 7, WAIT_S, "three to be fetched")
        done.wait(0.2)
        assert reader.redis.llen(QUEUE) == 7, "and no more"
        reader.redis.delete("unacked")

    with ThreadPoolExecutor(1) as pool:
        mending = pool.submit(mend)
        wait_for(lambda: len(reader.read().graveyard.letters) == 10, WAIT_S, "all to be buried")
        mending.result()


def test_a_long_message_is_cut(reader: Reader) -> None:
    item, code = BAD_MESSAGES["one_megabyte_of_noise"]
    reader.push(item)
    reader.read()
    [letter] = reader.graveyard.letters
    assert letter["code"] == code
    text, cut = letter["raw"].split("\n")
    assert text == "\\x80" * MAX_BURIED_BYTES
    assert str(len(item)) in cut


def test_a_long_message_that_comes_again_is_still_too_long(reader: Reader) -> None:
    item, code = BAD_MESSAGES["one_megabyte_of_noise"]
    reader.graveyard.failure = RuntimeError("no room")
    reader.push(item)
    reader.read()
    [[note, _, _]] = reader.unacknowledged()
    assert len(json.dumps(note)) < 7 * MAX_BURIED_BYTES, "no more of it is noted than is kept"
    reader.graveyard.failure = None
    reader.put_back()
    reader.read()
    [letter] = reader.graveyard.letters
    assert letter["code"] == code
    assert str(len(item)) in letter["raw"].split("\n")[1]


@pytest.mark.parametrize("item", [BAD, b"", b"[]", BAD_MESSAGES["one_megabyte_of_noise"][0]])
def test_what_cannot_be_buried_comes_again(reader: Reader, item: bytes) -> None:
    reader.graveyard.failure = RuntimeError("no room")
    reader.push(item)
    reader.push(json.dumps(message()).encode())
    reader.read()
    assert reader.graveyard.letters == []
    wait_for(lambda: reader.read().passed, WAIT_S, "the next message, which it does not hold up")
    assert len(reader.unacknowledged()) == 1
    reader.put_back()
    reader.read()
    assert len(reader.unacknowledged()) == 1, "still no room"
    reader.graveyard.failure = None
    reader.put_back()
    reader.read()
    [letter] = reader.graveyard.letters
    assert letter["raw"].startswith(item[:MAX_BURIED_BYTES].decode(errors="backslashreplace"))
    assert reader.unacknowledged() == []


def test_killed_while_burying(reader: Reader) -> None:
    reader.graveyard.failure = KeyboardInterrupt()
    reader.push(BAD)
    with pytest.raises(KeyboardInterrupt):
        reader.read()
    reader.disconnect()
    reader.graveyard.failure = None
    reader.connect()
    reader.put_back()
    reader.read()
    assert [letter["raw"] for letter in reader.graveyard.letters] == [BAD_AS_TEXT]
    assert reader.unacknowledged() == []


def test_while_redis_takes_nothing_it_waits_in_memory(reader: Reader) -> None:
    reader.redis.set("unacked", "of another type, so that writing fails")
    reader.push(BAD)
    reader.push(BAD_MESSAGES["null"][0])
    reader.read()
    assert reader.graveyard.letters == []
    reader.disconnect()
    reader.connect()
    reader.read()
    assert reader.graveyard.letters == []
    reader.redis.delete("unacked")
    # The next try comes with the next answer of Redis, one that says that there is nothing included.
    wait_for(lambda: reader.read().graveyard.letters, WAIT_S, "burials")
    assert [letter["raw"] for letter in reader.graveyard.letters] == [BAD_AS_TEXT, "null"]
    assert reader.unacknowledged() == []


@pytest.mark.parametrize("reconnections", [1, 2])
def test_a_good_message_that_cannot_be_noted_as_delivered_comes_again(reader: Reader, reconnections: int) -> None:
    good = message()
    reader.redis.set("unacked", "of another type, so that writing fails")
    reader.push(json.dumps(good).encode())
    with pytest.raises(ResponseError):
        reader.read()
    assert not reader.redis.exists(QUEUE)
    reader.disconnect()
    if reconnections > 1:
        # Redis does not take it back either.
        reader.redis.set(QUEUE, "of another type")
        with pytest.raises(ResponseError):
            reader.connect()
        reader.redis.delete(QUEUE)
        reader.disconnect()
    reader.redis.delete("unacked")
    reader.connect()
    assert reader.read().passed == [good["headers"]["id"]]
    assert reader.unacknowledged() == []
    assert not reader.redis.exists(QUEUE)


def test_what_a_worker_took_comes_again_as_it_was(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next to be taken where its worker has gone, the last where it did not want it."""
    kept: list[Any] = []
    monkeypatch.setattr(reader, "_take", kept.append)
    reader.disconnect()
    reader.connect()
    first, second = message(body=encoded([["é"], {}, None])), message()
    reader.push(json.dumps(first).encode())
    reader.read()
    [[noted, _, _]] = reader.unacknowledged()
    reader.disconnect()
    reader.push(json.dumps(second).encode())
    lying: Any = reader.redis.lrange(QUEUE, 0, -1)
    assert json.loads(lying[-1]) == noted
    reader.connect()
    reader.read()
    assert [taken.headers["id"] for taken in kept[1:]] == [first["headers"]["id"], second["headers"]["id"]]
    kept[2].reject(requeue=True)
    reader.read()
    assert kept[3].headers["id"] == second["headers"]["id"]
    kept[1].ack()
    kept[3].ack()
    assert reader.unacknowledged() == []


SPOILT_NOTES: dict[str, bytes] = {
    "nothing": b"",
    "no_json": b"{",
    "no_list": b"5",
    "marked": b'[{"__type__": "decimal", "__value__": "1e100000000"}, "", "paint"]',
    "marked_in_a_message": json.dumps([message(headers={"x": {"__type__": "uuid", "__value__": 1}}), "", "x"]).encode(),
    "nested": b"[" * 100_000,
    "nested_message": b'[{"a":' + b"[" * 100_000 + b'}, "", "paint"]',
    "digits": b'[{"a": ' + b"9" * 100_000 + b'}, "", "paint"]',
    "not_utf8": b'[{"\xff": 1}, "", "paint"]',
    "no_text": b'[{}, "", 5]',
    "two_parts": b'[{}, "paint"]',
    "elsewhere": b'[{}, "", "stylequeue:events"]',
    "anothers_list": b'[{}, "", "celery"]',
    "many_ends": b"[{" + b'}, "", "' * 30_000 + b'paint"]',
}


def test_what_somebody_spoilt_among_the_delivered_is_buried_once(reader: Reader) -> None:
    """And kombu's own reader, which makes numbers of any size, sees none of it."""
    good = message()
    notes = {**SPOILT_NOTES, "good": json.dumps([good, "", QUEUE]).encode(), "gone": None}
    began = time.process_time()
    for tag, note in notes.items():
        if note is not None:
            reader.redis.hset("unacked", tag, note)
        reader.redis.zadd("unacked_index", {tag: 1})
    reader.put_back()
    assert reader.unacknowledged() == []
    assert not reader.redis.exists("celery", "stylequeue:events")
    reader.read()
    assert reader.passed == [good["headers"]["id"]]
    assert {letter["code"] for letter in reader.graveyard.letters} == {Code.MESSAGE_MALFORMED}
    assert len(reader.graveyard.letters) == len(SPOILT_NOTES)
    assert reader.unacknowledged() == []
    assert time.process_time() - began < 2


def test_one_larger_than_any_message_is_dropped_with_a_line_in_the_log(
    reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    reader.redis.hset("unacked", "tag", b"\n[{" * MAX_NOTE_BYTES)
    reader.redis.zadd("unacked_index", {"tag": 1})
    reader.put_back()
    [line] = [line for line in caplog.messages if "dropped" in line]
    assert str(3 * MAX_NOTE_BYTES) in line
    assert len(line) < 1000
    assert "\n" not in line
    assert reader.unacknowledged() == []
    assert not reader.redis.exists(QUEUE)


def test_what_cannot_be_put_back_stays_noted(reader: Reader) -> None:
    reader.redis.hset("unacked", "tag", json.dumps([message(), "", QUEUE]))
    reader.redis.zadd("unacked_index", {"tag": 1})
    reader.redis.set(QUEUE, "of another type")
    with pytest.raises(ResponseError):
        reader.put_back()
    assert len(reader.unacknowledged()) == 1
    reader.redis.delete(QUEUE)


def test_so_many_are_put_back_at_once(reader: Reader) -> None:
    reader.redis.zadd("unacked_index", {f"tag-{number}": 1 for number in range(250)})
    reader.put_back()
    assert reader.redis.zcard("unacked_index") == 150


def test_an_unknown_task_that_became_known_runs(reader: Reader) -> None:
    later = message(task="tests.later")
    reader.graveyard.failure = RuntimeError("no room")
    reader.push(json.dumps(later).encode())
    reader.read()
    inspection.TASKS.add("tests.later")
    reader.put_back()
    reader.read()
    assert reader.passed == [later["headers"]["id"]]
    assert reader.unacknowledged() == []


def test_no_task_but_ours_is_taken(reader: Reader) -> None:
    """However well Celery knows it: shared tasks are every app's."""
    inspection.TASKS.remove(NOTHING_TASK)

    @shared_task(name="somebodys.task")
    def somebodys() -> None:
        """Never runs here."""

    names = ["somebodys.task", "celery.map", "celery.backend_cleanup", f"{TASK_NAME} ", TASK_NAME.upper()]
    assert names[:3] == [name for name in names if name in reader._app.tasks]
    ours = message(task=TASK_NAME)
    for whole in (*(message(task=name) for name in names), ours):
        reader.push(json.dumps(whole).encode())
    reader.read()
    assert reader.passed == [ours["headers"]["id"]]
    assert [letter["code"] for letter in reader.graveyard.letters] == [Code.UNKNOWN_TASK] * len(names)


def test_other_lists_are_not_looked_at(reader: Reader) -> None:
    """Replies of remote control come by a list of their own."""
    reader.push(BAD)
    reader._app.amqp.queues.pop(QUEUE)
    with pytest.raises(json.JSONDecodeError):
        reader.read()
    assert reader.graveyard.letters == []


def test_kombu_still_reads_as_the_inspection_expects() -> None:
    """The names that are wrapped or borrowed, none of them promised."""
    connection, asked = object(), []

    def parse_response(*args: object, **options: object) -> None:
        asked.append((args, options))

    channel: Any = Channel.__new__(Channel)
    channel.__dict__["client"] = SimpleNamespace(connection=connection, parse_response=parse_response)
    with pytest.raises(Empty):
        channel._brpop_read()
    assert asked == [((connection, "BRPOP"), {})]
    assert list(inspect.signature(Redis.parse_response).parameters)[1:3] == ["connection", "command_name"]
    assert (Channel.unacked_key, Channel.unacked_index_key) == ("unacked", "unacked_index")
    assert "client" in inspect.signature(Channel.conn_or_acquire).parameters
    assert Channel.sep == "\x06\x16"
    restore_as_text()
    assert SentinelChannel.QoS is QoS
    assert list(inspect.signature(KombusQoS.restore_by_tag).parameters) == ["self", "tag", "client", "leftmost"]
    for method in (KombusQoS.restore_visible, KombusQoS.restore_unacked, KombusQoS.reject):
        assert "self.restore_by_tag(" in inspect.getsource(method)
