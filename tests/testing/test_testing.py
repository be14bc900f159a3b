"""What `stylequeue.testing` gives to users' own tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stylequeue import (
    InvalidJob,
    JobCancelled,
    Started,
    Succeeded,
    read_event,
)
from stylequeue.contract.events import AnyEvent, event_id
from stylequeue.testing import JobEvents, Service, make_job
from tests.support.processes import wait_for

WAIT_S = 60


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(step_s=0.01) as service:
        yield service


def test_a_job_is_done_but_for_the_painting(service: Service, tmp_path: Path) -> None:
    job = make_job(content=service.photo, styles=[{"image": service.photo}], recipe={"method": "fast", "size": 64})
    done = service.queue.wait(service.queue.submit(job), timeout_s=WAIT_S)
    assert (done.output.width_px, done.output.height_px, done.report.network) == (64, 64, "stand-in")
    service.queue.download(done.output, tmp_path / "picture.jpg")
    assert (tmp_path / "picture.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


def test_a_job_takes_long_enough_to_be_cancelled(service: Service) -> None:
    recipe = {"method": "optimize", "size": 64, "steps": 10_000}
    job = make_job(content=service.photo, styles=[{"image": service.photo}], recipe=recipe)
    service.queue.submit(job)
    next(event for event in service.queue.watch(job.id, timeout_s=WAIT_S) if isinstance(event, Started))
    service.queue.cancel(job.id)
    with pytest.raises(JobCancelled):
        service.queue.wait(job.id, timeout_s=WAIT_S)


def test_a_recipe_of_no_steps(service: Service) -> None:
    recipe = {"method": "optimize", "size": 64, "strength": 0}
    job = make_job(content=service.photo, styles=[{"image": service.photo}], recipe=recipe)
    assert service.queue.wait(service.queue.submit(job), timeout_s=WAIT_S).report.steps == 0


def test_the_worker_needs_no_tensorflow(service: Service) -> None:
    registry = service.queue._ledger.registry
    wait_for(registry.workers, WAIT_S, "the worker to be on record")
    [worker] = registry.workers()
    assert (worker.tensorflow, worker.device) == ("", "no device")


def test_events_are_as_a_service_tells_them(service: Service) -> None:
    job = make_job(content=service.photo, styles=[{"image": service.photo}], recipe={"method": "fast", "size": 64})
    service.queue.submit(job)
    told = list(service.queue.watch(job.id, timeout_s=WAIT_S))
    events = JobEvents(job)
    made: list[AnyEvent] = [events.accepted(), events.started(), events.succeeded()]
    by_kind = {event.kind: event for event in told}
    for event in made:
        real = by_kind[event.kind]
        assert (event.id, event.source, event.subject, type(event)) == (real.id, real.source, real.subject, type(real))
        assert event.data.model_dump().keys() == real.data.model_dump().keys()
        assert (event.data.labels, event.data.run, event.data.attempt) == (
            real.data.labels,
            real.data.run,
            real.data.attempt,
        )


def test_events_follow_one_another() -> None:
    job = make_job(labels={"user": "42"}, output={"bucket": "results", "key": "a.png", "format": "png", "report": True})
    events = JobEvents(job)
    life: list[AnyEvent] = [
        events.accepted(),
        events.started(),
        events.progress(3, 10, losses={"style": 0.5}),
        events.progress(10, 10),
        events.failed("image_empty", "no bytes", "send a picture"),
        events.accepted(),
        events.cancelled(),
        events.accepted(),
        events.expired(),
        events.accepted(),
        events.started(),
        events.succeeded(),
    ]
    assert [event.kind for event in life if event.data.run == 1] == [
        "accepted",
        "started",
        "progress",
        "progress",
        "failed",
    ]
    assert [event.sequence for event in life] == [f"{number:010}" for number in range(1, len(life) + 1)]
    assert len({event.id for event in life}) == len(life)
    assert [event.data.run for event in life] == [1] * 5 + [2] * 2 + [3] * 2 + [4] * 3
    assert {tuple(event.data.labels.items()) for event in life} == {(("user", "42"),)}
    assert life[4].id == event_id(job_id=job.id, run=1, event_type="io.stylequeue.job.failed.v1")
    for event in life:
        assert read_event(event.model_dump_json()) == event
    last = life[-1]
    assert isinstance(last, Succeeded)
    assert (last.data.output.key, last.data.output.content_type, last.data.report_key) == (
        "a.png",
        "image/png",
        "a.png.report.png",
    )


def test_a_job_that_breaks_the_contract_is_refused() -> None:
    with pytest.raises(InvalidJob):
        make_job(recipe={"method": "optimize", "size": 0})


CONFTEST = 'pytest_plugins = ["stylequeue.testing"]\n'
TEST = """
from stylequeue import StyleQueue
from stylequeue.testing import make_job


def test_the_environment_leads_there(stylequeue_service):
    photo = stylequeue_service.photo
    with StyleQueue() as queue:
        job_id = queue.submit(make_job(content=photo, styles=[{"image": photo}], recipe={"method": "fast"}))
        assert queue.wait(job_id, timeout_s=60).id == job_id
"""


@pytest.mark.slow
def test_the_fixture_serves_a_users_own_tests(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_own.py").write_text(TEST)
    options = ["-q", "-W", "error", "-p", "no:valkey", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
