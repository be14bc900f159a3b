"""What must be true after any fault, whatever it was: looked up in Redis and in the store, not asked of the service.

I1 each accepted job ends in exactly one way. I2 one painting per fingerprint, and every output's bytes as recorded.
I3 at least one terminal event, all copies with one id. I4 no key without an end. I5 nothing left on the broker.
I6 attempts within the limit. I7 a job's events never go back.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from stylequeue.client import StyleQueue
from stylequeue.contract.base import QUEUES
from stylequeue.contract.errors import StyleQueueError
from stylequeue.ledger.histograms import BOUNDS
from stylequeue.ledger.names import (
    COUNTERS_KEY,
    CREATED_KEY,
    DEAD_KEY,
    DEAD_SIZES_KEY,
    DEADLINES_KEY,
    DUE_KEY,
    EVENTS_KEY,
    HISTOGRAMS_KEY,
    LABELLED_KEY,
    LEASES_KEY,
    MARKS_KEY,
    NOTIFIED_AGAIN_KEY,
    PAUSED_KEY,
    TENANTS_KEY,
    UNTOLD_KEY,
    UPLOADS_KEY,
    WAITING_KEY,
    dead_key,
    due_key,
    events_key,
    label_key,
    queue_key,
    ready_key,
    record_key,
    state_key,
    tenant_key,
    tenant_open_key,
)
from stylequeue.settings import Settings
from tests.support.processes import wait_for

ENDS = frozenset({"succeeded", "failed", "cancelled", "expired"})
STATES = ENDS | {"queued", "running"}
COUNTERS = STATES | {"dead_letters_bytes", "dead_letters_dropped", "stale_writes", "reuses", "resumes"}
LABELLED_COUNTERS = frozenset(
    {"jobs_accepted", "jobs_ended", "attempts", "dead_letters", "deliveries", "put_backs", "unfit"}
)
_NODE = 100
"""Entries of a stream that Redis trims at once, so many may be over the cap."""
_RESTORE_S = 30
"""The broker looks for messages to restore every few seconds, and a worker needs a moment to drop them."""


def check(queue: StyleQueue, jobs: Sequence[str], *, visibility_timeout_s: float) -> None:
    """Wait for the broker to be empty, until the visibility timeout has passed, then check all invariants.

    `jobs` are the ids of all that were accepted and not deleted since; nobody works on them any more. AssertionError
    names every violation by its invariant.
    """
    found = [*_broker_left(queue, visibility_timeout_s + _RESTORE_S), *violations(queue, jobs)]
    if found:
        raise AssertionError("\n".join(["broken invariants:", *found]))


def violations(queue: StyleQueue, jobs: Sequence[str]) -> list[str]:
    """All invariants but I5, as things are now."""
    evidence = Evidence.of(queue, jobs)
    checks = (_one_end, _pictures, _events, _keys, _attempts, _sequences)
    return [violation for check in checks for violation in check(evidence)]


def keys_without_end(redis: Any, settings: Settings) -> list[str]:
    """I4: keys that are nobody's, or ours without TTL where no job is open and no cap is kept. `redis` decodes."""
    names = list(redis.scan_iter(count=1000))
    return list(
        _lasting_keys(redis, settings, dict(zip(names, _ask(redis, [("ttl", name) for name in names]), strict=True)))
    )


# The keys of ours that may have no TTL, each with why and with a look whether that is so. One line for each family.


@dataclass(frozen=True)
class Lasting:
    """A family of keys without TTL."""

    pattern: str
    why: str
    faults: Callable[[Any, str, Settings], Iterable[str]]


def _no_record(redis: Any, key: str, _: Settings) -> Iterator[str]:
    for job_id in redis.zrange(key, 0, -1):
        if not redis.exists(record_key(job_id)):
            yield f"names {job_id}, of which there is no record"


def _not_open(redis: Any, key: str, _: Settings) -> Iterator[str]:
    for job_id in redis.zrange(key, 0, -1):
        if (state := redis.hget(record_key(job_id), "state")) not in STATES - ENDS:
            yield f"names {job_id}, which is {state or 'unknown'}"


def _no_letter(redis: Any, key: str, _: Settings) -> Iterator[str]:
    for letter_id in redis.zrange(key, 0, -1):
        if not redis.exists(dead_key(letter_id)):
            yield f"names {letter_id}, of which there is no letter"


