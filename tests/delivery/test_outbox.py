"""Which endpoints hear of which events."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from pydantic import SecretStr

from stylequeue.awaiting import run
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import Unavailable
from stylequeue.delivery import outbox
from stylequeue.delivery.outbox import Outbox, deliveries_of, whole
from stylequeue.ledger.deliveries import Deliveries
from stylequeue.ledger.groups import MAX_TIMES, Entry
from stylequeue.local.server import HOST
from stylequeue.operator_file import Endpoint, OperatorFile
from tests.support.deliveries import Operator
from tests.support.jobs import make_job
from tests.support.redis_server import redis_server

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"

IDLE_S = 0.005
"""After which a deliverer has gone."""
ACCEPTED = {"url": "https://crm.example/", "secrets": [SECRET], "events": ["accepted"]}
"""An endpoint that hears of new jobs."""

SPOILT = [
    ('"e"', "7"),
    ('"e"', "[]"),
    ('"e"', r'"\ud800"'),
    ('"j"', "{}"),
    ('"labels"', f'"more": {"[" * 2000}{"]" * 2000}, "labels"'),
]
"""Of an event, what stands in place of what: none can be put on record."""


def endpoint(**fields: Any) -> Endpoint:
    return Endpoint.model_validate({"url": "https://crm.example/", "secrets": [SECRET], **fields})


def entry(kind: str = "succeeded", *, tenant: str = "", notify: Any = (), labels: Any = None, **more: str) -> Entry:
    data = {"labels": labels or {}, **more}
    told = {"id": "e", "type": f"io.stylequeue.job.{kind}.v1", "subject": "j", "data": data}
    return Entry("1700000000000-1", json.dumps(told), tenant, json.dumps(list(notify)) if notify else "")


def told(entry: Entry, **endpoints: Endpoint) -> dict[str, bool]:
    """Which hear of it, and whether because the job names them."""
    return {one.endpoint: one.named for one in deliveries_of([entry], endpoints)}


def test_what_is_delivered() -> None:
    [one] = deliveries_of([entry()], {"crm": endpoint()})
    assert (one.endpoint, one.id, one.type, one.job, one.at_ms) == (
        "crm",
        "e",
        "io.stylequeue.job.succeeded.v1",
        "j",
        1700000000000,
    )
    assert one.event == entry().event


@pytest.mark.parametrize("kind", ["succeeded", "failed", "cancelled", "expired"])
def test_ends_are(kind: str) -> None:
    assert told(entry(kind), crm=endpoint()) == {"crm": False}


@pytest.mark.parametrize("kind", ["accepted", "started", "progress", "something"])
def test_all_else_is_not_unless_it_is_asked_for(kind: str) -> None:
    assert told(entry(kind), crm=endpoint()) == {}


def test_types_and_labels() -> None:
    assert told(entry("started"), crm=endpoint(events=["started"])) == {"crm": False}
    assert told(entry("succeeded"), crm=endpoint(events=["started"])) == {}
    shop = endpoint(labels={"shop": "a"})
    assert told(entry(labels={"shop": "a", "x": "y"}), crm=shop) == {"crm": False}
    assert told(entry(labels={"shop": "b"}), crm=shop) == {}
    assert told(entry(), crm=shop) == {}
    # Whoever names one hears of what it wants to hear.
    assert told(entry(notify=["crm"]), crm=shop) == {}


def test_a_job_that_names_endpoints_tells_those() -> None:
    endpoints = {
        "crm": endpoint(),
        "other": endpoint(),
        "audit": endpoint(jobs="all"),
        "asked": endpoint(jobs="named"),
    }
    assert told(entry(), **endpoints) == {"crm": False, "other": False, "audit": False}
    assert told(entry(notify=["crm"]), **endpoints) == {"crm": True, "audit": False}
    assert told(entry(notify=["asked", "crm"]), **endpoints) == {"crm": True, "asked": True, "audit": False}
    assert told(entry(notify=["removed"]), **endpoints) == {"audit": False}


def test_a_tenants_endpoint_hears_of_its_jobs_alone() -> None:
    endpoints = {
        "acme": endpoint(tenant="acme"),
        "acme2": endpoint(tenant="acme"),
        "other": endpoint(tenant="other", jobs="all"),
    }
    assert told(entry(tenant="acme"), **endpoints) == {"acme": False, "acme2": False}
    assert told(entry(), **endpoints) == {}
    assert told(entry(tenant="acme", notify=["acme"]), **endpoints) == {"acme": True}


def test_no_tenant_is_told_which_worker_has_its_job() -> None:
    started = entry("started", tenant="acme", worker="w1@gpu-7.internal", labels={"shop": "ä"})
    endpoints = {"operators": endpoint(events=["started"]), "theirs": endpoint(events=["started"], tenant="acme")}
    operators, theirs = (one.event for one in deliveries_of([started], endpoints))
    assert operators == started.event
    assert json.loads(theirs) == json.loads(entry("started", labels={"shop": "ä"}, worker="").event)
    [theirs] = (one.event for one in deliveries_of([entry(tenant="acme")], {"theirs": endpoint(tenant="acme")}))
    assert theirs == entry().event, "byte for byte"


def test_whoever_forges_a_name_reaches_nobody_elses() -> None:
    """It stands in Redis; the submit that wrote it would have been refused."""
    endpoints = {"theirs": endpoint(tenant="acme", jobs="named"), "ours": endpoint(jobs="named")}
    assert told(entry(tenant="other", notify=["theirs", "ours"]), **endpoints) == {}
    assert told(entry(notify=["theirs"]), **endpoints) == {}


def test_no_tenant_hides_its_jobs_from_the_operator() -> None:
    endpoints = {"theirs": endpoint(tenant="acme"), "operators": endpoint()}
    assert told(entry(tenant="acme", notify=["theirs"]), **endpoints) == {"theirs": True, "operators": False}


@pytest.mark.parametrize(
    "spoilt",
    [
        Entry("1-1", "", "", ""),
        Entry("1-1", "[]", "", ""),
        Entry("1-1", '{"type": 7}', "", ""),
        Entry("1-1", '{"type": "io.stylequeue.job.failed.v1"}', "", ""),
        Entry("1-1", '{"type": "io.stylequeue.job.failed.v1", "data": {"labels": []}}', "", ""),
        *(Entry("1-1", entry().event.replace(*spoils), "", "") for spoils in SPOILT),
        Entry("1-1", entry().event, "", "{"),
        Entry("1-1", entry().event, "", "7"),
    ],
    ids=lambda spoilt: spoilt.event[:60],
)
def test_what_somebody_spoilt_is_passed_over(queue: StyleQueue, spoilt: Entry) -> None:
    entries = whole(queue._ledger, [spoilt, entry()])
    deliveries = list(deliveries_of(entries, {"crm": endpoint(labels={})}))
    assert [one.endpoint for one in deliveries] == ["crm"]
    assert Deliveries(queue._ledger).deliver(deliveries, again=True) == 1


@pytest.mark.parametrize("dies", [False, True])
def test_none_is_given_up_however_often_its_delivery_cannot_be_made(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    """A full Redis hands events out, and takes no deliveries of them."""
    monkeypatch.setattr(outbox, "_IDLE_S", IDLE_S)
    with redis_server("maxmemory-policy noeviction") as port:
        own = operator.settings.model_copy(update={"redis_url": SecretStr(f"redis://{HOST}:{port}/0")})
        operator.write(crm=ACCEPTED)
        endpoints = OperatorFile(operator.path).now.endpoints
        with StyleQueue(own) as queue:
            deliverer = Outbox(queue._ledger)
            assert not deliverer.round(endpoints), "there is a group of deliverers"
            queue.submit(make_job(), notify=["crm"])
            queue._ledger.redis.config_set("maxmemory", 1)
            for _ in range(MAX_TIMES + 2):
                if dies:
                    time.sleep(2 * IDLE_S)
                    deliverer = Outbox(queue._ledger)
                with pytest.raises(Unavailable, match="is full"):
                    deliverer.round(endpoints)
            queue._ledger.redis.config_set("maxmemory", 0)
            assert deliverer.round(endpoints)
            assert queue.dead_letters() == []
            assert [one.state for one in Deliveries(queue._ledger).list("crm")] == ["pending"]


def test_what_was_given_up_once_is_delivered_when_it_is_replayed(
    operator: Operator, queue: StyleQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By deliverers of before, which gave up."""
    monkeypatch.setattr(outbox, "_IDLE_S", IDLE_S)
    operator.write(crm=ACCEPTED)
    job = make_job()
    queue.submit(job, notify=["crm"])
    for _ in range(MAX_TIMES + 1):
        run(queue._ledger.asked.consumer(outbox.GROUP, "one", after="0", claim_after_s=60).take())
    [letter] = queue.dead_letters()
    assert letter.queue == outbox.GROUP
    queue.replay(letter.id)
    assert queue.dead_letters() == []
    Outbox(queue._ledger).round(OperatorFile(operator.path).now.endpoints)
    assert [one.job for one in Deliveries(queue._ledger).list("crm")] == [job.id]
