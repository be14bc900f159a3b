"""Endpoints that a job names when it is submitted, with an event loop and without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import InvalidRequest, JobNotFound
from stylequeue.contract.job import Job
from stylequeue.settings import Settings
from tests.support.jobs import make_job

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

FILE = """
[endpoint.crm]
url = "https://crm.example/hook"
secrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"]
[endpoint.theirs]
url = "https://theirs.example/hook"
secrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"]
tenant = "acme"
"""
Submit = Callable[[Settings, Job, Sequence[str]], str]


def blocking(settings: Settings, job: Job, notify: Sequence[str]) -> str:
    with StyleQueue(settings) as queue:
        return queue.submit(job, notify=notify)


def awaited(settings: Settings, job: Job, notify: Sequence[str]) -> str:
    async def submit() -> str:
        async with AsyncStyleQueue(settings) as queue:
            return await queue.submit(job, notify=notify)

    return asyncio.run(submit())


@pytest.fixture(params=[blocking, awaited], ids=["blocking", "awaited"])
def submit(request: pytest.FixtureRequest) -> Submit:
    submit: Submit = request.param
    return submit


@pytest.fixture
def told(settings: Settings, tmp_path: Path) -> Settings:
    path = tmp_path / "operator.toml"
    path.write_text(FILE)
    return settings.model_copy(update={"operator_file": path})


def test_they_stand_on_the_record(told: Settings, queue: StyleQueue, submit: Submit) -> None:
    job = make_job()
    submit(told, job, ["crm"])
    status = queue.status(job.id)
    assert status.notify == ("crm",)
    assert status.job == job.model_dump(mode="json", exclude_none=True)


def test_one_that_there_is_not_is_refused_before_anything_is_recorded(
    told: Settings, queue: StyleQueue, submit: Submit
) -> None:
    job = make_job()
    for names in (["crm", "nobody"], ["theirs"], "crm"):
        with pytest.raises(InvalidRequest):
            submit(told, job, names)
    with pytest.raises(InvalidRequest):
        submit(queue.settings, job, ["crm"])
    with pytest.raises(JobNotFound):
        queue.status(job.id)


def test_a_tenant_names_its_own(told: Settings) -> None:
    with StyleQueue(told, tenant="acme") as theirs:
        jobs = [make_job(), make_job()]
        theirs.submit_many(jobs, notify=["theirs"])
        assert all(theirs.status(job.id).notify == ("theirs",) for job in jobs)
        refused: dict[str, Any] = {"notify": ["crm"]}
        with pytest.raises(InvalidRequest):
            theirs.submit(make_job(), **refused)
