"""A job with a scope reads and writes nothing beside it, whoever sends what under its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.base import Contract
from stylequeue.contract.errors import Code, InvalidJob, JobsRefused, Permanent
from stylequeue.contract.events import SucceededData
from stylequeue.contract.job import Job
from stylequeue.contract.objects import ImageRef
from stylequeue.contract.scope import Scope
from stylequeue.ledger import names
from stylequeue.settings import Settings
from stylequeue_worker.pictures.decoder import Decoder
from tests.support.jobs import make_job
from tests.support.ledger import claim
from tests.support.workshop import LedgerWorkshop, ledger_workshop

SCOPE = Scope(read=("uploads/{tenant}/*", "styles/*"), write=("results/{tenant}/*", "results/shared/*"))
OWN: dict[str, Any] = {
    "content": {"bucket": "uploads", "key": "acme/content.jpg"},
    "styles": [{"image": {"bucket": "styles", "key": "wave.jpg"}}],
    "output": {"bucket": "results", "key": "acme/out.jpg"},
}


def upload(key: str, **more: str) -> dict[str, str]:
    return {"bucket": "uploads", "key": key, **more}


def output(key: str, **more: Any) -> dict[str, Any]:
    return {"output": {"bucket": "results", "key": key, **more}}


OTHERS: list[dict[str, Any]] = [
    {"content": upload("globex/content.jpg")},
    {"content": upload("acme.jpg")},
    {"content": upload("acmes/content.jpg")},
    {"content": upload("ACME/content.jpg")},
    {"content": upload("acme%2fcontent.jpg")},
    {"content": upload("acme/%2e%2e/globex/content.jpg")},
    {"content": upload("acme/%252e%252e%252fglobex/content.jpg")},
    {"content": {"bucket": "styles", "key": "%2e%2e/uploads/globex/content.jpg"}},
    {"content": upload("acme/..%5cglobex%5ccontent.jpg")},
    {"content": upload("%61cme/content.jpg")},
    {"content": {"bucket": "work", "key": "acme/content.jpg"}},
    {"content": {"bucket": "results", "key": "acme/content.jpg"}},
    {"content": {"bucket": "styles", "key": "wave.jpg", "version_id": "1"}},
    {"content": upload("globex/content.jpg", version_id="1")},
    {"styles": [{"image": upload("globex/style.jpg")}]},
    {"styles": [*OWN["styles"], {"image": upload("acme/style.jpg"), "mask": upload("globex/mask.png")}]},
    {"recipe": {"method": "optimize", "init": "image", "init_image": upload("globex/start.jpg")}},
    {"keep_mask": upload("globex/mask.png")},
    {"keep_mask": upload("globex/keep.png")},
    output("globex/out.jpg"),
    output("acme.jpg"),
    output("acme/%2e%2e/globex/out.jpg"),
    {"output": {"bucket": "results"}},
    {"output": {"bucket": "uploads", "key": "acme/out.jpg"}},
    output("shared/out.jpg", overwrite=True),
]
NO_KEYS: list[dict[str, Any]] = [
    {"content": upload("acme/../globex/content.jpg")},
    {"content": upload("acme/..\\globex\\content.jpg")},
    {"styles": [{"image": upload("../../globex/style.jpg")}]},
    output("acme/../globex/out.jpg"),
]
"""What no job can name; still it is another's."""


@pytest.fixture
def acme(queue: StyleQueue) -> StyleQueue:
    return queue.for_tenant("acme", scope=SCOPE)


@pytest.mark.parametrize("fields", OTHERS, ids=json.dumps)
def test_what_is_not_ones_own_is_refused_before_it_is_recorded(acme: StyleQueue, fields: dict[str, Any]) -> None:
    job = make_job(**{**OWN, **fields})
    with pytest.raises(Permanent) as refused:
        acme.submit(job)
    assert refused.value.code == Code.BUCKET_NOT_ALLOWED
    assert "globex" not in str(refused.value)
    if "key" in fields.get("output", {"key": ""}):
        with pytest.raises(Permanent, match="may not"):
            acme.submit({**OWN, **fields})
    assert not acme.jobs()


@pytest.mark.parametrize("fields", NO_KEYS, ids=json.dumps)
def test_also_by_what_is_no_key(acme: StyleQueue, queue: StyleQueue, fields: dict[str, Any]) -> None:
    with pytest.raises(Permanent, match="bucket_not_allowed"):
        acme.submit({**OWN, **fields})
    with pytest.raises(InvalidJob):
        queue.submit({**OWN, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"content": upload("acme/a/b.jpg", version_id="1")},
        {"content": upload("acme/50%25 off/100%.jpg")},
        {"content": upload("acme/%2e%2e%2fglobex".replace("%2f", "_"))},
        output("acme/out.jpg", overwrite=True, report=True),
        output("shared/out.jpg"),
    ],
    ids=json.dumps,
)
def test_what_is_ones_own_is_taken(acme: StyleQueue, queue: StyleQueue, fields: dict[str, Any]) -> None:
    job_id = acme.submit({**OWN, **fields})
    assert queue._ledger.record(job_id).scope == SCOPE
    assert claim(queue._ledger, Job(**acme.status(job_id).job or {})).record.scope == SCOPE


