"""Messages from strangers: each costs little, and speaks only for the job whose id, Celery task and text it has."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import states
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code, JobConflict, JobExpired, JobFailed
from stylequeue.contract.events import FailedData
from stylequeue.contract.job import TASK_NAME, Job
from stylequeue.settings import Settings
from tests.support.door import TOO_SLOW, Door, call
from tests.support.jobs import job_fields, make_job
from tests.support.messages import encoded, message, without
from tests.support.roles import everything

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

LITTLE_S = 2.0
"""Of processor time, for a hostile message and the job beside it."""


@pytest.fixture
def door(settings: Settings) -> Iterator[Door]:
    door = Door(settings)
    yield door
    door.close()


def mine(**fields: Any) -> Job:
    return make_job(**{"id": "mine", **fields})


def theirs(**fields: Any) -> Job:
    return make_job(**{"id": "theirs", "labels": {"by": "a stranger"}, **fields})


def painted_for(door: Door, task_id: str, job: Job) -> None:
    """Whoever waits for this task gets this job's picture."""
    assert door.result(task_id).state == states.SUCCESS
    assert door.result(task_id).get()["output"]["key"] == job.output_key


def text_of(job: Job) -> dict[str, Any]:
    return job.model_dump(mode="json", exclude_none=True)


def newer(job: Job) -> dict[str, Any]:
    """The same as a newer producer might write it."""
    return {**text_of(job), "schema_version": 99}


# Time and memory


