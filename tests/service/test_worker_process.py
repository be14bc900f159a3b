"""The worker's processes and what they log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Code
from stylequeue.contract.objects import ImageRef
from stylequeue.local import Process, Stack
from tests.service.conftest import WAIT_S, assert_fails, make
from tests.support.processes import arguments_below, logged, wait_for


def test_the_parent_never_loads_tensorflow(service: StyleQueue, real_worker: Process) -> None:
    def maps(pid: int) -> str:
        return Path(f"/proc/{pid}/maps").read_text()

    parent = real_worker.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    assert "tensorflow" not in maps(parent)
    assert any("tensorflow" in maps(int(child)) for child in children)


def test_every_log_line_about_a_job_names_it(service: StyleQueue, real_worker: Process) -> None:
    job = make(ImageRef(bucket="uploads", key="nowhere.jpg"))
    assert_fails(service, job, Code.OBJECT_NOT_FOUND)

    def said() -> list[dict[str, Any]]:
        return [line for line in logged(real_worker) if line["logger"] == "stylequeue_worker.work.stylist"]

    def has_ended() -> bool:
        return any(line["job"] == job.id and line["message"].startswith("ended") for line in said())

    wait_for(has_ended, WAIT_S, "its end to be logged")
    about_it = [line for line in said() if line["job"] == job.id]
    assert any("object_not_found" in line["message"] for line in about_it)
    for line in about_it:
        assert (line["run"], line["attempt"], line["fence"], line["worker"]) == (1, 1, 1, about_it[0]["worker"])
    assert all(line["job"] for line in said())


def test_no_secret_is_in_the_log(service: StyleQueue, stack: Stack, real_worker: Process) -> None:
    log = real_worker.log_text()
    settings = stack.settings
    assert settings.s3_secret_key is not None
    assert settings.s3_secret_key.get_secret_value() not in log
    password = settings.redis_url.get_secret_value().split("@")[0].split(":")[-1]
    assert password
    assert password not in log


def test_no_secret_is_among_the_arguments_of_any_process(service: StyleQueue, stack: Stack) -> None:
    """All users of a machine may read those: of servers and their guards, of a worker and its child."""
    secrets = (stack.valkey.password, stack.seaweedfs.access_key, stack.seaweedfs.secret_key)
    lines = arguments_below(os.getpid())
    assert any("stylequeue_worker" in line for line in lines)
    assert any("valkey-server" in line for line in lines)
    assert [line for line in lines if any(secret in line for secret in secrets)] == []
