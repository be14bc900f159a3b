"""What older code left in Redis and in the store, and how it is put back there."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from pydantic import SecretStr
from redis import Redis

from stylequeue.contract.events import EVENT, AnyEvent
from stylequeue.contract.job import Job
from stylequeue.ledger import names
from stylequeue.settings import Settings

_MS = 1e12
"""Whatever number is over this is a moment in milliseconds (or began as one); counts and sequences are not."""
_SECONDS = 1e9
_TEXT_OR_BASE64 = str | dict[str, str]


@dataclass(frozen=True)
class Recording:
    """All of a deployment's Redis database and its objects, at one moment."""

    whole: dict[str, Any]

    @classmethod
    def read(cls, name: str) -> Recording:
        """The one of this name."""
        return cls(_read(name))

    @property
    def jobs(self) -> dict[str, str]:
        """Ids of the jobs, by what had become of each."""
        return dict(self.whole["jobs"])

    def fields(self, name: str) -> dict[str, str]:
        """A job's record, as it lay in Redis."""
        return dict(self._value(names.record_key(self.jobs[name])))

    def job(self, name: str) -> Job:
        """A job as it was submitted."""
        return Job.model_validate_json(self.fields(name)["job"])

    def events(self, name: str) -> list[AnyEvent]:
        """A job's events, the oldest first."""
        entries = self._value(names.events_key(self.jobs[name]))
        return [EVENT.validate_json(fields["event"]) for _, fields in entries]

    def deployment_events(self) -> list[AnyEvent]:
        """All jobs' lifecycle events, the oldest first."""
        return [EVENT.validate_json(fields["event"]) for _, fields in self._value(names.EVENTS_KEY)]

    def body(self, bucket: str, key: str) -> bytes:
        """The bytes of an object."""
        [digest] = [at["sha256"] for at in self.whole["objects"] if (at["bucket"], at["key"]) == (bucket, key)]
        return _bytes(self.whole["bodies"][digest])

    def load(self, settings: Settings, *, age_s: float = 0) -> None:
        """Put all of it where `settings` lead, as if it had been left there `age_s` ago. The database is empty."""
        later_ms = (time.time() - age_s) * 1000 - self.whole["recorded_ms"]
        with (
            Redis.from_url(settings.redis_url.get_secret_value()) as client,
            client.pipeline(transaction=True) as redis,
        ):
            for key, entry in self.whole["redis"].items():
                _put(redis, key, entry["type"], entry["value"], later_ms)
                if "ttl_ms" in entry:
                    redis.pexpire(key, int(entry["ttl_ms"] - age_s * 1000))
            redis.execute()
        self._load_objects(settings)

    def _load_objects(self, settings: Settings) -> None:
        where = settings.s3_endpoint_url, settings.s3_access_key, settings.s3_secret_key
        client = _client(*(part.get_secret_value() if isinstance(part, SecretStr) else part for part in where))
        wanted = {(at["bucket"], at["key"]) for at in self.whole["objects"]}
        there = {
            (bucket, found["Key"])
            for bucket in {settings.output_bucket, settings.work_bucket, *(bucket for bucket, _ in wanted)}
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for found in page.get("Contents", ())
        }
        # What another test made of these very jobs would be in the way.
        ours = (*self.jobs.values(), "recorded/")
        for bucket, key in there - wanted:
            if key.startswith(ours):
                client.delete_object(Bucket=bucket, Key=key)
        for at in self.whole["objects"]:
            client.put_object(
                Bucket=at["bucket"],
                Key=at["key"],
                Body=self.body(at["bucket"], at["key"]),
                ContentType=at["content_type"],
                Metadata=at["metadata"],
            )

    def _value(self, key: str) -> Any:
        return self.whole["redis"][key]["value"]


@cache
def _client(endpoint_url: str | None, access_key: str | None, secret_key: str | None) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )


@cache
def _read(name: str) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads((Path(__file__).parent / f"{name}.json").read_text())
    return whole


def _put(redis: Any, key: str, kind: str, value: Any, later_ms: float) -> None:
    match kind:
        case "string":
            redis.set(key, _bytes(value))
        case "hash":
            redis.hset(key, mapping={field: _moved(field, _bytes(text), later_ms) for field, text in value.items()})
        case "list":
            redis.rpush(key, *(_message_moved(_bytes(item), later_ms) for item in value))
        case "set":
            redis.sadd(key, *map(_bytes, value))
        case "zset":
            redis.zadd(key, {member: _score_moved(score, later_ms) for member, score in value.items()})
        case "stream":
            for position, fields in value:
                ms, _, number = position.partition("-")
                redis.xadd(key, fields, id=f"{_score_moved(int(ms), later_ms):.0f}-{number}")
        case _:
            raise ValueError(f"{key} is a {kind}")


def _bytes(value: _TEXT_OR_BASE64) -> bytes:
    return value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])


def _moved(field: str, text: bytes, later_ms: float) -> bytes:
    return str(round(int(text) + later_ms)).encode() if field.endswith("_ms") else _message_moved(text, later_ms)


def _score_moved(score: float, later_ms: float) -> float:
    if score > _MS:
        return score + later_ms
    return score + later_ms / 1000 if score > _SECONDS else score


def _message_moved(text: bytes, later_ms: float) -> bytes:
    """A message on a list, or as it lies unacknowledged, in whose headers a sender named moments."""
    try:
        whole = json.loads(text)
    except ValueError:
        return text
    message = whole[0] if isinstance(whole, list) and whole else whole
    headers = message.get("headers") if isinstance(message, dict) else None
    if not isinstance(headers, dict) or not (headers.get("eta") or headers.get("expires")):
        return text
    for name in ("eta", "expires"):
        if moment := headers.get(name):
            headers[name] = (datetime.fromisoformat(moment) + timedelta(milliseconds=later_ms)).isoformat()
    return json.dumps(whole).encode()
