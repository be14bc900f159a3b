"""One tenant learns nothing of another's jobs, and changes none of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stylequeue.broker.messages import Message
from stylequeue.client import StyleQueue
from stylequeue.client_events import EventCalls
from stylequeue.contract.errors import InvalidRequest, JobConflict, JobFailed, JobNotFound, StyleQueueError
from stylequeue.contract.events import FailedData
from stylequeue.contract.job import Job
from stylequeue.contract.status import Page
from stylequeue.ledger import names
from stylequeue.settings import Settings
from stylequeue_worker.pictures.decoder import Decoder
from stylequeue_worker.work.maker import Waiting
from tests.support.clients import Client
from tests.support.jobs import make_job
from tests.support.ledger import FAILED, claim, limited
from tests.support.workshop import LedgerWorkshop, ledger_workshop


@pytest.fixture
def queue(client: Client, settings: Settings) -> Iterator[StyleQueue]:
    """The operator's: of no tenant."""
    with client(settings) as queue:
        yield queue


@pytest.fixture
def acme(queue: StyleQueue) -> StyleQueue:
    return queue.for_tenant("acme")


@pytest.fixture
def globex(queue: StyleQueue) -> StyleQueue:
    return queue.for_tenant("globex")


def fail(queue: StyleQueue, job: Job, data: FailedData = FAILED) -> None:
    """As a worker does."""
    queue._ledger.finish(job.id, fence=claim(queue._ledger, job).record.fence, data=data)


def bury(queue: StyleQueue, job: Job) -> None:
    """As is done with a job whose attempts are used up."""
    record = claim(queue._ledger, job).record
    with StyleQueue(queue.settings.model_copy(update={"max_attempts": 1})) as strict:
        assert strict._ledger.put_back(record, error="harm") == "failed"


def refused(call: Callable[[], object]) -> tuple[type, str, str]:
    with pytest.raises(StyleQueueError) as raised:
        call()
    return type(raised.value), raised.value.message, raised.value.hint


# What one may ask of another's job


def asked(queue: StyleQueue, job_id: str, tmp_path: Path) -> dict[str, Callable[[], object]]:
    """Whatever a client can be asked about a job."""
    return {
        "status": lambda: queue.status(job_id),
        "watch": lambda: next(queue.watch(job_id)),
        "wait": lambda: queue.wait(job_id, timeout_s=0.1),
        "download": lambda: queue.download(job_id, tmp_path / "picture.jpg"),
        "link": lambda: queue.link(job_id),
        "look": lambda: queue.look(job_id, "preview"),
        "cancel": lambda: queue.cancel(job_id),
        "keep": lambda: queue.cancel(job_id, keep=True),
        "retry": lambda: queue.retry(job_id),
        "delete": lambda: queue.delete(job_id),
        "dead_letter": lambda: queue.dead_letter(job_id),
        "replay": lambda: queue.replay(job_id),
        "drop": lambda: queue.drop(job_id),
    }


def test_all_that_names_a_job_is_tried() -> None:
    named = {
        name
        for name, method in {**vars(EventCalls), **vars(StyleQueue)}.items()
        if callable(method) and not name.startswith("_")
    }
    of_no_job = {"submit", "submit_many", "upload", "jobs", "dead_letters", "events", "newest_position", "close"}
    of_no_job |= {"for_tenant", "job", "workers", "groups", "readiness", "submit_each", "statuses", "take_turn"}
    of_no_job |= {"upload_stream", "upload_form", "discard", "read", "estimate", "glances", "shelf"}
    assert named - of_no_job <= asked(None, "", Path()).keys()  # type: ignore[arg-type]  # none is called


@pytest.mark.parametrize("end", [None, fail, bury])
def test_another_ones_job_is_as_one_that_is_not_there(
    queue: StyleQueue, acme: StyleQueue, globex: StyleQueue, tmp_path: Path, end: Callable[..., None] | None
) -> None:
    job = make_job(id="a-job-of-acme-")
    acme.submit(job)
    if end:
        end(queue, job)
    before = queue._ledger.record(job.id)
    nobodys = "a-job-of-nobody"
    assert len(nobodys) == len(job.id) + 1
    for name, call in asked(globex, job.id, tmp_path).items():
        of_none = refused(asked(globex, nobodys, tmp_path)[name])
        kind, message, hint = refused(call)
        assert (kind, message.replace(job.id, nobodys), hint) == of_none, name
        assert kind is JobNotFound, name
    assert queue._ledger.record(job.id) == before, "and nothing has become of it"
    assert acme.status(job.id).tenant == queue.status(job.id).tenant == "acme"