def test_the_default_key_is_ones_own(acme: StyleQueue) -> None:
    assert acme.submit({**OWN, "output": {}})


def test_of_many_the_others_are_taken(acme: StyleQueue) -> None:
    good, bad = make_job(**OWN), make_job(**{**OWN, **OTHERS[0]})
    with pytest.raises(JobsRefused) as refused:
        acme.submit_many([good, bad])
    assert refused.value.refused.keys() == {bad.id}
    assert [job.id for job in acme.jobs()] == [good.id]


def test_workers_of_before_take_it(acme: StyleQueue, queue: StyleQueue) -> None:
    job = make_job(**OWN)
    acme.submit(job)
    record: Any = queue._ledger.redis.hgetall(names.record_key(job.id))
    assert record["job"] == job.canonical_json()
    assert json.loads(record["scope"]) == json.loads(SCOPE.model_dump_json())


def test_without_a_tenant_there_is_no_tenants_folder(queue: StyleQueue) -> None:
    with StyleQueue(queue.settings, scope=SCOPE) as limited:
        for fields in (OWN, {**OWN, "content": upload("{tenant}/content.jpg")}):
            with pytest.raises(Permanent):
                limited.submit(make_job(**fields))
        style = {"bucket": "styles", "key": "wave.jpg", "version_id": "1"}
        limited.submit(make_job(**{**OWN, "content": style, **output("shared/out.jpg", overwrite=True)}))


@pytest.mark.parametrize(
    "folder",
    [
        "",
        "*",
        "/*",
        "results",
        "results/",
        "results/a*",
        "results/*/b/*",
        "results/../*",
        "a//b/*",
        "{x}/*",
        "results/{/*",
    ],
)
def test_what_is_no_folder(folder: str) -> None:
    with pytest.raises(InvalidJob):
        Scope(read=(folder,), write=())


def test_every_picture_that_a_job_can_name_is_among_those_that_are_looked_at() -> None:
    """A new field of the contract must be."""

    def places(model: type[Contract]) -> int:
        return json.dumps(model.model_json_schema()).count(f'/{ImageRef.__name__}"')

    styles = [{"image": upload("2"), "mask": upload("3")}]
    recipe = {"method": "optimize", "init": "image", "init_image": upload("4")}
    job = make_job(content=upload("1"), styles=styles, recipe=recipe, keep_mask=upload("5"))
    assert len(job.images) == places(Job)


# At the worker


@pytest.fixture
def workshop(settings: Settings, decoder: Decoder) -> Iterator[LedgerWorkshop]:
    lie = ("/uploads/acme/content.jpg", "/uploads/globex/content.jpg", "/styles/wave.jpg")
    with ledger_workshop(settings, decoder, *lie, read_buckets=("uploads", "styles")) as workshop:
        yield workshop


def made(workshop: LedgerWorkshop, scope: Scope, **fields: Any) -> SucceededData:
    """By a worker, whatever the client would have said to it."""
    job = make_job(**{**OWN, "recipe": {"method": "optimize", "size": 64, "steps": 1}, **fields})
    return workshop.make(job, tenant="acme", scope=scope)


@pytest.mark.parametrize("fields", OTHERS, ids=json.dumps)
def test_the_worker_looks_again_before_the_store_is_asked(workshop: LedgerWorkshop, fields: dict[str, Any]) -> None:
    with pytest.raises(Permanent) as refused:
        made(workshop, SCOPE, **fields)
    assert refused.value.code == Code.BUCKET_NOT_ALLOWED
    assert not workshop.s3.seen


def test_a_picture_is_reused_where_the_job_may_see_it(workshop: LedgerWorkshop) -> None:
    there = Scope(read=SCOPE.read, write=("results/acme/there/*",))
    first = made(workshop, there, **output("acme/there/out.jpg", report=True))
    elsewhere = Scope(read=SCOPE.read, write=("results/acme/elsewhere/*",))
    second = made(workshop, elsewhere, **output("acme/elsewhere/out.jpg", report=True))
    assert not first.reused
    assert not second.reused, "out of its reach: painted"
    assert not [asked for asked in workshop.s3.seen if "/there/" in asked]
    third = made(workshop, elsewhere, **output("acme/elsewhere/again.jpg", report=True))
    assert third.reused
    assert third.output.sha256 == first.output.sha256
