"""Which endpoints hear of which events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stylequeue.delivery.outbox import deliveries_of
from stylequeue.ledger.groups import Entry
from stylequeue.operator_file import Endpoint

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


def endpoint(**fields: Any) -> Endpoint:
    return Endpoint.model_validate({"url": "https://crm.example/", "secrets": [SECRET], **fields})


def entry(kind: str = "succeeded", *, tenant: str = "", notify: Any = (), labels: Any = None) -> Entry:
    told = {"id": "e", "type": f"io.stylequeue.job.{kind}.v1", "subject": "j", "data": {"labels": labels or {}}}
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
        Entry("1-1", entry().event, "", "{"),
        Entry("1-1", entry().event, "", "7"),
    ],
    ids=str,
)
def test_what_somebody_spoilt_is_passed_over(spoilt: Entry) -> None:
    assert [one.endpoint for one in deliveries_of([spoilt, entry()], {"crm": endpoint(labels={})})] == ["crm"]
