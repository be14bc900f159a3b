"""What is refused as it is submitted, and what is sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.base import QUEUES
from stylequeue.contract.errors import (
    Code,
    InvalidJob,
    JobConflict,
    JobNotFound,
    JobsRefused,
    JobSucceeded,
    Permanent,
    QueueFull,
    StyleQueueError,
)
from stylequeue.contract.job import TASK_NAME, Job
from stylequeue.settings import Settings
from tests.support.by_hand import paint, tasks
from tests.support.clients import Client
from tests.support.jobs import job_fields, make_job
from tests.support.roles import everything

# Celery's own way to store results.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

FAR = timedelta(days=31)


def test_each_job_goes_to_its_own_queue(queue: StyleQueue) -> None:
    jobs = {name: make_job(queue=name) for name in QUEUES}
    queue.submit_many(jobs.values())
    for name, job in jobs.items():
        [message] = everything(queue.settings).lrange(name, 0, -1)
        assert json.loads(message)["headers"]["id"] == job.id


def test_what_became_of_each_is_told_in_order(client: Client, settings: Settings) -> None:
    with client(settings) as queue:
        known, late, new = make_job(), make_job(deadline=datetime.now(UTC) + FAR), make_job()
        assert queue.submit_each([]) == []
        assert [made.is_new for made in queue.submit_each([known])] == [True]
        other = make_job(id=known.id, labels={"other": "content"})
        made = queue.submit_each([late, other, new, known, new])
        assert [one.id for one in made] == [late.id, known.id, new.id, known.id, new.id]
        assert [one.is_new for one in made] == [False, False, True, False, False]
        assert [one.error and one.error.code for one in made] == [Code.INVALID_JOB, Code.JOB_CONFLICT, None, None, None]


def test_who_hands_in_the_same_often_need_not_have_it_sent_often(client: Client, settings: Settings) -> None:
    with client(settings) as queue:
        job = make_job()
        for again in (False, False, True):
            [made] = queue.submit_each([job], again=again)
            assert made.error is None
        assert tasks(queue) == [job.id, job.id], "the first, and the one that was to be sent again"


def test_a_tenants_job_has_a_cost_at_most(client: Client, settings: Settings, tmp_path: Path) -> None:
    """Of 1000 px, 50 steps on the whole come to some 54 megapixel-steps."""
    path = tmp_path / "operator.toml"
    path.write_text("[tenant.acme]\njob_megapixel_steps = 60\n")
    style = {"image": {"bucket": "styles", "key": "wave.jpg"}}

    def job(**fields: Any) -> Job:
        return make_job(recipe={"method": "optimize", "preset": "tf-tutorial", "size": 1000, "steps": 50}, **fields)

    with client(settings.model_copy(update={"operator_file": path})) as queue:
        acme = queue.for_tenant("acme")
        costly = job(styles=[style] * 2)
        with pytest.raises(Permanent, match="60") as caught:
            acme.submit(costly)
        assert caught.value.code == Code.JOB_TOO_COSTLY
        with pytest.raises(JobNotFound):
            queue.status(costly.id)
        assert tasks(queue) == []
        # Each stands alone; nobody's, and another tenant's, have no limit.
        made = acme.submit_each([costly, job(styles=[style])])
        assert [one.error and one.error.code for one in made] == [Code.JOB_TOO_COSTLY, None]
        assert queue.for_tenant("globex").submit(job(styles=[style] * 2))
        assert queue.submit(costly) == costly.id
        path.write_text("[tenant.acme]\njob_megapixel_steps = 200\n")
        assert acme.submit(job(styles=[style] * 2))


def test_each_refused_job_has_its_error(client: Client, settings: Settings) -> None:
    with client(settings.model_copy(update={"max_open_jobs": 2})) as queue:
        known, late, new, too_many = make_job(), make_job(deadline=datetime.now(UTC) + FAR), make_job(), make_job()
        queue.submit(known)
        other = make_job(id=known.id, labels={"other": "content"})
        with pytest.raises(JobsRefused) as caught:
            queue.submit_many([late, other, new, too_many])
        assert caught.value.code == Code.JOBS_REFUSED
        assert caught.value.message == f"3 jobs were refused, the first with: {caught.value.exceptions[0]}"
        assert {job_id: type(error) for job_id, error in caught.value.refused.items()} == {
            late.id: InvalidJob,
            other.id: JobConflict,
            too_many.id: QueueFull,
        }
        assert set(tasks(queue)) == {known.id, new.id}
        assert queue.status(new.id).state == "queued"
        with pytest.raises(JobNotFound):
            queue.status(late.id)
        full: list[BaseException] = []
        others: list[BaseException] = []
        try:
            queue.submit_many([late, other, too_many])
        except* QueueFull as group:
            full += group.exceptions
        except* StyleQueueError as group:
            others += group.exceptions
        assert ([type(error) for error in full], {type(error) for error in others}) == (
            [QueueFull],
            {InvalidJob, JobConflict},
        )


def test_one_job_that_is_refused_has_its_own_error(queue: StyleQueue) -> None:
    known = make_job()
    queue.submit(known)
    with pytest.raises(JobConflict):
        queue.submit(make_job(id=known.id, labels={"other": "content"}))


@pytest.mark.parametrize("job", [{}, job_fields(), None, "job", TASK_NAME])
def test_what_is_no_job_is_refused_before_anything_is_sent(queue: StyleQueue, job: Any) -> None:
    if not isinstance(job, dict):  # fields become one, of one job at a time
        with pytest.raises(InvalidJob, match="is no Job"):
            queue.submit(job)
    with pytest.raises(InvalidJob, match="is no Job"):
        queue.submit_many([make_job(), job])
    assert tasks(queue) == []


def test_a_deadline_too_far_ahead_is_refused(queue: StyleQueue) -> None:
    with pytest.raises(InvalidJob, match="deadline: more than 30 days ahead"):
        queue.submit(make_job(deadline=datetime.now(UTC) + FAR))
    at_most = make_job(deadline=datetime.now(UTC) + timedelta(days=30))
    assert queue.submit(at_most) == at_most.id


def test_a_job_that_succeeded_is_not_run_again(queue: StyleQueue) -> None:
    job = make_job()
    paint(queue, job)
    queue._app.backend.mark_as_done(job.id, "result")
    with pytest.raises(JobSucceeded, match="it cannot be run again") as caught:
        queue.retry(job.id)
    assert caught.value.code == "job_succeeded"
    assert queue._app.AsyncResult(job.id).get(timeout=1) == "result"


def test_a_producer_listens_to_nothing_that_it_sends(client: Client, settings: Settings) -> None:
    """Else it would hold more and more, as long as it runs."""
    with client(settings) as queue:

        def listeners() -> int:
            return len(everything(queue.settings).client_list(_type="pubsub"))

        before = listeners()
        queue.submit_many([make_job(), make_job()])
        assert listeners() == before
