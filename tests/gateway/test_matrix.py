"""Who may do what: every operation, asked for what is one tenant's, by every kind of key."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from stylequeue.client import StyleQueue
from stylequeue.gateway.keys import INCLUDES, ROLES, Role
from stylequeue.settings import Settings
from tests.gateway.test_edge import check_problem
from tests.gateway.test_jobs import theirs
from tests.gateway.test_letters import buried
from tests.gateway.test_openapi import WITH_KEY
from tests.ledger.test_registry import live_worker
from tests.support.gate import Gate
from tests.support.jobs import make_job
from tests.support.roles import everything

# Celery's own way to store results.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

FILE = """
[template.wave]
styles = ["s3://styles/wave.jpg"]

[endpoint.crm]
url = "https://127.0.0.1/hook"
secrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"]
tenant = "acme"
"""
WORKER = "one@here"


class Who(NamedTuple):
    """A row: whose key, of which role."""

    tenant: str | None
    role: Role
    templates: tuple[str, ...] | None = None


BOUND_KEY = Who("acme", "submit", ("wave",))
ROWS = [
    *(Who(tenant, role) for tenant in ("acme", "globex") for role in ("read", "submit", "admin")),
    *(Who(None, role) for role in ROLES),
    BOUND_KEY,
]


class Answers(NamedTuple):
    """To who has the role: a status, or the code of a problem."""

    own: int | str
    """To the tenant whose it is, and to the operator."""
    anothers: int | str = "forbidden"
    says: str = "{job}"
    """What the own answer has in it, where it is a success."""


NO_JOB, NO_ENDPOINT = "job_not_found", "endpoint_not_found"
WHAT = {
    # Their bodies name folders of the tenant's.
    "submit_job": Answers(202, "bucket_not_allowed", "queued"),
    "submit_jobs": Answers(200, 200, '"verdict":"new"'),
    "put_job": Answers("job_conflict", "bucket_not_allowed"),
    "paint": Answers("media_type_unsupported", "media_type_unsupported"),
    "estimate_job": Answers(200, 200, "paint_s"),
    "list_jobs": Answers(200, 200),
    "get_job": Answers(200, NO_JOB),
    "delete_job": Answers(204, NO_JOB, ""),
    "cancel_job": Answers(200, NO_JOB),
    "stop_job": Answers(200, NO_JOB),
    "retry_job": Answers(202, NO_JOB),
    "get_result": Answers("cancelled", NO_JOB),
    "get_preview": Answers("object_not_found", NO_JOB),
    "get_report": Answers("cancelled", NO_JOB),
    "get_thumbnail": Answers("cancelled", NO_JOB),
    "get_content": Answers("object_not_found", NO_JOB),
    "get_style": Answers("object_not_found", NO_JOB),
    "follow_job": Answers(200, NO_JOB),
    "follow_jobs": Answers(200, NO_JOB),
    "get_key": Answers(200, 200, "role"),
    # Each tenant's in a folder of its own.
    "create_upload": Answers(201, 201, "{tenant}/"),
    "put_upload": Answers("address_not_found", "address_not_found"),
    # Everybody's.
    "list_styles": Answers(200, 200, "styles"),
    "get_shelf_style": Answers("object_not_found", "object_not_found"),
    # Of a job whose attempts are used up.
    "list_dead_letters": Answers(200, 200),
    "replay_dead_letter": Answers(204, NO_JOB, ""),
    "drop_dead_letter": Answers(204, NO_JOB, ""),
    # Of an endpoint of the tenant's.
    "list_hooks": Answers(200, 200, "crm"),
    "get_hook": Answers(200, NO_ENDPOINT, "crm"),
    "list_deliveries": Answers(200, NO_ENDPOINT, "deliveries"),
    "get_delivery": Answers("delivery_not_found", NO_ENDPOINT),
    "test_hook": Answers(200, NO_ENDPOINT, "said"),
    "replay_hook": Answers("delivery_not_found", NO_ENDPOINT),
    "enable_hook": Answers(202, NO_ENDPOINT, "count"),
    "rotate_hook": Answers(200, NO_ENDPOINT, "whsec_"),
    # No tenant's.
    "get_queue": Answers(200, says="waiting"),
    "pause_queue": Answers(200, says="paused"),
    "resume_queue": Answers(200, says="paused"),
    "list_workers": Answers(200, says=WORKER),
    "drain_worker": Answers(204, says=""),
    "undrain_worker": Answers(204, says=""),
    "get_metrics": Answers(200, says="stylequeue_"),
}
SAYS_OTHERWISE = {
    ("submit_jobs", BOUND_KEY): '"code":"forbidden"',
    **{("submit_jobs", Who("globex", role)): '"code":"bucket_not_allowed"' for role in ROLES},
    **{("create_upload", Who("globex", role)): "globex/" for role in ROLES},
}
BOUND: dict[str, int | str] = dict.fromkeys(("submit_job", "put_job"), "forbidden")
"""To who has a key that is bound to templates, and asks for something else."""
LETTERS = {"list_dead_letters", "replay_dead_letter", "drop_dead_letter"}
BODIES: dict[str, Any] = {
    "submit_job": theirs(),
    "put_job": theirs(labels={"a": "b"}),
    "submit_jobs": {"jobs": [theirs()]},
    "estimate_job": {},
    "create_upload": {"filename": "a.jpg", "content_type": "image/jpeg", "size": 9},
    "replay_hook": {"event": "event"},
}
PLACES = {"number": "1", "bucket": "styles", "key": "shelf/none.jpg", "event_id": "event", "queue": "paint"}


@pytest.fixture(scope="module")
def gate(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    directory = tmp_path_factory.mktemp("gate")
    (directory / "operator.toml").write_text(FILE)
    settings = module_settings.model_copy(update={"operator_file": directory / "operator.toml"})
    with Gate(settings, directory / "keys.json") as gate:
        yield gate


@pytest.fixture(scope="module")
def keys(gate: Gate) -> dict[Who, str]:
    return {who: gate.key(who.role, who.tenant, templates=who.templates) for who in ROWS}


@pytest.fixture(scope="module")
def queue(module_settings: Settings) -> Iterator[StyleQueue]:
    with StyleQueue(module_settings) as queue:
        yield queue


def asked(gate: Gate, method: str, path: str, operation: dict[str, Any], job_id: str, key: str | None) -> Any:
    """One operation on what is acme's, with a body if it has one."""
    name = {"hooks": "crm", "fleet": WORKER, "pictures": "none.jpg"}.get(operation["tags"][0], "")
    filled = string.Formatter().vformat(path, (), {**PLACES, "job_id": job_id, "letter_id": job_id, "name": name})
    if operation["operationId"] == "follow_jobs":
        filled += f"?job={job_id}&after=0-0"
    body = BODIES.get(operation["operationId"])
    return gate.ask(method, filled, key=key, **({} if body is None else {"json": body}))


