"""What a copy of Redis gives back that was made while workers painted: no job is lost, none painted again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import JobNotFound
from stylequeue.contract.job import Job
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.support.deployment import HURRIED, UNLIMITED, WAIT_S, Deployment
from tests.support.processes import wait_for
from tests.support.redis_server import redis_server
from tests.support.roles import make_users

PASSWORD = "password"
APPENDING = ("appendonly yes", "maxmemory-policy noeviction")
Copy = Callable[[Any, Path, Path], tuple[str, ...]]
"""Copies a running server's data from a directory into another: with what a server is started there."""


def append_only_file(redis: Any, there: Path, here: Path) -> tuple[str, ...]:
    redis.config_set("auto-aof-rewrite-percentage", 0)
    wait_for(lambda: not redis.info("persistence")["aof_rewrite_in_progress"], WAIT_S, "no rewriting")
    shutil.copytree(there / "appendonlydir", here / "appendonlydir")
    return APPENDING


def snapshot(redis: Any, there: Path, here: Path) -> tuple[str, ...]:
    redis.bgsave()
    wait_for(lambda: not redis.info("persistence")["rdb_bgsave_in_progress"], WAIT_S, "the snapshot")
    shutil.copy(there / "dump.rdb", here)
    return ("appendonly no", "maxmemory-policy noeviction")


def at(stack: Stack, port: int) -> Settings:
    return stack.settings.model_copy(update={"redis_url": SecretStr(f"redis://{HOST}:{port}/0")})


def written_at(queue: StyleQueue, job: Job) -> datetime | None:
    """When the picture was stored that lies under the job's key."""
    there = queue._store.find(job.output.bucket, job.output_key)
    return there.written_at if there else None


@pytest.mark.slow
@pytest.mark.parametrize("copy", [append_only_file, snapshot])
def test_a_copy_is_restored(stack: Stack, tmp_path: Path, copy: Copy) -> None:
    data, backup = tmp_path / "redis", tmp_path / "backup"
    backup.mkdir()
    hurried = {**HURRIED, **UNLIMITED}
    with redis_server(*APPENDING, directory=data) as port, Deployment(stack, at(stack, port), **hurried) as before:
        queue = before.queue
        early, painting, waiting, after = jobs = [before.job(steps) for steps in (2, 300, 3, 4)]
        before.worker()
        queue.submit(early)
        queue.wait(early.id, timeout_s=WAIT_S)
        queue.submit(painting)
        before.until_painting(painting)
        queue.submit(waiting)
        with Redis(host=HOST, port=port) as redis:
            make_users(redis, PASSWORD)
        with Redis(host=HOST, port=port, username="backup", password=PASSWORD) as redis:
            lines = copy(redis, data, backup)
        queue.submit(after)
        for job in jobs:
            queue.wait(job.id, timeout_s=WAIT_S)
        stored = [written_at(queue, job) for job in jobs]
    with redis_server(*lines, directory=backup) as port, Deployment(stack, at(stack, port), **hurried) as restored:
        queue = restored.queue
        assert [queue.status(job.id).state for job in (early, painting, waiting)] == ["succeeded", "running", "queued"]
        with pytest.raises(JobNotFound):
            queue.status(after.id)
        restored.worker()
        queue.submit(after)  # as whoever handed it in does when it is told of no end
        assert [queue.wait(job.id, timeout_s=WAIT_S).output.key for job in jobs] == [job.output_key for job in jobs]
        assert [written_at(queue, job) for job in jobs] == stored, "a picture was painted once more"
        assert {status.id for status in queue.jobs()} == {job.id for job in jobs}
