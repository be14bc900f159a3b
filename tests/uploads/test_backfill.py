"""What lay there before anybody listened becomes jobs, each object once, however often it is broken off."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import ExitCode
from stylequeue.ledger import names
from stylequeue.local import environment
from stylequeue.settings import Settings
from stylequeue.uploads.backfill import Backfill, Tally
from stylequeue.uploads.intake import Intake, Outcome
from stylequeue.uploads.notices import Notice
from tests.support.command import Command
from tests.support.listening import ODD_KEYS, Lock, keys, operated
from tests.support.many_objects import many_objects
from tests.support.roles import as_role

OBJECTS = int(os.environ.get("OBJECTS", 20_000))


@pytest.fixture
def listener(settings: Settings, tmp_path: Path) -> Settings:
    return operated(settings, tmp_path, "")


def backfill(settings: Settings, prefix: str = "in/", **how: Any) -> Tally:
    async def run() -> Tally:
        async with AsyncStyleQueue(settings) as queue:
            return await Backfill("uploads", prefix, **how).run(Intake(queue), asyncio.Event())

    return asyncio.run(run())


def take(settings: Settings, *notices: Notice) -> list[str]:
    async def run() -> list[str]:
        async with AsyncStyleQueue(settings) as queue:
            return [outcome.verdict for outcome in await Intake(queue).take(notices)]

    return asyncio.run(run())


@pytest.fixture
def put(listener: Settings, request: pytest.FixtureRequest) -> Any:
    """Puts objects into the real store, which are gone at the end."""
    with StyleQueue(listener) as queue:
        s3, there = queue._store._client, []

        def put(*all_of_them: str, body: bytes = b"a picture") -> None:
            for key in all_of_them:
                s3.put_object(Bucket="uploads", Key=key, Body=body + key.encode())
                there.append(key)

        yield put
        for key in there:
            s3.delete_object(Bucket="uploads", Key=key)


def test_what_lies_there_becomes_jobs_as_if_it_had_been_told_of(listener: Settings, put: Any) -> None:
    put(*ODD_KEYS, "in/empty.part", "elsewhere/b.jpg")
    with StyleQueue(listener) as queue:
        found = queue._store._client.list_objects_v2(Bucket="uploads", Prefix="in/a b")["Contents"][0]
        told = Notice("webhook", "uploads", found["Key"], etag=found["ETag"], size_bytes=found["Size"])
        assert take(listener, told) == ["recorded"]
        dry = backfill(listener, dry_run=True)
        assert (dry.came_to["recorded"], dry.came_to["refused"], dict(dry.by_rule)) == (6, 1, {"wave": 6})
        assert keys(queue) == ["in/a b.jpg"], "a dry run makes nothing"
        tally = backfill(listener)
        assert tally.came_to == Counter(known=1, recorded=5, refused=1, no_rule=0)
        assert tally.is_whole
        assert keys(queue) == sorted(ODD_KEYS)
        assert backfill(listener).came_to["known"] == 6
        assert backfill(listener, since=datetime.now(UTC) + timedelta(hours=1)).taken == 0


def test_a_limit_goes_on_where_it_was(listener: Settings, put: Any) -> None:
    put(*(f"in/{number}.jpg" for number in range(5)))
    with StyleQueue(listener) as queue:
        first = backfill(listener, limit=2)
        assert (first.taken, first.is_whole, keys(queue)) == (2, False, ["in/0.jpg", "in/1.jpg"])
        second = backfill(listener, limit=2)
        assert (second.resumed_behind, second.came_to["recorded"]) == ("in/1.jpg", 2)
        third = backfill(listener, anew=True)
        assert (third.resumed_behind, third.came_to["known"], third.came_to["recorded"]) == (None, 4, 1)
        assert third.is_whole
        assert backfill(listener).resumed_behind is None, "what is done is not gone on with"


def test_one_that_has_to_wait_holds_up_no_other(listener: Settings, put: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put("in/a.jpg", "in/b.jpg")
    both = ("uploads", "results")
    looked_at = listener.model_copy(update={"write_buckets": both})  # something of ours may lie there
    with StyleQueue(listener) as queue:
        with monkeypatch.context() as patched:
            Lock(patched)
            tally = backfill(looked_at)
        assert (tally.came_to["later"], tally.is_whole, keys(queue)) == (2, True, [])
        assert tally.waiting == ["s3://uploads/in/a.jpg", "s3://uploads/in/b.jpg"]
        again = backfill(looked_at)
        assert (again.came_to["recorded"], again.waiting) == (2, [])


def test_it_waits_for_room_in_a_full_queue(listener: Settings, put: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put("in/a.jpg", "in/b.jpg")
    whole = Intake.take
    with StyleQueue(listener) as queue:

        async def take(self: Intake, notices: Sequence[Notice]) -> list[Outcome]:
            outcomes = await whole(self, notices)
            for job in queue.jobs():
                queue.cancel(job.id)
            return outcomes

        monkeypatch.setattr(Intake, "take", take)
        tally = backfill(listener.model_copy(update={"max_open_jobs": 1}))
        assert (tally.came_to["recorded"], tally.came_to["later"], tally.waiting) == (2, 0, [])


def test_another_time_is_not_gone_on_with(listener: Settings, put: Any) -> None:
    put("in/a.jpg", "in/b.jpg")
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert not backfill(listener, limit=1).is_whole
    assert not backfill(listener, since=hour_ago, asked_since="1h", limit=1).is_whole
    nothing = backfill(listener, since=datetime.now(UTC) + timedelta(hours=1), asked_since="2031-01-01")
    assert (nothing.resumed_behind, nothing.taken) == (None, 0)
    same = backfill(listener, since=hour_ago + timedelta(seconds=9), asked_since="1h")
    assert (same.resumed_behind, same.came_to["recorded"], same.is_whole) == ("in/a.jpg", 1, True)


def test_versions_are_named_as_notices_name_them(listener: Settings) -> None:
    """In a bucket that keeps versions, also of what was put there before it did."""
    bucket = "versioned-uploads"
    with StyleQueue(listener) as queue:
        s3 = queue._store._client
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="in/old.jpg", Body=b"old")
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        first = s3.put_object(Bucket=bucket, Key="in/new.jpg", Body=b"1")["VersionId"]
        second = s3.put_object(Bucket=bucket, Key="in/new.jpg", Body=b"2")["VersionId"]
        s3.put_object(Bucket=bucket, Key="in/gone.jpg", Body=b"3")
        s3.delete_object(Bucket=bucket, Key="in/gone.jpg")
        assert queue.keeps_versions(bucket)
        assert not queue.keeps_versions("uploads")
        listed = {one.key: one.version_id for one in queue.list_uploads(bucket, "in/", by_version=True).uploads}
        assert listed == {"in/old.jpg": None, "in/new.jpg": second}
        assert first != second


def test_by_the_command(listener: Settings, put: Any) -> None:
    put("in/a.jpg", "in/b.jpg")
    command = Command(environment(listener))
    dry = command("rules", "backfill", "s3://uploads/in/", "--dry-run")
    assert "rule wave  2" in dry.stdout
    assert "no job was made" in dry.stderr
    first = command("rules", "backfill", "s3://uploads/in/", "--limit", "1", "--rate", "100")
    assert "recorded  1" in first.stdout
    assert "the same command goes on here" in first.stderr
    since = json.loads(command("rules", "backfill", "s3://uploads/in/", "--since", "1h", "--dry-run", "--json").stdout)
    assert (since["resumed_behind"], since["listed"]) == (None, 2)
    done = json.loads(command("rules", "backfill", "s3://uploads/in/", "--json").stdout)
    assert (done["resumed_behind"], done["came_to"]["recorded"], done["is_whole"]) == ("in/a.jpg", 1, True)
    for arguments in (["uploads/in/"], ["s3://uploads"], ["s3://uploads/", "--since", "soon"]):
        command("rules", "backfill", *arguments, exit_code=ExitCode.BAD_INPUT)


KILLED_AFTER = """
import os, signal, sys, asyncio
from stylequeue.aclient import AsyncStyleQueue
from stylequeue.settings import Settings
from stylequeue.uploads.backfill import Backfill
from stylequeue.uploads.intake import Intake
behind = int(sys.argv[1])
taken = 0
whole = Intake.take
async def take(self, notices):
    global taken
    outcomes = await whole(self, notices)
    taken += len(notices)
    if behind and taken >= behind:
        os.kill(os.getpid(), signal.SIGKILL)  # on record, and not noted how far it is
    return outcomes