def acmes(queue: StyleQueue, operation: str) -> str:
    """The id of a job, which is a dead letter where such a thing is looked after."""
    if operation in LETTERS:
        return buried(queue.settings, "acme")
    job = make_job(**theirs())
    acme = queue.for_tenant("acme")
    acme.submit(job)
    acme.cancel(job.id)
    return job.id


def expected(who: Who, operation: dict[str, Any]) -> int | str:
    """A cell."""
    needed = next(iter(operation["security"][0]["key"]), None)
    name = operation["operationId"]
    if needed and needed not in INCLUDES[who.role]:
        return "forbidden"
    if who.templates and name in BOUND:
        return BOUND[name]
    if who.tenant is not None and operation["tags"] == ["fleet"]:
        return "forbidden"
    return WHAT[name].anothers if who.tenant == "globex" else WHAT[name].own


def test_no_operation_is_missing() -> None:
    assert {operation["operationId"] for _, _, operation in WITH_KEY} == set(WHAT)


@pytest.mark.parametrize(
    ("method", "path", "operation"), WITH_KEY, ids=[operation["operationId"] for *_, operation in WITH_KEY]
)
def test_who_may_do_what(
    gate: Gate, keys: dict[Who, str], queue: StyleQueue, method: str, path: str, operation: dict[str, Any]
) -> None:
    """Each route x {no key, a wrong one, each role of: its own tenant, another, none, one bound to templates}."""
    name, says = operation["operationId"], WHAT[operation["operationId"]].says
    for key in (None, "sq_unknown"):
        check_problem(asked(gate, method, path, operation, "x", key), "unauthenticated")
    for who, key in keys.items():
        queue._ledger.registry.register(live_worker(WORKER))
        job_id = acmes(queue, name)
        before = queue.status(job_id)
        answer = asked(gate, method, path, operation, job_id, key)
        cell = expected(who, operation)
        if isinstance(cell, str):
            check_problem(answer, cell)
        else:
            assert answer.status_code == cell, (who, answer.text)
            own = SAYS_OTHERWISE.get((name, who), says)
            if who.tenant != "globex" or (name, who) in SAYS_OTHERWISE:
                assert own.format(job=job_id, tenant=who.tenant or "") in answer.text, who
        if who.tenant == "globex":
            said = answer.text.replace(f"no job '{job_id}'", "").replace("no endpoint 'crm'", "")
            assert job_id not in said, who
            assert "crm" not in said, who
            assert queue.status(job_id) == before, who
    everything(queue.settings).flushdb()
    gate.state.queue.operator_file.path.write_text(FILE)  # type: ignore[union-attr]