def _not_dead(redis: Any, key: str, _: Settings) -> Iterator[str]:
    if strangers := set(redis.hkeys(key)) - set(redis.zrange(DEAD_KEY, 0, -1)):
        yield f"names {sorted(strangers)}, of which there is no letter"


def _of_no_record(redis: Any, key: str, _: Settings) -> Iterator[str]:
    if strangers := set(redis.hkeys(key)) - set(redis.zrange(CREATED_KEY, 0, -1)):
        yield f"names {sorted(strangers)}, of which there is no record"


def _of_ended_job(redis: Any, key: str, _: Settings) -> Iterator[str]:
    record = key.removesuffix(events_key.after)
    state, deadline_ms = redis.hmget(record, "state", "deadline_ms")
    if state not in STATES - ENDS or not deadline_ms:
        yield f"belongs to a job that is {state or 'unknown'}, deadline {deadline_ms}"


def _over_cap(redis: Any, key: str, settings: Settings) -> Iterator[str]:
    if (length := redis.xlen(key)) > settings.deployment_events + _NODE:
        yield f"has {length} entries, its cap is {settings.deployment_events}"


def _no_counter(redis: Any, key: str, _: Settings) -> Iterator[str]:
    labelled = {name for name in redis.hkeys(key) if name.partition("|")[0] in LABELLED_COUNTERS}
    if strangers := set(redis.hkeys(key)) - COUNTERS - labelled:
        yield f"counts {sorted(strangers)}"


def _no_histogram(redis: Any, key: str, _: Settings) -> Iterator[str]:
    if strangers := {name for name in redis.hkeys(key) if name.partition("|")[0] not in BOUNDS}:
        yield f"measures {sorted(strangers)}"


def _no_queue(redis: Any, key: str, _: Settings) -> Iterator[str]:
    if strangers := set(redis.hkeys(key)) - set(QUEUES):
        yield f"names {sorted(strangers)}"


LASTING = (
    Lasting(MARKS_KEY, "one secret", lambda *_: ()),
    Lasting(EVENTS_KEY, "a stream with a cap", _over_cap),
    Lasting(COUNTERS_KEY, "one number for each state, some for what else is counted", _no_counter),
    Lasting(HISTOGRAMS_KEY, "one number for each of some buckets", _no_histogram),
    Lasting(PAUSED_KEY, "an entry for each queue at most", _no_queue),
    Lasting(UPLOADS_KEY, "some numbers for each source of the operator's", lambda *_: ()),
    Lasting(CREATED_KEY, "an index of records", _no_record),
    Lasting(tenant_key("*"), "an index of records", _no_record),
    Lasting(TENANTS_KEY, "an index of records", _of_no_record),
    Lasting(label_key("*"), "an index of records", _no_record),
    Lasting(LABELLED_KEY, "an index of records", _of_no_record),
    Lasting(tenant_open_key("*"), "an index of open jobs", _not_open),
    Lasting(state_key("*"), "an index of records", _no_record),
    Lasting(queue_key("*"), "an index of open jobs", _not_open),
    Lasting(LEASES_KEY, "an index of open jobs", _not_open),
    Lasting(DEADLINES_KEY, "an index of open jobs", _not_open),
    Lasting(DUE_KEY, "an index of open jobs", _not_open),
    Lasting(WAITING_KEY, "an index of open jobs", _not_open),
    Lasting(ready_key("*"), "an index of open jobs", _not_open),
    Lasting(due_key("*"), "an index of open jobs", _not_open),
    Lasting(UNTOLD_KEY, "an index of ended jobs that a keeper empties", _no_record),
    Lasting(DEAD_KEY, "an index of dead letters", _no_letter),
    Lasting(NOTIFIED_AGAIN_KEY, "an index of dead letters", _no_letter),
    Lasting(DEAD_SIZES_KEY, "an index of dead letters", _not_dead),
    Lasting(record_key("*"), "an open job, which has a deadline", _of_ended_job),
)

BROKERS_OWN = ("_kombu.*", "unacked*", *QUEUES, *(f"{queue}\x06\x16*" for queue in QUEUES), "*.reply.celery.pidbox")
"""Keys of Celery's and kombu's: bindings, deliveries, lists (one a priority), answers to control commands."""
RESULTS = "celery-task*-meta-*"
"""Of tasks, and what a sender notes of a chord."""


# What is looked at