Intake.take = take
async def run():
    async with AsyncStyleQueue(Settings.load()) as queue:
        tally = await Backfill("uploads", "in/").run(Intake(queue), asyncio.Event())
        print(tally.came_to["recorded"], tally.came_to["known"], tally.requests)
asyncio.run(run())
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_very_many_objects_and_two_kills(listener: Settings) -> None:
    wanted = [f"in/{number:07}.jpg" for number in range(OBJECTS)]
    with many_objects(wanted) as store:
        many = listener.model_copy(update={"s3_endpoint_url": store.url, "max_open_jobs": 2 * OBJECTS})
        env = {**os.environ, **environment(as_role(many, "listener"))}

        def run(killed_behind: int) -> subprocess.CompletedProcess[str]:
            line = [sys.executable, "-c", KILLED_AFTER, str(killed_behind)]
            return subprocess.run(line, env=env, capture_output=True, text=True, check=False)

        third = OBJECTS // 3
        assert run(third).returncode == -signal.SIGKILL
        assert run(third).returncode == -signal.SIGKILL
        done = run(0)
        assert done.returncode == 0, done.stderr
        with StyleQueue(many) as queue:
            redis: Any = queue._ledger.redis
            on_record = redis.zrange(names.CREATED_KEY, 0, -1)
            assert len(on_record) == OBJECTS
            jobs = (json.loads(redis.hget(names.record_key(job), "job")) for job in on_record)
            of_each = Counter(job["content"]["key"] for job in jobs)
            assert set(of_each) == set(wanted)
            assert set(of_each.values()) == {1}
            # Each kill has a page that is asked for once more.
            assert store.asked["list"] <= OBJECTS / 1000 + 2 * 2, store.asked
            assert store.asked["other"] == 0
            redis.flushdb()