def test_of_its_own_a_tenant_is_told_all(queue: StyleQueue, acme: StyleQueue) -> None:
    job, lost, unwanted = make_job(), make_job(), make_job()
    acme.submit_many([job, lost, unwanted])
    fail(queue, job)
    bury(queue, lost)
    assert [event.kind for event in acme.watch(job.id)] == ["accepted", "started", "failed"]
    with pytest.raises(JobFailed):
        acme.wait(job.id)
    acme.retry(job.id)
    assert acme.dead_letter(lost.id).id == lost.id
    acme.drop(lost.id)
    assert acme.cancel(unwanted.id) == "cancelled"
    acme.delete(unwanted.id)
    assert [found.id for found in acme.jobs()] == [job.id]
    assert queue._ledger.redis.zrange(names.tenant_key("acme"), 0, -1) == [job.id]


# Lists and events


def ids(page: Page[Any]) -> list[str]:
    return [entry.id for entry in page]


def test_lists_tell_of_ones_own(queue: StyleQueue, acme: StyleQueue, globex: StyleQueue) -> None:
    job, other, nobodys = (make_job(id=name, labels={"by": name}) for name in ("acmes", "globexes", "nobodys"))
    for client, submitted in ((acme, job), (globex, other), (queue, nobodys)):
        client.submit(submitted)
    assert ids(acme.jobs()) == ids(acme.jobs(state="queued")) == ids(acme.jobs(label={"by": "acmes"})) == ["acmes"]
    assert ids(globex.jobs()) == ["globexes"]
    assert ids(acme.jobs(state="failed")) == ids(acme.jobs(label={"by": "globexes"})) == []
    assert sorted(ids(queue.jobs())) == ["acmes", "globexes", "nobodys"]
    for submitted in (job, other, nobodys):
        bury(queue, submitted)
    queue._ledger.bury(queue="paint", raw="no message", code="message_malformed", reason="none")
    assert ids(acme.dead_letters()) == ["acmes"]
    assert ids(globex.dead_letters()) == ["globexes"]
    assert len(queue.dead_letters()) == 4
    assert {event.subject for _, event in acme.events(follow=False)} == {"acmes"}
    assert {event.data.tenant for _, event in queue.events(follow=False)} == {"acme", "globex", None}


def test_pages_of_ones_own_among_many(queue: StyleQueue, acme: StyleQueue, globex: StyleQueue) -> None:
    for number in range(20):
        (acme if number % 4 == 0 else globex).submit(make_job(id=f"job-{number:02}"))
    found, page = [], acme.jobs(limit=2)
    while page:
        found += ids(page)
        page = acme.jobs(limit=2, after=page.after) if page.after else Page()
    assert sorted(found) == [f"job-{number:02}" for number in range(0, 20, 4)]


