"""Telling of a job's end, where the store has changed, or says no."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.events import StoredPicture, SucceededData
from stylequeue.contract.job import Job
from stylequeue.contract.objects import checkpoint_key, event_key
from stylequeue.contract.recipe import resolve
from stylequeue.keeper import Keeper
from stylequeue.ledger.names import UNTOLD_KEY
from stylequeue.settings import Settings
from stylequeue.store import Origin
from tests.support.jobs import NO_REPORT, make_job
from tests.support.odd_s3 import OddS3, refuse
from tests.support.roles import as_role

KEY = "out.jpg"
BESIDE = f"/results/{event_key(KEY)}"


class House:
    """A keeper of jobs that ended while nobody told of it, and the store in which their pictures lie."""

    def __init__(self, settings: Settings, s3: OddS3) -> None:
        self.s3 = s3
        self.queue = StyleQueue(as_role(settings, "producer"))
        self.keeper = Keeper(as_role(settings, "keeper"))

    def painted(self, body: bytes, **fields: object) -> Job:
        """As a worker paints a job over what lies there, and dies before it tells."""
        job = make_job(output={"bucket": "results", "key": KEY, "overwrite": True}, **fields)
        ledger = self.queue._ledger
        ledger.accept([job])
        record = ledger.claim(job, task_id=job.id, worker="tester").record
        picture = StoredPicture(
            bucket="results",
            key=KEY,
            etag=self.s3.lay(f"/results/{KEY}", body),
            sha256="",
            width_px=1,
            height_px=1,
            size_bytes=len(body),
            content_type="image/jpeg",
        )
        data = SucceededData(
            output=picture, fingerprint=job.id, recipe=resolve(job.recipe), engine_version="1", report=NO_REPORT
        )
        ledger.finish(job.id, fence=record.fence, data=data)
        # Long ago: its worker has had its time to tell.
        ledger.redis.zadd(UNTOLD_KEY, {job.id: 0})
        return job

    def leave_work(self, job: Job) -> None:
        """As an attempt does."""
        origin = Origin(job.id, job.id)
        how: Any = {"origin": origin, "content_type": "application/octet-stream"}
        self.queue._store.put_work(checkpoint_key(job.id), b"checkpoint", **how)

    def beside(self) -> bytes | None:
        """What lies beside the picture."""
        return self.s3.objects[BESIDE][0] if BESIDE in self.s3.objects else None

    def event(self, job: Job) -> bytes:
        return self.queue._ledger.outcome(job.id).encode()

    def untold(self) -> set[str]:
        return set(self.queue._ledger.redis.zrange(UNTOLD_KEY, 0, -1))  # type: ignore[arg-type]


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    with OddS3() as s3:
        there = s3.settings(redis_url=settings.redis_url.get_secret_value(), s3_attempts=1)
        house = House(there, s3)
        with house.queue:
            yield house


def test_the_event_lies_beside_its_picture(house: House) -> None:
    job = house.painted(b"picture")
    house.keeper.round()
    assert house.beside() == house.event(job)
    assert house.untold() == set()


def test_told_late_it_does_not_lie_beside_anothers(house: House) -> None:
    early = house.painted(b"the first")
    late = house.painted(b"painted over it")
    for _ in range(2):
        house.keeper.round()
        assert house.beside() == house.event(late)
    assert early.id not in house.untold()


def test_nor_takes_the_place_of_anothers(house: House) -> None:
    early = house.painted(b"the first")
    house.s3.lay(f"/results/{KEY}", b"somebody else's")
    house.s3.lay(BESIDE, b"what belongs to that")
    house.keeper.round()
    assert house.beside() == b"what belongs to that"
    assert early.id not in house.untold()


def test_where_no_picture_lies_any_more_nothing_is_put(house: House) -> None:
    house.painted(b"picture")
    del house.s3.objects[f"/results/{KEY}"]
    house.keeper.round()
    assert house.beside() is None
    assert house.untold() == set()


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (404, "NoSuchBucket"), (400, "KeyTooLongError")])
def test_a_work_bucket_that_cannot_be_cleared_is_called_that(
    house: House, caplog: pytest.LogCaptureFixture, status: int, code: str
) -> None:
    job = house.painted(b"picture")
    house.leave_work(job)
    house.s3.oddities = [refuse("DELETE /work", status, code)]
    with caplog.at_level(logging.WARNING):
        house.keeper.round()
    assert house.beside() == house.event(job)
    assert house.untold() == set(), "no second try would change it"
    assert "in the work bucket stays there" in caplog.text
    assert "beside its picture" not in caplog.text


def test_a_work_bucket_that_is_away_is_cleared_later(house: House) -> None:
    job = house.painted(b"picture")
    house.leave_work(job)
    house.s3.oddities = [refuse("DELETE /work", 503, "SlowDown")]
    house.keeper.round()
    assert house.untold() == {job.id}
    house.s3.oddities = []
    house.keeper.round()
    assert house.untold() == set()
    assert set(house.s3.objects) == {f"/results/{KEY}", BESIDE}


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (400, "ExpiredToken"), (503, "SlowDown")])
def test_where_the_keeper_may_not_write_it_is_told_later(house: House, status: int, code: str) -> None:
    """By this one once it may, or by another."""
    job = house.painted(b"picture")
    house.s3.oddities = [refuse("PUT", status, code)]
    house.keeper.round()
    assert house.untold() == {job.id}
    house.s3.oddities = []
    house.keeper.round()
    assert house.beside() == house.event(job)
    assert house.untold() == set()


def test_what_nobody_can_ever_store_is_given_up(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.painted(b"picture")
    house.s3.oddities = [refuse("PUT", 400, "KeyTooLongError")]
    house.keeper.round()
    assert house.untold() == set()
    assert "the event beside its picture cannot be stored" in caplog.text
