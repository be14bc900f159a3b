"""A list in Redis that a store appends to: what is in it becomes jobs, and is removed when these are on record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
import redis

from stylequeue.client import StyleQueue
from stylequeue.local import Stack, environment
from stylequeue.settings import Settings
from stylequeue.uploads import redis_list
from tests.conftest import empty_database
from tests.support.listening import ODD_KEYS, Lock, jobs, keys, listening, operated, until
from tests.support.roles import as_role, let_at

KEY = "minio events"


@pytest.fixture
def listener(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(redis_list, "_LOOK_S", 0.1)
    let_at(settings, "listener", KEY)
    return operated(settings, tmp_path, f'[source.minio]\nredis_list = "{KEY}"\n')


def entry(key: str, etag: str = "e1") -> str:
    """As MinIO appends it, in the format `access`."""
    described = {"key": quote_plus(key), "size": 9, "eTag": etag, "userMetadata": {"content-type": "image/jpeg"}}
    record = {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "eventTime": "2026-11-26T09:00:00.000Z",
        "eventName": "s3:ObjectCreated:Put",
        "s3": {"bucket": {"name": "uploads"}, "object": described},
    }
    return json.dumps([{"Event": [record], "EventTime": "2026-11-26T09:00:00Z"}])


def in_redis(settings: Settings) -> Any:
    return redis.Redis.from_url(settings.redis_url.get_secret_value())


def test_what_is_in_it_becomes_jobs(listener: Settings) -> None:
    with StyleQueue(listener) as queue, in_redis(listener) as there:
        there.rpush(KEY, *map(entry, ODD_KEYS), b"\xff\xfe torn", entry(ODD_KEYS[0]))
        with listening(listener):
            until(lambda: not there.exists(KEY), "it is empty")
            there.rpush(KEY, entry("in/later.jpg"))
            until(lambda: "in/later.jpg" in keys(queue), "what comes later")
            until(lambda: not there.exists(KEY), "it is empty again")
        assert keys(queue) == sorted([*ODD_KEYS, "in/later.jpg"])
        [letter] = queue.dead_letters()
        assert (letter.kind, letter.queue, letter.message) == ("notification", "minio", "\\xff\\xfe torn")


def test_it_may_lie_in_another_redis(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    with empty_database(stack) as other:
        url = other.redis_url.get_secret_value()
        listener = operated(settings, tmp_path, f'[source.minio]\nredis_list = "{KEY}"\nredis_url = "{url}"\n')
        with in_redis(other) as there, StyleQueue(listener) as queue:
            there.rpush(KEY, entry("in/a.jpg"))
            with listening(listener):
                until(lambda: not there.exists(KEY), "it is empty")
            assert keys(queue) == ["in/a.jpg"]


def test_what_has_to_wait_stays(listener: Settings) -> None:
    full = listener.model_copy(update={"max_open_jobs": 1})
    with StyleQueue(full) as queue, in_redis(listener) as there:
        there.rpush(KEY, entry("in/a.jpg"), entry("in/b.jpg"))
        with listening(full):
            until(lambda: there.llen(KEY) == 1, "one is on record")
            assert there.lindex(KEY, 0) == entry("in/b.jpg").encode()
            queue.cancel(jobs(queue)[0].id)
            until(lambda: not there.exists(KEY), "so is the other")
        assert keys(queue) == ["in/a.jpg", "in/b.jpg"]


def test_what_has_to_wait_holds_up_no_other(listener: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Lock(monkeypatch)
    monkeypatch.setattr(redis_list, "_AT_ONCE", 2)
    stuck = ["in/stuck-0.jpg", "in/stuck-1.jpg", "in/stuck-2.jpg"]
    with StyleQueue(listener) as queue, in_redis(listener) as there:
        # Without an ETag it is looked at.
        there.rpush(KEY, *(entry(key, etag="") for key in stuck), entry("in/a.jpg"), entry("in/b.jpg"))
        with listening(listener):
            until(lambda: there.llen(KEY) == len(stuck), "those behind them are on record")
            assert keys(queue) == ["in/a.jpg", "in/b.jpg"]
            there.rpush(KEY, entry("in/c.jpg"))
            until(lambda: "in/c.jpg" in keys(queue), "what comes later")
            lock.is_open = True
            until(lambda: not there.exists(KEY), "they are taken in as well")
        assert keys(queue) == ["in/a.jpg", "in/b.jpg", "in/c.jpg", *stuck]


KILLED = """
import os, signal
from stylequeue.uploads.redis_list import RedisListSource
async def remove(*_): os.kill(os.getpid(), signal.SIGKILL)
RedisListSource._remove = remove
from stylequeue.settings import Settings
from tests.support.listening import listening
with listening(Settings.load()):
    signal.pause()
"""


@pytest.mark.slow
def test_one_that_is_killed_before_it_removes_them(listener: Settings) -> None:
    names = sorted(f"in/{number}.jpg" for number in range(250))
    with StyleQueue(listener) as queue, in_redis(listener) as there:
        there.rpush(KEY, *map(entry, names))
        env = {**os.environ, **environment(as_role(listener, "listener"))}
        killed = subprocess.run([sys.executable, "-c", KILLED], env=env, check=False, capture_output=True, timeout=120)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert there.llen(KEY) == len(names)
        known = len(keys(queue))
        assert known
        with listening(listener), listening(listener):
            until(lambda: not there.exists(KEY), "two of them empty it")
        assert keys(queue) == names