@dataclass
class Evidence:
    """What Redis says, as it lies there."""

    queue: StyleQueue
    jobs: Sequence[str]
    keys: dict[str, int] = field(default_factory=dict)
    """TTL in seconds by key; -1: none."""
    records: dict[str, dict[str, str]] = field(default_factory=dict)
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Events on each job's stream."""
    told_all: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """Events on the deployment's stream, by job."""

    @property
    def redis(self) -> Any:
        return self.queue._ledger.redis

    @classmethod
    def of(cls, queue: StyleQueue, jobs: Sequence[str]) -> Evidence:
        evidence = cls(queue, list(jobs))
        redis = evidence.redis
        evidence.keys = _ttl_s(redis)
        records = _ask(redis, [("hgetall", record_key(job)) for job in jobs])
        streams = _ask(redis, [("xrange", events_key(job)) for job in jobs])
        evidence.records = dict(zip(jobs, records, strict=True))
        evidence.told = {job: _parse(entries) for job, entries in zip(jobs, streams, strict=True)}
        for event in _parse(redis.xrange(EVENTS_KEY)):
            evidence.told_all[event["subject"]].append(event)
        return evidence

    def outcome(self, job: str) -> dict[str, Any] | None:
        """The terminal event in the record."""
        text = self.records[job].get("outcome")
        return json.loads(text) if text else None

    def succeeded(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Jobs that have a picture, each with its terminal event."""
        for job in self.jobs:
            if (outcome := self.outcome(job)) and _end(outcome) == "succeeded":
                yield job, outcome


def _ttl_s(redis: Any) -> dict[str, int]:
    """Of every key; -1: none."""
    names = list(redis.scan_iter(count=1000))
    return dict(zip(names, _ask(redis, [("ttl", name) for name in names]), strict=True))


def _ask(redis: Any, commands: Iterable[tuple[str, str]]) -> list[Any]:
    with redis.pipeline(transaction=False) as pipeline:
        for name, key in commands:
            getattr(pipeline, name)(key)
        return list(pipeline.execute())


def _parse(entries: Iterable[tuple[str, dict[str, str]]]) -> list[dict[str, Any]]:
    return [json.loads(fields["event"]) for _, fields in entries]


def _end(event: dict[str, Any]) -> str | None:
    """The terminal state that an event tells of, if it does."""
    kind: str = event["type"].removeprefix("io.stylequeue.job.").removesuffix(".v1")
    return kind if kind in ENDS else None


# The invariants


def _one_end(evidence: Evidence) -> Iterator[str]:
    """I1."""
    indexed = defaultdict(set)
    for state in STATES:
        for job in evidence.redis.zrange(state_key(state), 0, -1):
            indexed[job].add(state)
    for job in evidence.jobs:
        state = evidence.records[job].get("state", "unknown")
        outcome = evidence.outcome(job)
        if state not in ENDS:
            yield f"I1 job {job} has not ended: it is {state}"
        elif outcome is None or _end(outcome) != state:
            yield f"I1 job {job} is {state}, its last word is {outcome and outcome['type']}"
        if indexed[job] != {state}:
            yield f"I1 job {job} is {state}, the indexes say {sorted(indexed[job])}"


def _pictures(evidence: Evidence) -> Iterator[str]:
    """I2, and the copy of the event beside each picture (I3)."""
    pictures, painters = defaultdict(set), defaultdict(list)
    with tempfile.TemporaryDirectory() as directory:
        read = partial(_read, evidence.queue, Path(directory))
        for job, outcome in evidence.succeeded():
            data = outcome["data"]
            output = data["output"]
            try:
                if hashlib.sha256(read(output["bucket"], output["key"])).hexdigest() != output["sha256"]:
                    yield f"I2 job {job}: the bytes of {output['key']} have another sha256 than recorded"
            except StyleQueueError as error:
                yield f"I2 job {job}: {error}"
            try:
                beside = json.loads(read(output["bucket"], output["key"] + ".json"))
                if beside != outcome:
                    yield f"I3 job {job}: the event beside {output['key']} is {beside.get('id')}, not {outcome['id']}"
            except (StyleQueueError, ValueError) as error:
                yield f"I3 job {job}: the event beside its picture: {error}"
            if not data.get("partial"):  # how far those are is chance
                pictures[data["fingerprint"]].add(output["sha256"])
                if not data.get("reused"):
                    painters[data["fingerprint"]].append(job)
    for fingerprint, different in pictures.items():
        if len(different) > 1:
            yield f"I2 fingerprint {fingerprint} has {len(different)} different pictures"
    for fingerprint, several in painters.items():
        if len(several) > 1:
            yield f"I2 fingerprint {fingerprint} was painted by each of {several}"


def _read(queue: StyleQueue, directory: Path, bucket: str, key: str) -> bytes:
    path = directory / "object"
    queue._store.download(bucket, key, path)
    return path.read_bytes()


def _events(evidence: Evidence) -> Iterator[str]:
    """I3."""
    for job in evidence.jobs:
        outcome = evidence.outcome(job)
        ends: dict[int, set[str]] = defaultdict(set)
        for where, events in (("its own", evidence.told[job]), ("the deployment's", evidence.told_all[job])):
            terminal = [event for event in events if _end(event)]
            if outcome and outcome not in terminal:
                yield f"I3 job {job}: its terminal event is not on {where} stream"
            for event in terminal:
                ends[event["data"]["run"]].add(event["id"])
        if outcome:
            ends[outcome["data"]["run"]].add(outcome["id"])
        for run, ids in ends.items():
            if len(ids) > 1:
                yield f"I3 job {job}: run {run} has terminal events of different ids, {sorted(ids)}"


def _keys(evidence: Evidence) -> Iterator[str]:
    """I4."""
    yield from _lasting_keys(evidence.redis, evidence.queue.settings, evidence.keys)


def _lasting_keys(redis: Any, settings: Settings, ttl_s: Mapping[str, int]) -> Iterator[str]:
    for key, left_s in ttl_s.items():
        if not _matches(key, (*BROKERS_OWN, RESULTS, "stylequeue:*")):
            yield f"I4 key {key} is neither ours nor the broker's"
        elif left_s == -1 and not _matches(key, BROKERS_OWN):
            family = next((family for family in LASTING if _matches(key, [family.pattern])), None)
            if family is None:
                yield f"I4 key {key} has no TTL"
            else:
                yield from (f"I4 key {key} ({family.why}) {fault}" for fault in family.faults(redis, key, settings))


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def _broker_left(queue: StyleQueue, timeout_s: float) -> Iterator[str]:
    """I5."""
    redis: Any = queue._ledger.redis
    lists = [key for name in QUEUES for key in (name, *(f"{name}\x06\x16{priority}" for priority in range(10)))]

    def left() -> list[str]:
        unacked = [f"{redis.hlen('unacked')} unacknowledged"] if redis.exists("unacked", "unacked_index") else []
        lengths = zip(lists, _ask(redis, [("llen", key) for key in lists]), strict=True)
        return unacked + [f"{length} on list {key}" for key, length in lengths if length]

    try:
        wait_for(lambda: not left(), timeout_s, "an empty broker")
    except AssertionError as error:
        yield f"I5 {error}: {', '.join(left())}"


def _attempts(evidence: Evidence) -> Iterator[str]:
    """I6."""
    limit = evidence.queue.settings.max_attempts
    for job in evidence.jobs:
        record = evidence.records[job]
        charged = int(record.get("attempt", 0)) - int(record.get("spared", 0))
        if charged > limit:
            yield f"I6 job {job} had {charged} attempts, {limit} are allowed"
        started: dict[int, set[int]] = defaultdict(set)
        for event in evidence.told_all[job]:
            if event["type"] == "io.stylequeue.job.started.v1":
                started[event["data"]["run"]].add(event["data"]["attempt"])
        told, recorded = started[int(record.get("run", 0))], int(record.get("attempt", 0))
        if told != set(range(1, recorded + 1)):
            yield f"I6 job {job} had {recorded} attempts, the deployment was told of {sorted(told)}"


def _sequences(evidence: Evidence) -> Iterator[str]:
    """I7."""
    for job in evidence.jobs:
        own = [int(event["sequence"]) for event in evidence.told[job]]
        if any(after <= before for before, after in pairwise(own)):
            yield f"I7 job {job}: the sequence on its stream does not grow: {own}"
        told = [int(event["sequence"]) for event in evidence.told_all[job]]
        if told != sorted(told):
            yield f"I7 job {job}: the sequence on the deployment's stream goes back: {told}"
        last = int(evidence.records[job].get("sequence", 0))
        if own and own[-1] != last:
            yield f"I7 job {job}: its record is at {last}, its last event at {own[-1]}"
