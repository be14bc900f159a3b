"""The notifier is down: what was missed is found, and nothing is painted twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.contract.job import Job
from stylequeue.settings import Settings
from stylequeue.uploads.intake import Intake
from stylequeue.uploads.notices import Notice
from tests.support import pictures
from tests.support.deployment import Deployment
from tests.support.listening import jobs, listening, operated, until

FOLDER = "in-faults"
RULES = f"""
[[rule]]
name = "painted"
bucket = "uploads"
prefix = "{FOLDER}/"
styles = ["s3://uploads/{FOLDER}-style.jpg"]
recipe = {{method = "optimize", size = 64, steps = 2}}
queue = "paint"

[source.swept]
sweep = "s3://uploads/{FOLDER}/"
every_s = 1
"""


@pytest.fixture
def put(deployment: Deployment) -> Iterator[Any]:
    """Puts pictures into the store, each another; they are gone at the end."""
    s3, there = deployment.queue._store._client, []

    def put(key: str) -> str:
        there.append(key)
        etag = s3.put_object(Bucket="uploads", Key=key, Body=pictures.jpeg() + bytes([len(there)]))["ETag"]
        return str(etag)

    yield put
    for key in there:
        s3.delete_object(Bucket="uploads", Key=key)


def test_42_the_notifier_is_down(deployment: Deployment, tmp_path: Path, put: Any) -> None:
    """Some were told of before it went down, one is told of late: the sweep finds the others."""
    put(f"{FOLDER}-style.jpg")
    put(f"{FOLDER}/before.jpg")
    until(lambda: is_past(deployment), "the store's clock has gone on by a second")
    worker = deployment.start("one")
    settings = operated(deployment.settings, tmp_path, RULES, rules="")
    queue = deployment.queue
    with listening(settings):
        position = f"sweep:uploads/{FOLDER}/"
        until(lambda: queue.upload_position(position), "somebody sweeps")
        told = f"{FOLDER}/told.jpg"
        take(settings, told, put(told))
        etags = {f"{FOLDER}/{number}.jpg": put(f"{FOLDER}/{number}.jpg") for number in range(5)}
        until(lambda: len(jobs(queue)) == 6, "all of them are jobs")
        late = f"{FOLDER}/3.jpg"
        take(settings, late, etags[late])
        worker.wait_for_line("ready", 60)
        until(lambda: all(job.state == "succeeded" for job in jobs(queue)), "all are painted")
    found = [Job.model_validate(job.job) for job in jobs(queue)]
    assert sorted(job.content.key for job in found) == sorted([told, *etags])
    deployment.check(*found)


def is_past(deployment: Deployment) -> bool:
    """Whether what lies there came before what comes now, by the store's clock, which tells seconds."""
    listing = deployment.queue.list_uploads("uploads", f"{FOLDER}/")
    return all(one.written_at < listing.listed_at for one in listing.uploads)


def take(settings: Settings, key: str, etag: str) -> None:
    """As a webhook does."""

    async def run() -> None:
        async with AsyncStyleQueue(settings) as queue:
            await Intake(queue).take([Notice("webhook", "uploads", key, etag=etag, size_bytes=1000)])

    asyncio.run(run())
