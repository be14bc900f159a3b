"""What the client says of jobs and events."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import InvalidRequest
from stylequeue.contract.events import ProgressData
from stylequeue.contract.status import JobStatus, Page
from stylequeue.ledger import names
from stylequeue.settings import Settings
from tests.support.by_hand import paint
from tests.support.clients import Client
from tests.support.jobs import make_job
from tests.support.roles import everything

# Celery's own way to store results.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


def test_status_says_what_others_may_know(queue: StyleQueue) -> None:
    job = make_job(labels={"user": "42"})
    queue.submit(job)
    record = queue._ledger.claim(job, task_id=job.id, worker="tester").record
    queue._ledger.heartbeat(job.id, fence=record.fence, data=ProgressData(number=1, stage="painting", step=3))
    status = queue.status(job.id)
    assert (status.state, status.run, status.attempt, status.worker) == ("running", 1, 1, "tester")
    assert (status.queue, status.labels, status.ended) == ("paint", {"user": "42"}, False)
    assert status.job == json.loads(job.canonical_json())
    assert status.progress
    assert status.progress.data.step == 3
    assert not set(status.model_dump()) & {"fence", "token", "task_id", "lease_until", "fingerprint"}
    assert JobStatus.model_validate_json(status.model_dump_json()) == status


@pytest.mark.parametrize("indexed", [(), ("user",)])
def test_at_a_glance_one_sees_how_far_jobs_are(
    client: Client, settings: Settings, queue: StyleQueue, indexed: tuple[str, ...]
) -> None:
    jobs = [make_job(labels={"user": str(number)}) for number in range(3)]
    with client(settings.model_copy(update={"indexed_labels": indexed})) as asking:
        asking.submit_many(jobs[:2])
        asking.for_tenant("acme").submit(jobs[2])
        for job in jobs[1:]:
            fence = queue._ledger.claim(job, task_id=job.id, worker="w").record.fence
            for number in (1, 2):
                data = ProgressData(number=number, stage="painting")
                queue._ledger.heartbeat(job.id, fence=fence, data=data)
        waits, painted, acmes = asking.glances([job.id for job in jobs])
        assert (waits.id, waits.state, waits.sequence, waits.progress) == (jobs[0].id, "queued", 1, None)
        assert (painted.state, painted.sequence, painted.labels, painted.tenant) == ("running", 4, {"user": "1"}, None)
        assert painted.progress
        assert painted.progress.data.number == 2
        assert (acmes.tenant, painted.ended) == ("acme", False)
        assert asking.glances([jobs[1].id, "nobodys"]) == [painted]
        assert asking.glances([job.id for job in jobs], label={"user": "1"}) == [painted]
        # All that are painted.
        assert {one.id for one in asking.glances()} == {painted.id, acmes.id}
        assert asking.glances(label={"user": "1"}) == [painted]
        theirs = asking.for_tenant("acme")
        assert theirs.glances() == theirs.glances([job.id for job in jobs]) == [acmes]
        assert theirs.glances(label={"user": "1"}) == []
        # A record of before labels were a field of it.
        queue._ledger.redis.hdel(names.record_key(painted.id), "labels")
        assert asking.glances([painted.id]) == [painted]


def test_what_wait_returns_has_the_jobs_id(queue: StyleQueue) -> None:
    job = make_job()
    data = paint(queue, job)
    done = queue.wait(job.id, timeout_s=1)
    assert done.id == job.id
    assert done.output == data.output


def test_jobs_come_newest_first_in_pages(queue: StyleQueue) -> None:
    jobs = [make_job(labels={"number": str(number)}) for number in range(7)]
    assert queue.jobs() == []
    queue.submit_many(jobs)
    listed: list[str] = []
    page = Page[JobStatus]()
    sizes: list[int] = []
    while page.after or not sizes:
        page = queue.jobs(after=page.after, limit=3)
        sizes.append(len(page))
        listed += [status.labels["number"] for status in page]
    assert sizes == [3, 3, 1]
    # Those made in the same millisecond come in an order of their own, but each once.
    assert sorted(listed) == [str(number) for number in range(7)]
    created = [status.created_at for status in queue.jobs()]
    assert created == sorted(created, reverse=True)


def test_jobs_are_found_by_state_and_labels(queue: StyleQueue) -> None:
    def found(**asked: Any) -> list[str]:
        return [status.id for status in queue.jobs(**asked)]

    first, second, third = (make_job(labels={"user": user, "kind": "x"}) for user in ("a", "b", "a"))
    for job in (first, second, third):
        queue.submit(job)
        time.sleep(0.002)  # each in a millisecond of its own
    queue.cancel(first.id)
    assert found() == [third.id, second.id, first.id]
    assert found(state="queued") == [third.id, second.id]
    assert found(state="cancelled") == [first.id]
    assert found(state="failed") == []
    assert found(label={"user": "a"}) == [third.id, first.id]
    assert found(label={"user": "a", "kind": "x"}, state="queued") == [third.id]
    assert found(label={"user": "a", "kind": "y"}) == []
    page = queue.jobs(label={"user": "a"}, limit=1)
    assert ([status.id for status in page], found(label={"user": "a"}, after=page.after)) == ([third.id], [first.id])
    # What a page ended with may be deleted before the next one is asked for.
    page = queue.jobs(state="cancelled", limit=1)
    assert page.after is None
    page = queue.jobs(limit=2)
    queue.cancel(second.id)
    queue.delete(second.id)
    assert found(after=page.after) == [first.id]


def test_a_job_whose_record_has_expired_is_not_listed(queue: StyleQueue) -> None:
    gone, there = make_job(), make_job()
    queue.submit_many([gone, there])
    queue._ledger.redis.delete(names.record_key(gone.id))
    assert [status.id for status in queue.jobs()] == [there.id]
    everything(queue.settings).flushdb()


def test_more_jobs_than_are_read_at_once(queue: StyleQueue) -> None:
    queue._ledger.accept([make_job(labels={"number": str(number)}) for number in range(1200)])
    assert [status.labels["number"] for status in queue.jobs(label={"number": "0"})] == ["0"]
    page = queue.jobs(limit=1000)
    rest = queue.jobs(after=page.after, limit=1000)
    numbers = {status.labels["number"] for status in [*page, *rest]}
    assert (len(page), len(rest), len(numbers), rest.after) == (1000, 200, 1200, None)


@pytest.mark.parametrize(
    "asked", [{"limit": 0}, {"limit": 1001}, {"state": "lost"}, {"after": "x"}, {"after": ""}, {"after": "1-"}], ids=str
)
def test_what_cannot_be_listed_is_refused(queue: StyleQueue, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        queue.jobs(**asked)
    assert caught.value.hint


@pytest.mark.parametrize("after", ["$", "", "-", "+", "x", "1-x", "1-2-3", "9" * 30, "0; DROP", "²"])
def test_what_is_no_position_is_refused(queue: StyleQueue, after: str) -> None:
    with pytest.raises(InvalidRequest, match="is no position"):
        next(queue.events(after=after))


def test_events_from_now_on(queue: StyleQueue) -> None:
    assert queue.newest_position() == "0"
    before, since = make_job(), make_job()
    queue.submit(before)
    now = queue.newest_position()
    queue.submit(since)
    assert [event.subject for _, event in queue.events(after=now, follow=False)] == [since.id]
    assert [event.subject for _, event in queue.events(follow=False)] == [before.id, since.id]
