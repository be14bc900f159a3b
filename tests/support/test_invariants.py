"""The watchman is watched: each invariant, broken by hand, is found broken; and nothing else is."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.events import FailedData, StoredPicture, SucceededData
from stylequeue.contract.job import Job
from stylequeue.contract.recipe import resolve
from stylequeue.ledger.names import (
    COUNTERS_KEY,
    CREATED_KEY,
    DEAD_KEY,
    EVENTS_KEY,
    LEASES_KEY,
    TENANTS_KEY,
    record_key,
    state_key,
    tenant_key,
)
from stylequeue.settings import Settings
from tests.support.invariants import check
from tests.support.jobs import NO_REPORT, make_job

FAILED = FailedData(code="image_empty", message="there is nothing")


@dataclass
class Scene:
    """What a good deployment leaves: a painted job, one that reuses its picture, one stopped early, a failed one."""

    queue: StyleQueue
    jobs: list[str]

    @property
    def redis(self) -> Any:
        return self.queue._ledger.redis

    @property
    def painted(self) -> str:
        return record_key(self.jobs[0])

    def event(self, key: str) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.redis.hget(key, "outcome"))
        return event

    def store(self, key: str, body: bytes) -> None:
        self.queue._store._client.put_object(Bucket="results", Key=key, Body=body)

    def tell(self, key: str, event: dict[str, Any], *, position: str = "*", stream: str | None = None) -> None:
        self.redis.xadd(stream or f"{key}:events", {"event": json.dumps(event)}, position)

    def succeed(self, body: bytes, fingerprint: str, **fields: bool) -> str:
        """Takes a job through its life."""
        job = make_job()
        record = self.claim(job)
        output = StoredPicture(
            bucket="results",
            key=job.output_key,
            etag='"x"',
            sha256=hashlib.sha256(body).hexdigest(),
            width_px=16,
            height_px=16,
            size_bytes=len(body),
            content_type="image/jpeg",
        )
        data = SucceededData(
            output=output,
            fingerprint=fingerprint,
            recipe=resolve(job.recipe),
            engine_version="0",
            report=NO_REPORT,
            **fields,
        )
        self.store(job.output_key, body)
        event = self.queue._ledger.finish(job.id, fence=record.fence, data=data)
        self.store(job.output_key + ".json", event.encode())
        return job.id

    def claim(self, job: Job) -> Any:
        self.queue._ledger.accept([job])
        return self.queue._ledger.claim(job, task_id=job.id, worker="tester").record

    def fail(self) -> str:
        job = make_job()
        self.queue._ledger.finish(job.id, fence=self.claim(job).fence, data=FAILED)
        return job.id


@pytest.fixture(scope="module")
def queue(module_settings: Settings) -> Iterator[StyleQueue]:
    with StyleQueue(module_settings) as queue:
        yield queue


@pytest.fixture
def scene(queue: StyleQueue) -> Iterator[Scene]:
    scene = Scene(queue, [])
    body, fingerprint = os.urandom(100), uuid.uuid4().hex
    scene.jobs.append(scene.succeed(body, fingerprint))
    scene.jobs.append(scene.succeed(body, fingerprint, reused=True))
    scene.jobs.append(scene.succeed(os.urandom(100), fingerprint, partial=True))
    scene.jobs.append(scene.fail())
    open_job = make_job()
    queue._ledger.accept([open_job])  # not among those that should have ended
    yield scene
    queue._ledger.redis.flushdb()


def never_ended(scene: Scene) -> None:
    scene.jobs.append("nobody")


def still_queued(scene: Scene) -> None:
    job = make_job()
    scene.queue._ledger.accept([job])
    scene.jobs.append(job.id)


def two_states(scene: Scene) -> None:
    scene.redis.zadd(state_key("failed"), {scene.jobs[0]: 1})


def other_word(scene: Scene) -> None:
    scene.redis.hset(scene.painted, "state", "expired")


def other_bytes(scene: Scene) -> None:
    scene.store(scene.event(scene.painted)["data"]["output"]["key"], b"other bytes")


def no_picture(scene: Scene) -> None:
    scene.queue._store._client.delete_object(Bucket="results", Key=scene.event(scene.painted)["data"]["output"]["key"])


def painted_twice(scene: Scene) -> None:
    event = scene.event(scene.painted)
    body = scene.queue._store._client.get_object(Bucket="results", Key=event["data"]["output"]["key"])["Body"].read()
    scene.jobs.append(scene.succeed(body, event["data"]["fingerprint"]))


def two_pictures(scene: Scene) -> None:
    scene.jobs.append(scene.succeed(b"other bytes", scene.event(scene.painted)["data"]["fingerprint"], reused=True))


def no_event_on_own_stream(scene: Scene) -> None:
    [(position, _)] = scene.redis.xrevrange(f"{scene.painted}:events", count=1)
    scene.redis.xdel(f"{scene.painted}:events", position)


def no_event_on_deployments_stream(scene: Scene) -> None:
    for position, fields in scene.redis.xrange(EVENTS_KEY):
        if json.loads(fields["event"]) == scene.event(scene.painted):
            scene.redis.xdel(EVENTS_KEY, position)


def two_ids(scene: Scene) -> None:
    scene.tell(scene.painted, {**scene.event(scene.painted), "id": "other"}, stream=EVENTS_KEY)


def other_event_beside(scene: Scene) -> None:
    event = scene.event(scene.painted)
    scene.store(event["data"]["output"]["key"] + ".json", json.dumps({**event, "id": "other"}).encode())


def no_event_beside(scene: Scene) -> None:
    key = scene.event(scene.painted)["data"]["output"]["key"] + ".json"
    scene.queue._store._client.delete_object(Bucket="results", Key=key)


def no_ttl(scene: Scene) -> None:
    scene.redis.persist(scene.painted)


def no_ttl_of_events(scene: Scene) -> None:
    scene.redis.persist(f"{scene.painted}:events")


def unknown_key(scene: Scene) -> None:
    scene.redis.set("stylequeue:novelty", 1)


def strangers_key(scene: Scene) -> None:
    scene.redis.set("novelty", 1, ex=10)


def result_for_ever(scene: Scene) -> None:
    scene.redis.set("celery-task-meta-x", "{}")


def tenant_of_nobody(scene: Scene) -> None:
    scene.redis.hset(TENANTS_KEY, "nobody", "acme")
    scene.redis.zadd(tenant_key("acme"), {"nobody": 1})


def index_of_the_dead(scene: Scene) -> None:
    scene.redis.zadd(CREATED_KEY, {"nobody": 1})


def ended_job_has_a_lease(scene: Scene) -> None:
    scene.redis.zadd(LEASES_KEY, {scene.jobs[0]: 1})


def letter_without_text(scene: Scene) -> None:
    scene.redis.zadd(DEAD_KEY, {"nobody": 1})


def unknown_counter(scene: Scene) -> None:
    scene.redis.hset(COUNTERS_KEY, "lost", 1)


def unacknowledged(scene: Scene) -> None:
    scene.redis.hset("unacked", "tag", "message")


def message_left(scene: Scene) -> None:
    scene.redis.lpush("bulk", "message")


def message_of_priority_left(scene: Scene) -> None:
    scene.redis.lpush("paint\x06\x163", "message")


def too_many_attempts(scene: Scene) -> None:
    scene.redis.hset(scene.painted, "attempt", scene.queue.settings.max_attempts + 1)


def untold_attempt(scene: Scene) -> None:
    scene.redis.hincrby(scene.painted, "attempt", 1)


def sequence_stands(scene: Scene) -> None:
    scene.tell(scene.painted, scene.event(scene.painted))


def sequence_goes_back(scene: Scene) -> None:
    [(_, fields)] = scene.redis.xrange(f"{scene.painted}:events", count=1)
    scene.tell(scene.painted, json.loads(fields["event"]), stream=EVENTS_KEY)


def record_is_behind(scene: Scene) -> None:
    scene.redis.hincrby(scene.painted, "sequence", -1)


BREAKAGES: list[tuple[Callable[[Scene], None], set[str]]] = [
    (never_ended, {"I1"}),
    (still_queued, {"I1"}),
    (two_states, {"I1"}),
    (other_word, {"I1"}),
    (other_bytes, {"I2"}),
    (no_picture, {"I2"}),
    (painted_twice, {"I2"}),
    (two_pictures, {"I2"}),
    (no_event_on_own_stream, {"I3", "I7"}),
    (no_event_on_deployments_stream, {"I3"}),
    (two_ids, {"I3"}),
    (other_event_beside, {"I3"}),
    (no_event_beside, {"I3"}),
    (no_ttl, {"I4"}),
    (no_ttl_of_events, {"I4"}),
    (unknown_key, {"I4"}),
    (strangers_key, {"I4"}),
    (result_for_ever, {"I4"}),
    (index_of_the_dead, {"I4"}),
    (tenant_of_nobody, {"I4"}),
    (ended_job_has_a_lease, {"I4"}),
    (letter_without_text, {"I4"}),
    (unknown_counter, {"I4"}),
    (unacknowledged, {"I5"}),
    (message_left, {"I5"}),
    (message_of_priority_left, {"I5"}),
    (too_many_attempts, {"I6"}),
    (untold_attempt, {"I6"}),
    (sequence_stands, {"I7"}),
    (sequence_goes_back, {"I7"}),
    (record_is_behind, {"I7"}),
]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker will restore anything here."""
    monkeypatch.setattr("tests.support.invariants._RESTORE_S", 0)


def test_nothing_is_broken(scene: Scene) -> None:
    check(scene.queue, scene.jobs, visibility_timeout_s=0)


def test_nothing_happened(queue: StyleQueue) -> None:
    queue._ledger.redis.flushdb()
    check(queue, [], visibility_timeout_s=0)


@pytest.mark.parametrize(("break_it", "broken"), BREAKAGES, ids=[b.__name__ for b, _ in BREAKAGES])
def test_what_is_broken_is_found(scene: Scene, break_it: Callable[[Scene], None], broken: set[str]) -> None:
    break_it(scene)
    with pytest.raises(AssertionError, match="broken invariants") as caught:
        check(scene.queue, scene.jobs, visibility_timeout_s=0)
    assert {line[:2] for line in str(caught.value).splitlines()[1:]} == broken


def test_waits_for_what_the_broker_hands_out_again(scene: Scene) -> None:
    scene.redis.hset("unacked", "tag", "message")
    scene.redis.pexpire("unacked", 200)
    check(scene.queue, scene.jobs, visibility_timeout_s=5)
