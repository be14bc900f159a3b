"""What the inspection lets pass, Celery can bear; what it does not, it names."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker import state
from hypothesis import HealthCheck, example, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from kombu import Connection
from kombu.utils.json import dumps, loads

from stylequeue.contract.errors import Code
from stylequeue.contract.job import MAX_JOB_BYTES
from stylequeue_worker.process.message import MAX_MESSAGE_BYTES, read_message
from tests.support.messages import (
    BAD_MESSAGES,
    NOTHING_TASK,
    REFUSED_TASKS,
    encoded,
    fault_of,
    message,
    nested,
    old_message,
    without,
)

TASKS = {NOTHING_TASK}


def as_bytes(whole: object) -> bytes:
    return json.dumps(whole).encode()


@pytest.mark.parametrize("name", [*BAD_MESSAGES, *REFUSED_TASKS])
def test_bad(name: str) -> None:
    item, code = {**BAD_MESSAGES, **REFUSED_TASKS}[name]
    fault = fault_of(item, TASKS)
    assert fault is not None
    assert fault.code == code
    assert 10 < len(fault.reason.encode()) < 2000


@pytest.mark.parametrize(
    "whole",
    [
        message(),
        message(body="[[],{},null]", properties={"body_encoding": None}),
        message(body='[["é"],{"job":{}},{}]', properties={"body_encoding": "utf-8"}),
        message(body=encoded([[], {"job": {"key": "x" * MAX_JOB_BYTES}}, None])),
        message(body=encoded([[], {}, {"callbacks": [], "chain": [], "chord": None}])),
        message(body=encoded([nested(60), {}, None])),
        message(headers={"eta": "2020-01-01T00:00:00+00:00", "expires": "2030-01-01T00:00:00"}),
        message(headers={"eta": (datetime.now(UTC) + timedelta(days=29)).isoformat()}),
        old_message(),
        old_message(eta="2020-01-01T00:00:00", timelimit=[5, 2.5], utc=False),
        without(old_message(), "content-encoding"),
        {**old_message(), "headers": {"task": NOTHING_TASK}},
        message(headers={"timelimit": [5, 2.5]}),
        message(headers={"redelivered": True, "own": {"header": 1}}),
        message(properties={"delivery_info": {"exchange": None, "routing_key": "paint", "redelivered": True}}),
        without(message(), "content-encoding"),
    ],
)
def test_good(whole: dict[str, Any]) -> None:
    assert fault_of(as_bytes(whole), TASKS) is None


def test_the_size_limit_is_exact() -> None:
    room = MAX_MESSAGE_BYTES - len(as_bytes(message(headers={"own": ""})))
    assert fault_of(as_bytes(message(headers={"own": "x" * room})), TASKS) is None
    fault = fault_of(as_bytes(message(headers={"own": "x" * (room + 1)})), TASKS)
    assert fault is not None
    assert fault.code == Code.MESSAGE_TOO_LARGE


def test_the_reason_says_where() -> None:
    fault = fault_of(as_bytes(message(headers={"id": 5, "eta": "soon"}, content_type="text/plain")), TASKS)
    assert fault is not None
    for where in ("headers.id", "headers.eta", "content-type"):
        assert where in fault.reason


def signature(task_id: str, **more: object) -> dict[str, Any]:
    return {"task": "x", "options": {"task_id": task_id}, **more}


def test_a_refusal_says_who_waits() -> None:
    header = [signature("in-the-header"), "no signature"]
    afterwards = {
        "chain": [signature("last"), signature("group", kwargs={"tasks": [signature("one"), signature("two")]})],
        "chord": signature("body", kwargs={"header": header}),
        "callbacks": [{"task": "x", "options": {"task_id": 5}}, {"task": "x", "options": None}],
    }
    whole = message(body=encoded([["a"], {"b": 1}, afterwards]))
    fault = fault_of(as_bytes(whole), TASKS)
    assert fault is not None
    assert fault.task_id == whole["headers"]["id"]
    assert fault.call == (["a"], {"b": 1})
    assert set(fault.followers) == {"last", "group", "one", "two", "body", "in-the-header"}
    assert all(way in fault.reason for way in ("link", "chain", "chord"))
    assert fault.hint


@pytest.mark.parametrize(
    ("whole", "task_id"),
    [
        (message(headers={"id": "abc", "eta": "soon"}), "abc"),
        (message(headers={"id": "abc"}, content_type="text/plain"), "abc"),
        (message(headers={"id": 5}), ""),
        (message(headers={"id": "x" * 1000}), ""),
        (message(headers={"id": "a\nb", "eta": "soon"}), ""),
        ([message()], ""),
        (old_message(id="abc", eta="soon"), "abc"),
    ],
)
def test_a_malformed_message_says_who_waits_where_that_can_be_read(whole: object, task_id: str) -> None:
    fault = fault_of(as_bytes(whole), TASKS)
    assert fault is not None
    assert (fault.task_id, fault.call) == (task_id, None)


# Whatever comes, it is refused, or Celery can take it and the broker can put it back

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from(
        ["", "paint", "base64", "utf-8", "2030-01-01", "0001-01-01", "9999-12-31T23:59:59-14:00", 10**400]
    )
)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        | st.fixed_dictionaries(
            {"__type__": st.sampled_from(["bytes", "base64", "datetime", "uuid", "x"]), "__value__": inner}
        )
    ),
    max_leaves=8,
)

OLD_NAMES = (
    "id",
    "args",
    "kwargs",
    "retries",
    "utc",
    "timelimit",
    "group",
    "eta",
    "expires",
    "taskset",
    "shadow",
    "meth",
)
PATHS: list[tuple[str, ...]] = [
    ("body",),
    ("content-type",),
    ("content-encoding",),
    ("headers",),
    ("properties",),
    *(("headers", name) for name in [*message()["headers"], "shadow", "stamped_headers", "stamps", "compression"]),
    *(("headers", name) for name in ("group", "ignore_result", "replaced_task_nesting", "redelivered")),
    *(("properties", name) for name in message()["properties"]),
    *(("properties", "delivery_info", name) for name in ("exchange", "routing_key", "consumer_tag")),
]


def replaced(whole: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    head, *rest = path
    if rest and not isinstance(whole.get(head), dict):
        return whole
    return {**whole, head: replaced(whole[head], tuple(rest), value) if rest else value}


def changed(changes: list[tuple[tuple[str, ...], object]]) -> bytes:
    whole = message()
    for path, value in changes:
        whole = replaced(whole, path, value)
    return as_bytes(whole)


old_messages = st.builds(
    lambda changes: as_bytes({**old_message(**changes.pop("body", {})), **changes}),
    st.fixed_dictionaries(
        {},
        optional={
            "body": st.dictionaries(st.sampled_from(OLD_NAMES), json_values, max_size=3),
            "headers": st.dictionaries(st.sampled_from([*message()["headers"], "x"]), json_values, max_size=2),
        },
    ),
)
bodies = st.builds(lambda body: as_bytes(message(body=encoded(body))), json_values | st.tuples(*[json_values] * 3))
mutations = st.builds(
    changed, st.lists(st.tuples(st.sampled_from(PATHS), json_values), min_size=1, max_size=3)
) | st.builds(
    lambda cut, noise: as_bytes(message())[:cut] + noise + as_bytes(message())[cut + len(noise) :],
    st.integers(0, 1000),
    st.binary(max_size=3),
)


@pytest.fixture(scope="module")
def celery_takes() -> Iterator[Callable[[bytes], None]]:
    """Does with a message what Celery's and kombu's own code does in the worker's parent and for its child."""
    app = Celery("tests", broker="memory://", backend="disabled://", set_as_current=False)
    app.conf.accept_content = ["json"]

    @app.task(name=NOTHING_TASK, shared=False)
    def nothing() -> None:
        """Takes anything."""

    taken: list[Any] = []

    class Timer:
        def call_at(self, *args: Any, **_: Any) -> None:
            taken.extend(args[2])

    class Pool:
        def apply_async(self, *args: Any, **options: Any) -> None:
            pickle.dumps((args, options["timeout"], options["soft_timeout"], options["correlation_id"]))

    consumer = SimpleNamespace(
        hostname="here",
        connection_errors=(),
        event_dispatcher=None,
        timer=Timer(),
        apply_eta_task=None,
        qos=SimpleNamespace(increment_eventually=lambda: None),
        disable_rate_limits=True,
        task_buckets={},
        on_task_request=taken.append,
        _limit_task=None,
        _limit_post_eta=None,
        pool=Pool(),
        controller=SimpleNamespace(state=state),
    )
    strategy = app.tasks[NOTHING_TASK].start_strategy(app, consumer)

    with Connection("memory://") as connection:
        channel: Any = connection.channel()

        def take(item: bytes) -> None:
            taken.clear()
            raw = loads(read_message(item, TASKS).as_message("paint").decode())
            delivered = channel.Message(raw, channel=channel)
            delivered.accept = {"application/json"}
            assert not delivered.errors
            delivered.delivery_tag.encode()
            dumps([raw, delivered.delivery_info["exchange"], delivered.delivery_info["routing_key"]]).encode()
            strategy(delivered, None, lambda: None, lambda **_: None, [])
            for request in taken:
                request.execute_using_pool(consumer.pool)
            # What put-back messages get, as in kombu.transport.redis.Channel._do_restore_message.
            raw["headers"]["redelivered"] = True
            raw["properties"]["delivery_info"]["redelivered"] = True
            channel._get_message_priority(raw)
            assert fault_of(dumps(raw).encode(), TASKS) is None

        yield take
        channel.close()
    state.reset_state()


@limits(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(item=mutations | old_messages | bodies | st.binary() | json_values.map(as_bytes))
@example(item=as_bytes(message()))
@example(item=as_bytes(message(headers={"eta": "2020-01-01T00:00:00"})))
@example(item=as_bytes(old_message()))
def test_what_passes_celery_takes(celery_takes: Callable[[bytes], None], item: bytes) -> None:
    fault = fault_of(item, TASKS)
    if fault is None:
        celery_takes(item)
    else:
        assert fault.reason
        fault.reason.encode()