def test_listing_reads_no_other_ones_records(
    queue: StyleQueue, acme: StyleQueue, globex: StyleQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    globex.submit_many(make_job() for _ in range(50))
    mine = acme.submit(make_job())
    read: list[str] = []
    plain = names.KeyOfEach.__call__

    def key(of_each: names.KeyOfEach, which: str) -> str:
        read.append(which)
        return plain(of_each, which)

    monkeypatch.setattr(names.KeyOfEach, "__call__", key)
    assert ids(acme.jobs()) == [mine]
    assert read == ["acme", mine]


def test_the_list_forgets_what_the_ledger_forgets(settings: Settings) -> None:
    forgetful = limited(settings, record_ttl_s=0)
    for _ in range(3):
        job = make_job()
        forgetful.accept([job], tenant="acme")
        forgetful.finish(job.id, fence=claim(forgetful, job).record.fence, data=FAILED)
        forgetful.told(job.id)
    assert not forgetful.redis.exists(names.tenant_key("acme"), names.TENANTS_KEY)


# Whose job it is


def test_an_id_that_is_taken_says_nothing_of_its_job(queue: StyleQueue, acme: StyleQueue, globex: StyleQueue) -> None:
    job, other = make_job(id="taken"), make_job(id="taken", labels={"an": "other"})
    acme.submit(job)
    tried = [(globex, job), (globex, other), (queue, job), (queue, other), (acme, other)]
    said = {refused(partial(client.submit, sent)) for client, sent in tried}
    [(kind, message, _)] = said
    assert kind is JobConflict
    assert "acme" not in message
    acme.submit(job)
    acme.cancel(job.id)
    acme.delete(job.id)
    with pytest.raises(JobConflict):
        globex.submit(job)
    assert not globex.jobs()
    acme.submit(job)
    assert acme.status(job.id).run == 2


def test_an_id_of_nobodys_is_no_tenants(queue: StyleQueue, acme: StyleQueue) -> None:
    job = make_job()
    queue.submit(job)
    with pytest.raises(JobConflict):
        acme.submit(job)
    assert queue.status(job.id).tenant is None
    assert "tenant" not in json.loads(queue._ledger.redis.xrange(names.EVENTS_KEY)[0][1]["event"])["data"]  # type: ignore[index]


def test_plain_celery_takes_no_job_over(queue: StyleQueue, acme: StyleQueue) -> None:
    job, plain = make_job(), make_job()
    acme.submit(job)
    taken = queue._ledger.claim(job, task_id="another", worker="tester")
    assert (taken.verdict, taken.record.tenant) == ("yours", "acme")
    assert claim(queue._ledger, plain).record.tenant is None
    with pytest.raises(JobNotFound):
        acme.status(plain.id)


def test_garbage_under_the_id_of_a_deleted_job_opens_it_to_nobody(
    queue: StyleQueue, acme: StyleQueue, globex: StyleQueue
) -> None:
    job = make_job()
    acme.submit(job)
    acme.cancel(job.id)
    acme.delete(job.id)
    data = FailedData(code="invalid_job", message="no job")
    queue._ledger.refuse(job.id, queue="paint", message='{"args": [], "kwargs": {}}', data=data)
    with pytest.raises(JobNotFound):
        globex.status(job.id)
    with pytest.raises(JobConflict):
        globex.submit(job)
    acme.submit(job)
    assert queue.status(job.id).tenant == "acme"


def test_garbage_under_an_unused_id_keeps_no_tenant_from_it(queue: StyleQueue, acme: StyleQueue) -> None:
    job = make_job()
    data = FailedData(code="invalid_job", message="no job")
    queue._ledger.refuse(job.id, queue="paint", message='{"args": [], "kwargs": {}}', data=data)
    with pytest.raises(JobNotFound):
        acme.status(job.id)
    acme.submit(job)
    assert acme.status(job.id).state == "queued"


def test_workers_of_before_take_a_tenants_job(queue: StyleQueue, acme: StyleQueue) -> None:
    job = make_job()
    acme.submit(job)
    record: Any = queue._ledger.redis.hgetall(names.record_key(job.id))
    assert record["job"] == job.canonical_json()
    assert "acme" not in record["job"] + str(Message.of(job))


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", "ä", "a\n", "a\x1b", "a" * 65, "*", 'a"', None, 7])
def test_what_is_no_tenants_name(client: Client, queue: StyleQueue, name: Any) -> None:
    with pytest.raises(InvalidRequest, match="tenant"):
        queue.for_tenant(name)
    if name is not None:
        with pytest.raises(InvalidRequest, match="tenant"):
            client(queue.settings, tenant=name)


def test_a_bound_client_leaves_the_connections_to_the_one_it_came_from(client: Client, queue: StyleQueue) -> None:
    with queue.for_tenant("acme") as acme:
        job = acme.submit(make_job())
        assert acme._ledger is queue._ledger
    assert acme._ledger is queue._ledger
    assert acme.status(job).id == job
    with client(queue.settings, tenant="acme") as own:
        assert ids(own.jobs()) == [job]


# Pictures


@pytest.fixture
def workshop(settings: Settings, decoder: Decoder) -> Iterator[LedgerWorkshop]:
    with ledger_workshop(settings, decoder, "/uploads/content.jpg", "/uploads/style.jpg") as workshop:
        yield workshop


def the_same() -> Job:
    """A job, always of the same pictures and recipe."""
    return make_job(
        content={"bucket": "uploads", "key": "content.jpg"},
        styles=[{"image": {"bucket": "uploads", "key": "style.jpg"}}],
        recipe={"method": "optimize", "size": 64, "steps": 1},
    )


def test_pictures_are_reused_within_a_tenant(workshop: LedgerWorkshop) -> None:
    for tenant in (None, "acme", "globex"):
        first, second = (workshop.make(the_same(), tenant=tenant) for _ in range(2))
        assert (first.reused, second.reused) == (False, True), tenant


def test_only_ones_own_picture_is_waited_for(workshop: LedgerWorkshop) -> None:
    ledger = workshop.ledger
    first = the_same()
    # It has asked and paints now.
    name = workshop.maker.make(first, workshop.begin(first, tenant="acme")).fingerprint
    assert ledger.redis.get(names.painting_key(name)) == first.id
    second = the_same()
    holder = workshop.begin(second, tenant="acme")
    with pytest.raises(Waiting):
        workshop.maker.make(second, holder)
    for tenant in (None, "globex"):
        job = the_same()
        assert not workshop.maker.make(job, workshop.begin(job, tenant=tenant)).reused
        assert ledger.record(job.id).state == "running"
