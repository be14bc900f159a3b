"""Dead letters by HTTP, and what a key is told of itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from urllib.parse import quote

import pytest

from stylequeue.client import StyleQueue
from stylequeue.keeper import Keeper
from stylequeue.settings import Settings
from tests.gateway.test_edge import check_problem
from tests.gateway.test_jobs import theirs
from tests.support.gate import Gate
from tests.support.jobs import make_job
from tests.support.ledger import lose_lease
from tests.support.roles import as_role

# Celery's own way to store results.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


def buried(settings: Settings, tenant: str) -> str:
    """A job of a tenant's whose attempts are used up."""
    with StyleQueue(settings.model_copy(update={"max_attempts": 1})) as queue:
        job = make_job(**theirs(tenant))
        queue.for_tenant(tenant).submit(job)
        queue._ledger.claim(job, task_id=job.id, worker="worker")
        lose_lease(queue._ledger, job)
        Keeper(as_role(queue.settings, "keeper")).round()
    return job.id


def test_dead_letters_are_looked_at_replayed_and_dropped(settings: Settings, gate: Gate, queue: StyleQueue) -> None:
    acme, globex = (buried(settings, tenant) for tenant in ("acme", "globex"))
    letters = gate.get("/v1/admin/dead").json()["letters"]
    assert [letter["id"] for letter in letters] == [globex, acme]
    assert (letters[0]["kind"], letters[0]["code"], letters[0]["attempts"]) == ("job", "attempts_exhausted", 1)
    page = gate.get("/v1/admin/dead?limit=1").json()
    assert [letter["id"] for letter in page["letters"]] == [globex]
    assert gate.get(f"/v1/admin/dead?limit=1&after={page['after']}").json()["letters"] == [letters[1]]
    # A tenant's admin sees its own.
    tenants = gate.key("admin", "acme")
    assert [letter["id"] for letter in gate.get("/v1/admin/dead", key=tenants).json()["letters"]] == [acme]
    for method, path in (("POST", f"/v1/admin/dead/{globex}/replay"), ("DELETE", f"/v1/admin/dead/{globex}")):
        check_problem(gate.ask(method, path, key=tenants), "job_not_found")
    assert gate.post(f"/v1/admin/dead/{acme}/replay", key=tenants).status_code == 204
    assert (queue.status(acme).state, queue.status(acme).run) == ("queued", 2)
    assert gate.ask("DELETE", f"/v1/admin/dead/{globex}").status_code == 204
    assert gate.get("/v1/admin/dead").json() == {"letters": [], "after": None}
    check_problem(gate.get(f"/v1/jobs/{globex}"), "job_not_found")


def unhandled(settings: Settings) -> list[str]:
    """Two events that a tenant's consumers have not survived, by the ids of their letters, the newest first."""
    with StyleQueue(settings) as queue:
        acme = queue.for_tenant("acme")
        for _ in range(2):
            acme.submit(make_job(**theirs("acme")))
        while len(queue.dead_letters()) < 2:
            next(iter(acme.events(group="crm", consumer="one", follow=False)), None)
        return [letter.id for letter in queue.dead_letters()]


@pytest.mark.parametrize("name", [partial(quote, safe=""), str], ids=["escaped", "as it is"])
def test_what_a_tenants_consumers_did_not_handle_is_replayed_and_dropped(
    settings: Settings, gate: Gate, queue: StyleQueue, name: Callable[[str], str]
) -> None:
    replayed, dropped = unhandled(settings)
    assert replayed.startswith("event:acme/crm:")
    assert gate.post(f"/v1/admin/dead/{name(replayed)}/replay").status_code == 204
    assert [letter["id"] for letter in gate.get("/v1/admin/dead").json()["letters"]] == [dropped]
    assert gate.ask("DELETE", f"/v1/admin/dead/{name(dropped)}").status_code == 204
    assert gate.get("/v1/admin/dead").json()["letters"] == []
    events = queue.for_tenant("acme").events(group="crm", consumer="two", follow=False)
    assert len(list(events)) == 1, "the one that was replayed"


def test_a_key_is_told_what_it_may_do(gate: Gate) -> None:
    bound = gate.key("submit", "acme", templates=("portrait",))
    asked = {key: gate.get("/v1/key", key=key).json() for key in (gate.admin, gate.key("monitor"), bound)}
    assert [(one["role"], one["tenant"], one["templates"]) for one in asked.values()] == [
        ("admin", None, None),
        ("monitor", None, None),
        ("submit", "acme", ["portrait"]),
    ]
    for key, one in asked.items():
        assert key.split("_")[1] == one["id"]
        assert key.split("_")[2] not in str(one)