COSTLY: dict[str, bytes | dict[str, Any]] = {
    "decimal": call(job_fields(recipe={"seed": {"__type__": "decimal", "__value__": "1e100000000"}}), task_id="t"),
    "decimals": call({"__type__": "decimal", "__value__": "1e" + "9" * 1000}, task_id="t"),
    "datetime": call(job_fields(deadline={"__type__": "datetime", "__value__": "2030-01-01T00:00:00"}), task_id="t"),
    "uuid": call(job_fields(id={"__type__": "uuid", "__value__": {"hex": "0" * 32}}), task_id="t"),
    "bytes": call(job_fields(id={"__type__": "bytes", "__value__": "x"}), task_id="t"),
    "unknown_type": call(job_fields(labels={"__type__": "x", "__value__": {"__type__": []}}), task_id="t"),
    "digits": message(
        task=TASK_NAME,
        body='[[],{"job":{"recipe":{"seed":%s}}},null]' % ("9" * 100_000),
        properties={"body_encoding": None},
    ),
    "exponent": message(task=TASK_NAME, body=base64.b64encode(b'[[],{"job":{"x":1e999999999}},null]').decode()),
    "minus_infinity": message(task=TASK_NAME, body=base64.b64encode(b'[[],{"job":{"x":-Infinity}},null]').decode()),
    "nested": message(task=TASK_NAME, body="[" * 200_000, properties={"body_encoding": None}),
    "nested_in_base64": message(task=TASK_NAME, body=base64.b64encode(b'{"a":' * 30_000).decode()),
    "envelope_nested": b'{"headers":' * 20_000,
    "wide": message(task=TASK_NAME, body=encoded([[0] * 60_000, {}, None])),
    "names": message(task=TASK_NAME, body=encoded([[], {f"n{n}": 0 for n in range(15_000)}, None])),
    "escapes": message(task=TASK_NAME, body=base64.b64encode(b'["' + b"\\ud800" * 25_000 + b'"]').decode()),
    "zip_bomb": message(
        task=TASK_NAME,
        headers={"compression": "application/x-gzip"},
        body=base64.b64encode(zlib.compress(b"0" * 50_000_000)).decode(),
    ),
    "bzip_bomb": message(task=TASK_NAME, headers={"compression": "application/x-bz2"}),
    "zstd_bomb": message(task=TASK_NAME, headers={"compression": "application/zstd"}),
    "lzma_bomb": message(task=TASK_NAME, headers={"compression": "application/x-lzma"}),
    "followers": message(
        task=TASK_NAME,
        body=encoded([[], {}, {"chain": [{"options": {"task_id": f"t{n}"}} for n in range(4_000)]}]),
    ),
    "eta": message(task=TASK_NAME, headers={"eta": "2" * 100_000}),
    "megabytes": b"[" * 8_000_000,
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_small_message_costs_little(door: Door, queue: StyleQueue, name: str) -> None:
    """And is on record or a dead letter with its reason, and the next job is done."""
    neighbour = make_job()
    queue.submit(neighbour)
    began = time.process_time()
    door.take(COSTLY[name])
    door.take(call(neighbour, task_id=neighbour.id, stylequeue_recorded=True))
    assert time.process_time() - began < LITTLE_S
    painted_for(door, neighbour.id, neighbour)
    assert door.painted == [neighbour.id]
    [(_, code)] = door.letters()
    assert code in (Code.INVALID_JOB, Code.MESSAGE_MALFORMED, Code.MESSAGE_TOO_LARGE, Code.CALLBACKS_REFUSED)


def test_a_label_that_celery_would_make_an_object_of(door: Door, queue: StyleQueue) -> None:
    job = make_job(labels={"__type__": "decimal", "__value__": "1e100000000"})
    queue.submit(job)
    door.take(call(job, task_id=job.id, stylequeue_recorded=True))
    painted_for(door, job.id, job)
    assert queue.status(job.id).labels == job.labels


# Whose result

GARBAGE: dict[str, Any] = {
    "no_job": lambda task_id: message(task=TASK_NAME, headers={"id": task_id}),
    "no_job_at_all": lambda task_id: message(
        task=TASK_NAME, headers={"id": task_id}, body=encoded([[1], {"x": []}, None])
    ),
    "half_a_job": lambda task_id: call({"id": task_id}, task_id=task_id),
    "too_new": lambda task_id: call({"schema_version": 99, "id": task_id}, task_id=task_id),
    "args_beside_its_text": lambda task_id: call(mine(), task_id=task_id, args=[1]),
    "args_beside_a_newer_text": lambda task_id: call(newer(mine()), task_id=task_id, args=[1]),
    "another_argument_beside_it": lambda task_id: message(
        task=TASK_NAME, headers={"id": task_id}, body=encoded([[], {"job": newer(mine()), "x": 1}, None])
    ),
    "malformed": lambda task_id: message(task=TASK_NAME, headers={"id": task_id, "eta": "soon"}),
    "malformed_body": lambda task_id: message(task=TASK_NAME, headers={"id": task_id}, body="x"),
    "without_a_tag": lambda task_id: without(
        message(task=TASK_NAME, headers={"id": task_id}), "properties", "delivery_tag"
    ),
    "pickle": lambda task_id: message(
        task=TASK_NAME, headers={"id": task_id}, content_type="application/x-python-serialize"
    ),
    "unknown_task": lambda task_id: message(task="celery.backend_cleanup", headers={"id": task_id}),
    "link": lambda task_id: message(
        task=TASK_NAME, headers={"id": task_id}, body=encoded([[], {"job": text_of(mine())}, {"callbacks": [{}]}])
    ),
    "before_all_time": lambda task_id: call(
        {**text_of(mine()), "deadline": "0001-01-01T00:00:00+14:00"}, task_id=task_id
    ),
    "too_late": lambda task_id: call(mine(), task_id=task_id, eta="9999-12-31T23:59:59"),
    "too_large": lambda task_id: message(task=TASK_NAME, headers={"id": task_id}, body="x" * 300_000),
    "another_job_of_its_id": lambda task_id: call(mine(labels={"not": "mine"}), task_id=task_id),
    "another_job": lambda task_id: call(theirs(), task_id=task_id),
    "another_late_job": lambda task_id: call(theirs(), task_id=task_id, expires="2001-01-01T00:00:00"),
    "somebody_followed_by_it": lambda task_id: message(
        task=TASK_NAME, body=encoded([[], {}, {"chain": [{"options": {"task_id": task_id}}]}])
    ),
}
"""What a stranger may send under somebody's task."""


@pytest.mark.parametrize("task_id", ["mine", "a-task"])
@pytest.mark.parametrize("name", GARBAGE)
def test_under_a_running_jobs_task(door: Door, name: str, task_id: str) -> None:
    """Its sender hears of its own job alone, while it is painted and after it, and it is painted."""
    heard: list[str] = []

    def attack() -> None:
        door.take(GARBAGE[name](task_id))
        heard.append(door.result(task_id).state)
        heard.append(door.ledger.record("mine").state)

    door.during = attack
    door.take(call(mine(), task_id=task_id))
    assert heard == [states.STARTED, "running"]
    painted_for(door, task_id, mine())
    door.take(GARBAGE[name](task_id))
    painted_for(door, task_id, mine())
    assert door.ledger.record("mine").state == "succeeded"
    if not name.startswith("another") or name == "another_job_of_its_id":
        assert len(door.letters()) == 2, "each is a dead letter, with its reason"


@pytest.mark.parametrize("name", GARBAGE)
def test_under_a_queued_jobs_task(door: Door, queue: StyleQueue, name: str) -> None:
    queue.submit(mine())
    door.take(GARBAGE[name]("mine"))
    assert door.result("mine").state == states.PENDING
    assert door.ledger.record("mine").state == "queued"
    door.take(call(mine(), task_id="mine", stylequeue_recorded=True))
    painted_for(door, "mine", mine())


@pytest.mark.parametrize("name", [name for name in GARBAGE if name != "another_job"])
def test_under_an_unused_id(door: Door, queue: StyleQueue, name: str) -> None:
    """Whoever comes next has the id, and hears nothing of what was there."""
    door.take(GARBAGE[name]("mine"))
    if name == "another_job_of_its_id":
        # That is a job, and the first to have the id.
        with pytest.raises(JobConflict):
            queue.submit(mine())
        return
    queue.submit(mine())
    assert door.ledger.record("mine").state == "queued"
    door.take(call(mine(), task_id="mine", stylequeue_recorded=True))
    painted_for(door, "mine", mine())


@pytest.mark.parametrize("name", [name for name in GARBAGE if not name.startswith("another_job")])
def test_under_an_unused_id_that_plain_celery_sends(door: Door, name: str) -> None:
    door.take(GARBAGE[name]("mine"))
    seen: list[str] = []
    door.during = lambda: seen.append(door.result("mine").state)
    door.take(call(mine(), task_id="mine"))
    assert seen == [states.STARTED]
    painted_for(door, "mine", mine())


@pytest.mark.parametrize("name", [name for name in GARBAGE if name not in ("another_job", "another_late_job")])
def test_its_own_sender_hears_why(door: Door, name: str) -> None:
    if name == "another_job_of_its_id":
        door.take(call(mine(), task_id="mine"))
    door.take(GARBAGE[name]("a-task"))
    with pytest.raises(JobFailed) as caught:
        door.result("a-task").get(timeout=1)
    assert caught.value.message
    assert door.letters()


def test_a_newer_producers_job_that_nobody_here_reads_ends(door: Door, queue: StyleQueue) -> None:
    """By its own message, and by no other."""
    job = mine()
    queue.submit(job)
    text = json.dumps(newer(job), sort_keys=True, separators=(",", ":"))
    door.ledger.redis.hset(
        "stylequeue:job:mine", mapping={"job": text, "digest": hashlib.sha256(text.encode()).hexdigest()}
    )
    for attack in (
        call(newer(job), task_id="mine", args=[1]),
        call(newer(job), task_id="a-task"),
        call({**newer(job), "labels": {"a": "b"}}, task_id="mine"),
        message(task=TASK_NAME, headers={"id": "mine"}, body=encoded([[], {"job": newer(job), "x": 1}, None])),
    ):
        door.take(attack)
        assert door.ledger.record("mine").state == "queued"
        assert door.result("mine").state == states.PENDING
    door.take(call(newer(job), task_id="mine", stylequeue_recorded=True))
    assert door.ledger.record("mine").state == "failed"
    with pytest.raises(JobFailed) as caught:
        door.result("mine").get(timeout=1)
    assert caught.value.code == Code.SCHEMA_TOO_NEW


def test_anothers_job_under_a_running_jobs_task_is_painted_under_its_own_name(door: Door) -> None:
    door.during = lambda: door.take(call(theirs(), task_id="a-task"))
    door.take(call(mine(), task_id="a-task"))
    assert door.painted == ["mine", "theirs"]
    painted_for(door, "a-task", mine())
    painted_for(door, "theirs", theirs())


def test_a_job_whose_id_is_anothers_task(door: Door, queue: StyleQueue) -> None:
    door.during = lambda: door.take(call(theirs(id="a-task"), task_id="their-task"))
    door.take(call(mine(), task_id="a-task"))
    painted_for(door, "a-task", mine())
    with pytest.raises(JobFailed) as caught:
        door.result("their-task").get(timeout=1)
    assert caught.value.code == Code.JOB_CONFLICT
    with pytest.raises(JobConflict):
        queue.submit(theirs(id="a-task"))


@pytest.mark.parametrize("text", [{}, {"labels": {"by": "a stranger"}}])
@pytest.mark.parametrize("task_id", ["mine", "their-task"])
def test_expired_under_somebodys_id(door: Door, queue: StyleQueue, task_id: str, text: dict[str, Any]) -> None:
    """The real job is neither dropped nor refused."""
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    door.take(call(mine(**text), task_id=task_id, expires=past))
    with pytest.raises(JobExpired):
        door.result(task_id).get(timeout=1)
    queue.submit(mine())
    assert door.result("mine").state == states.PENDING
    door.take(call(mine(), task_id="mine", stylequeue_recorded=True))
    painted_for(door, "mine", mine())


def test_a_strangers_time_limit_ends_nobody_elses_job(door: Door, queue: StyleQueue) -> None:
    door.makes = TOO_SLOW
    door.take(call(mine(), task_id="their-task", timelimit=[0.001, None]))
    queue.submit(mine())
    door.take(call(mine(), task_id="mine", stylequeue_recorded=True))
    painted_for(door, "mine", mine())


def test_what_an_application_beside_us_was_told_stays(door: Door) -> None:
    """Where it shares our Redis, against the advice: no refusal replaces a result."""
    told = json.dumps({"status": "SUCCESS", "result": 42, "traceback": None, "children": [], "task_id": "other-app"})
    redis = door.ledger.redis
    redis.set("celery-task-meta-other-app", told)
    for name in GARBAGE:
        if not name.startswith("another") and "its_text" not in name:
            door.take(GARBAGE[name]("other-app"))
            assert redis.get("celery-task-meta-other-app") == told, name
    redis.delete("celery-task-meta-other-app")


def test_a_result_that_is_no_plain_json_holds_nobody_up(door: Door) -> None:
    """Anybody who reaches Redis may write one."""
    redis = door.ledger.redis
    for text in ("{", "NaN", '{"__type__": "decimal", "__value__": "1e100000000"}', "[" * 100_000):
        redis.set("celery-task-meta-mine", text, ex=60)
        door.take(call(mine(labels={"n": str(len(text))}, id=f"mine-{len(text)}"), task_id="mine"))
    assert len(door.painted) == 4


def test_a_name_with_a_new_line_forges_no_log_line(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    forged = "x\nERROR somebody else's line\x1b[2J"
    door.take(call(mine(), task_id=forged))
    assert door.painted == []
    assert [code for _, code in door.letters()] == [Code.MESSAGE_MALFORMED]
    assert forged not in caplog.text


# The worker's own reader, which Celery is given


def test_the_worker_reads_plain_json() -> None:
    """In a process of its own, since what Celery reads by is the process's."""
    program = """
from stylequeue.settings import Settings
from stylequeue_worker.process.app import make_worker_app
from kombu.serialization import loads
from kombu.exceptions import DecodeError
make_worker_app(Settings.load(), module="tests", load_engine=lambda settings: None)
marked = '{"__type__": "decimal", "__value__": "1e100000000"}'
assert loads(marked, "application/json", "utf-8", accept={"application/json"}) == {
    "__type__": "decimal", "__value__": "1e100000000"}
for bad in ("NaN", "9" * 100, '{"a":1,"a":2}', "[" * 1000):
    try:
        loads(bad, "application/json", "utf-8")
    except DecodeError:
        continue
    raise SystemExit(bad)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# What is kept of them


def test_words_of_any_length_are_kept_cut(door: Door, queue: StyleQueue) -> None:
    """Redis would refuse them for their size, and whoever tells them would tell them again and again."""
    endless = "x" * 3_000_000
    ledger, redis = door.ledger, everything(queue.settings)
    before: Any = redis.config_get("proto-max-bulk-len")["proto-max-bulk-len"]
    redis.config_set("proto-max-bulk-len", 1024 * 1024)
    try:
        door.makes = FailedData(code="image_corrupt", message=endless, hint=endless)
        door.take(call(mine(), task_id="mine"))
        assert ledger.record("mine").state == "failed"
        with pytest.raises(JobFailed) as caught:
            door.result("mine").get(timeout=1)
        assert len(caught.value.message) < 3000
        queue.submit(theirs())
        record = ledger.claim(theirs(), task_id="theirs", worker="tester").record
        assert ledger.put_back(record, error=endless) == "queued"
        assert len(str(ledger.record("theirs").last_error)) < 3000
        ledger.bury(queue="paint", raw="{}", code="invalid_job", reason=endless)
    finally:
        redis.config_set("proto-max-bulk-len", before)


def test_a_record_that_somebody_spoilt_holds_up_no_message(door: Door, queue: StyleQueue) -> None:
    ledger, messages = door.ledger, queue._messages
    for job_id in ("mine", "theirs"):
        queue.submit(make_job(id=job_id))
    ledger.redis.delete("paint")
    ledger.redis.hset("stylequeue:job:theirs", "job", "[" * 1000)
    ledger.make_due(["mine", "theirs"])
    messages.send_due()
    [sent] = ledger.redis.lrange("paint", 0, -1)
    assert json.loads(sent)["headers"]["id"] == "mine"


def test_a_sum_of_dead_letters_that_somebody_spoilt_buries_on(door: Door) -> None:
    door.ledger.redis.hset("stylequeue:counters", "dead_letters_bytes", 10**15)
    for _ in range(3):
        door.take(b"no message")
    assert len(door.letters()) in (1, 2, 3)


# Whatever else comes

_NAMES = st.sampled_from(["queued", "held", "ended", "other-app", "new", "held-task", "a/b", "queued:events"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | _NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5) | _NAMES, inner, max_size=2),
    max_leaves=4,
)
_HEADERS = st.dictionaries(
    st.sampled_from(
        ["id", "task", "eta", "expires", "timelimit", "root_id", "group", "stylequeue_recorded", "retries", "stamps"]
    ),
    _VALUES | st.sampled_from(["2001-01-01T00:00:00", "9999-12-31T23:59:59Z", [0.001, None], TASK_NAME]),
    max_size=3,
)
_FIELDS = st.dictionaries(
    st.sampled_from(["id", "labels", "recipe", "content", "styles", "output", "schema_version", "deadline", "queue"]),
    _VALUES | st.sampled_from([99, {"method": "fast"}, {"a": "b"}]),
    max_size=2,
)


def _mutant(task_id: str, job_id: str, headers: Any, fields: Any, args: Any, more: Any, followers: list[str]) -> bytes:
    job: Any = {**text_of(make_job()), "id": job_id, **fields}
    afterwards = {"chain": [{"options": {"task_id": each}} for each in followers]}
    body = encoded([args, {"job": job, **more}, afterwards])
    return json.dumps(message(task=TASK_NAME, headers={"id": task_id, **headers}, body=body)).encode()


MUTANTS = st.builds(
    _mutant,
    _NAMES,
    _NAMES,
    _HEADERS,
    _FIELDS,
    st.just([]) | st.lists(_VALUES, max_size=1) | _VALUES,
    st.just({}) | st.dictionaries(st.text(max_size=3), _VALUES, max_size=1),
    st.lists(_NAMES, max_size=1),
)
BROKEN = st.builds(
    lambda whole, at, noise: whole[:at] + noise + whole[at + len(noise) :], MUTANTS, st.integers(0, 900), st.binary()
)


@pytest.fixture(scope="module")
def house(module_settings: Settings) -> Iterator[Door]:
    """With a job that waits, one that is painted elsewhere, one that has ended, and somebody else's result."""
    door = Door(module_settings)
    with StyleQueue(module_settings) as queue:
        queue.submit_many([make_job(id=name) for name in ("queued", "held", "ended")])
    ledger = door.ledger
    record = ledger.claim(make_job(id="queued"), task_id="queued", worker="elsewhere", recorded=True).record
    ledger.put_back(record, error="came to harm", delay_s=10_000)
    ledger.claim(make_job(id="held"), task_id="held-task", worker="elsewhere", recorded=True)
    ledger.redis.hset("stylequeue:job:held", "lease_until_ms", 4 * 10**12)
    door.take(call(make_job(id="ended"), task_id="ended", stylequeue_recorded=True))
    ledger.redis.set("celery-task-meta-other-app", "theirs", ex=100_000)
    yield door
    everything(module_settings).flushdb()
    door.close()


def _untouched(door: Door) -> list[Any]:
    redis: Any = door.ledger.redis
    keys = ["stylequeue:job:queued", "stylequeue:job:held", "stylequeue:job:ended"]
    records = [dict(redis.hgetall(key).items()) for key in keys]
    results = [redis.get(f"celery-task-meta-{name}") for name in ("queued", "held", "held-task")]
    return [*records, *results, door.result("ended").get()["output"]]


@pytest.mark.parametrize("examples", [150, pytest.param(int(os.environ.get("FUZZ", "5000")), marks=pytest.mark.slow)])
@pytest.mark.timeout(3600)
def test_fuzz(house: Door, examples: int) -> None:
    """Nothing that comes changes a job that it is not, nor what its sender is told, nor ends worker or time."""
    before = _untouched(house)

    @limits(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(MUTANTS | BROKEN)
    def attack(raw: bytes) -> None:
        began = time.process_time()
        house.take(raw)
        assert time.process_time() - began < LITTLE_S
        assert _untouched(house) == before

    attack()
    neighbour = make_job()
    house.take(call(neighbour, task_id=neighbour.id))
    painted_for(house, neighbour.id, neighbour)
