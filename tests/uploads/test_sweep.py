"""What nobody told of is found by looking: each once, by the same ids, and nothing that lay there before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import ExitCode, InvalidSettings
from stylequeue.contract.uploads import ListedUpload, UploadListing
from stylequeue.gateway.listening import create_listener
from stylequeue.ledger import names
from stylequeue.local import environment
from stylequeue.operator_file import Operator
from stylequeue.settings import Settings
from stylequeue.store.incoming import Incoming
from stylequeue.uploads import sweep
from stylequeue.uploads.doctor import examine
from stylequeue.uploads.intake import Intake
from stylequeue.uploads.notices import Notice
from stylequeue.uploads.patience import Patience
from stylequeue.uploads.sweep import Sweep
from tests.support.command import Command
from tests.support.listening import ODD_KEYS, Lock, keys, listening, operated, until

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
OVERLAP_S = 3600
WEEK_S = 7 * 24 * 3600
STUCK = ("in/1-stuck.jpg", "in/2-stuck.jpg")
"""Which nobody may read, for now."""


@pytest.fixture
def listener(settings: Settings, tmp_path: Path) -> Settings:
    return operated(settings, tmp_path, "")


def swept(
    settings: Settings, notices: tuple[Notice, ...] = (), meanwhile: Callable[[asyncio.Event], None] | None = None
) -> int:
    """Take in what was told, sweep once, and say how many were found; `meanwhile` may have it told to stop."""

    async def run() -> int:
        stopping = asyncio.Event()
        if meanwhile:
            meanwhile(stopping)
        async with AsyncStyleQueue(settings) as queue:
            intake = Intake(queue)
            await intake.take(notices)
            one = Sweep("sweep", "uploads", "in/", every_s=60, overlap_s=OVERLAP_S)
            return await one.round(intake, Patience(stopping))

    return asyncio.run(run())


class Bucket:
    """One whose clock stands where it is put."""

    def __init__(self) -> None:
        self.now = NOW
        self._lies: dict[str, ListedUpload] = {}
        self.lists = 0

    def put(self, *all_of_them: str) -> None:
        for key in all_of_them:
            # As of one that a list knows no ETag of, so that it is looked at.
            etag = "" if key in STUCK else f'"{key.encode().hex()[:32]}-{self.now.timestamp():.0f}"'
            self._lies[key] = ListedUpload(bucket="uploads", key=key, etag=etag, size_bytes=9, written_at=self.now)

    def told(self, *all_of_them: str) -> tuple[Notice, ...]:
        there = [self._lies[key] for key in all_of_them]
        return tuple(Notice("webhook", one.bucket, one.key, etag=one.etag, size_bytes=9) for one in there)

    def listing(self, _: str, prefix: str, *, after: str | None, by_version: bool) -> UploadListing:
        assert not by_version
        self.lists += 1
        behind = sorted(key for key in self._lies if key.startswith(prefix) and key > (after or ""))
        uploads = [self._lies[key] for key in behind[:2]]
        return UploadListing(uploads=uploads, after=behind[1] if len(behind) > 2 else None, listed_at=self.now)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket()
    monkeypatch.setattr(Incoming, "list", lambda _, *args, **how: bucket.listing(*args, **how))
    return bucket


def test_an_hour_of_which_nobody_told(listener: Settings, bucket: Bucket) -> None:
    bucket.put("in/before.jpg")
    bucket.now += timedelta(minutes=1)
    with StyleQueue(listener) as queue:
        assert swept(listener) == 0, "what lay there before is no upload of ours"
        for minute in range(60):
            bucket.now += timedelta(minutes=1)
            bucket.put(f"in/{minute}.jpg")
        bucket.put("elsewhere/x.jpg")
        told = bucket.told("in/7.jpg", "in/59.jpg")
        assert swept(listener, told) == 58
        assert keys(queue) == sorted(f"in/{minute}.jpg" for minute in range(60))
        assert swept(listener) == 0
        bucket.now += timedelta(days=1)
        bucket.put("in/7.jpg")
        assert swept(listener) == 1, "other bytes under the same key"
        outcomes = queue.upload_counts()["sweep"].outcomes
        assert outcomes["recorded"] == 59


def test_an_upload_that_shows_late_is_found_in_the_overlap(listener: Settings, bucket: Bucket) -> None:
    """One in parts has the moment at which it was begun."""
    swept(listener)
    began = bucket.now = NOW + timedelta(hours=5)
    swept(listener)
    bucket.now = began + timedelta(minutes=1)
    swept(listener)
    bucket.now = began
    bucket.put("in/parts.jpg")
    bucket.now = began - timedelta(seconds=OVERLAP_S + 60)
    bucket.put("in/too-old.jpg")
    bucket.now = began + timedelta(minutes=2)
    with StyleQueue(listener) as queue:
        assert swept(listener) == 1
        assert keys(queue) == ["in/parts.jpg"]


def test_a_sweep_that_is_broken_off_begins_anew(
    listener: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept(listener)
    bucket.now += timedelta(minutes=1)
    bucket.put(*(f"in/{number}.jpg" for number in range(5)))
    whole = bucket.listing

    def torn(*args: Any, **how: Any) -> UploadListing:
        if how["after"]:
            raise RuntimeError("broken off")
        return whole(*args, **how)

    with StyleQueue(listener) as queue:
        with monkeypatch.context() as patched:
            patched.setattr(bucket, "listing", torn)
            with pytest.raises(RuntimeError, match="broken off"):
                swept(listener)
        bucket.now += timedelta(hours=2 * OVERLAP_S // 3600)
        assert swept(listener) == 3
        assert keys(queue) == [f"in/{number}.jpg" for number in range(5)]


def test_one_that_stays_where_it_is_holds_up_no_other_and_is_looked_at_again(
    listener: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Lock(monkeypatch)
    swept(listener)
    bucket.now += timedelta(minutes=1)
    bucket.put(*STUCK, "in/3.jpg", "in/4.jpg")
    with StyleQueue(listener) as queue:
        assert swept(listener) == 2
        assert keys(queue) == ["in/3.jpg", "in/4.jpg"]
        bucket.now += timedelta(seconds=2 * OVERLAP_S)
        swept(listener)
        lock.is_open = True
        assert swept(listener) == 2, "they came before the overlap, and are not forgotten"
        bucket.now += timedelta(seconds=2 * OVERLAP_S)
        assert keys(queue) == sorted((*STUCK, "in/3.jpg", "in/4.jpg"))


def test_one_that_stays_for_longer_than_jobs_are_remembered_has_no_other_painted_again(
    listener: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Lock(monkeypatch)
    swept(listener)
    bucket.now += timedelta(minutes=1)
    bucket.put(STUCK[0], "in/3.jpg")
    with StyleQueue(listener) as queue:
        assert swept(listener) == 1
        bucket.now += timedelta(seconds=listener.record_ttl_s)
        bucket.put("in/newer.jpg", STUCK[1])
        assert swept(listener) == 1
        bucket.now += timedelta(seconds=60)
        redis: Any = queue._ledger.redis
        position = names.position_key("sweep:uploads/in/")
        told = redis.get(position)
        redis.flushdb()  # all jobs are forgotten
        redis.set(position, told, ex=WEEK_S)
        lock.is_open = True
        assert swept(listener) == 2
        assert keys(queue) == [STUCK[1], "in/newer.jpg"]


def test_a_full_queue_ends_no_sweep_early(listener: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "_ROUNDS", 2)
    full = listener.model_copy(update={"max_open_jobs": 1})
    swept(full)
    bucket.now += timedelta(minutes=1)
    bucket.put(*(f"in/{number}.jpg" for number in range(5)))
    bucket.lists = 0
    with StyleQueue(listener) as queue:
        assert swept(full) == 1
        assert bucket.lists == 3, "all of its pages"
        bucket.now += timedelta(seconds=2 * OVERLAP_S)
        assert swept(listener) == 4
        assert keys(queue) == [f"in/{number}.jpg" for number in range(5)]


def test_a_first_sweep_that_is_broken_off_keeps_when_it_began(
    listener: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bucket.listing

    def torn(*args: Any, **how: Any) -> UploadListing:
        if how["after"]:
            raise RuntimeError("broken off")
        return whole(*args, **how)

    bucket.put(*(f"in/{number}.jpg" for number in range(3)))
    with StyleQueue(listener) as queue:
        bucket.now += timedelta(minutes=1)
        with monkeypatch.context() as patched:
            patched.setattr(bucket, "listing", torn)
            with pytest.raises(RuntimeError, match="broken off"):
                swept(listener)
        bucket.now += timedelta(minutes=1)
        bucket.put("in/new.jpg")
        bucket.now += timedelta(minutes=1)
        assert swept(listener) == 1
        assert keys(queue) == ["in/new.jpg"]


def test_one_that_is_told_to_stop_asks_for_no_more_pages(
    listener: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(*(f"in/{number}.jpg" for number in range(9)))
    bucket.now += timedelta(minutes=1)
    whole = bucket.listing

    def stop_within(stopping: asyncio.Event) -> None:
        def listing(*args: Any, **how: Any) -> UploadListing:
            stopping.set()
            return whole(*args, **how)

        monkeypatch.setattr(bucket, "listing", listing)

    assert swept(listener, meanwhile=stop_within) == 0
    assert bucket.lists == 1


def test_two_listeners_sweep_as_often_as_one(
    listener: Settings, tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = [], Sweep._state

    async def seen(self: Sweep, queue: AsyncStyleQueue) -> Any:
        looks.append(await look(self, queue))
        return looks[-1]

    monkeypatch.setattr(Sweep, "_state", seen)
    both = operated(listener, tmp_path, '[source.swept]\nsweep = "s3://uploads/in/"\nevery_s = 600\n')
    with StyleQueue(listener) as queue, listening(both):
        until(lambda: ended(queue.upload_position("sweep:uploads/in/")), "the first sweep")
        before = len(looks)
        with listening(both):
            until(lambda: len(looks) > before, "the other one looks whether it is due")
        assert bucket.lists == 1


def test_a_sweep_that_looks_back_further_than_jobs_are_remembered_is_refused(
    listener: Settings, tmp_path: Path
) -> None:
    table = '[source.swept]\nsweep = "s3://uploads/in/"\nevery_s = 3600\noverlap_s = {}\n'
    for overlap_s, is_refused in ((listener.record_ttl_s - 3600, True), (listener.record_ttl_s - 3601, False)):
        settings = operated(listener, tmp_path, table.format(overlap_s))
        said = "source.swept.overlap_s: with every_s it is not less than STYLEQUEUE_RECORD_TTL_S, 604800"
        with pytest.raises(InvalidSettings, match=said) if is_refused else nullcontext():
            create_listener(settings)
        checked = Command(environment(settings))("rules", "check", exit_code=ExitCode.BAD_INPUT if is_refused else 0)
        assert (said in checked.stderr) == is_refused
        found = {finding.what: finding.state for finding in examine(settings, wait_s=1)}
        assert found["sources"] == ("bad" if is_refused else "ok")


def ended(position: str | None) -> bool:
    return position is not None and json.loads(position)["at_s"] > 0


@pytest.fixture
def put(listener: Settings) -> Iterator[Callable[..., None]]:
    with StyleQueue(listener) as queue:
        s3, there = queue._store._client, []

        def put(*all_of_them: str) -> None:
            for key in all_of_them:
                s3.put_object(Bucket="uploads", Key=key, Body=key.encode())
                there.append(key)

        yield put
        for key in there:
            s3.delete_object(Bucket="uploads", Key=key)


def test_in_a_real_store(listener: Settings, tmp_path: Path, put: Callable[..., None]) -> None:
    swept_often = operated(listener, tmp_path, '[source.swept]\nsweep = "s3://uploads/in/"\nevery_s = 1\n')
    wanted = sorted(ODD_KEYS)
    with StyleQueue(listener) as queue, listening(swept_often):
        until(lambda: queue.upload_position("sweep:uploads/in/"), "the first sweep")
        put(*wanted)
        until(lambda: keys(queue) == wanted, f"all of {wanted}")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "a source is a webhook, which has tokens; or one of sqs, redis_list and sweep"),
        ('sqs = "https://x/1/q"\nsweep = "s3://uploads/"', "a source is a webhook"),
        ('sweep = "uploads/in/"', "is not s3://bucket/"),
        ('sweep = "s3://uploads"', "is not s3://bucket/"),
        ('sqs = "https://x/1/q"\nevery_s = 10', "every_s: only a source with sweep has it"),
        ('redis_list = "l"\nregion = "eu-west-1"', "region: only a source with sqs has it"),
        ('redis_list = "l"\nredis_url = "http://x"', "begins with none of redis://"),
        ('sqs = "sqs.eu-west-1.amazonaws.com"', "sqs"),
        ('sweep = "s3://uploads/"\noverlap_s = 1', "overlap_s"),
    ],
)
def test_sources_that_cannot_be(table: str, said: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        Operator.parse(f"[source.x]\n{table}\n", name="operator.toml")
    assert said in caught.value.message
    assert "line 1" in caught.value.message or "line 2" in caught.value.message or "line 3" in caught.value.message
