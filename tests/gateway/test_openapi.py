"""What the gateway says of itself, and whether it holds: documents, examples, who may do what."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import jsonschema
import pytest

from scripts import http_page, http_promises
from stylequeue.contract.job import Job
from stylequeue.gateway.app import VERSION, application
from tests.gateway.test_edge import check_problem
from tests.support.gate import Gate

DOCUMENT: dict[str, Any] = application().openapi()
OPERATIONS = [
    (method.upper(), path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
WITH_KEY = [(method, path, operation) for method, path, operation in OPERATIONS if operation.get("security")]
OPEN = {"/healthz", "/readyz", "/problems/{code}"}


def test_the_documents_are_as_the_code_is() -> None:
    """`make docs` writes them. What breaks a caller needs another `app.VERSION`."""
    assert http_page.DOCUMENT.read_text() == http_page.text(DOCUMENT)
    assert http_page.PAGE.read_text() == http_page.page(DOCUMENT)
    assert DOCUMENT["info"]["version"] == VERSION


def on_the_page(operation: str) -> str:
    """What the page says of an operation, such as `POST /v1/paint`."""
    return http_page.page(DOCUMENT).partition(f"\n## {operation}\n")[2].partition("\n## ")[0]


def test_the_page_has_the_fields_of_all_bodies() -> None:
    """Of those that may be left out, too, and those that have many names."""
    drained = on_the_page("POST /v1/admin/workers/{name}/drain")
    assert "Body, `application/json`, which may be left out:" in drained
    assert "| `checkpoint` | Another worker goes on" in drained
    painted = on_the_page("POST /v1/paint")
    assert "Body, `multipart/form-data`:" in painted
    assert "| `content`, required | The picture" in painted
    assert "label.NAME" in painted
    assert "| field |" not in on_the_page("PUT /v1/uploads/{name}"), "a picture has none"


def test_what_callers_rely_on_stays_while_the_version_does() -> None:
    kept = json.loads(http_promises.FILE.read_text())
    assert kept.pop("version") == VERSION
    assert http_promises.broken(kept, http_promises.promises(DOCUMENT)) == []
    assert kept == http_promises.promises(DOCUMENT), "make docs"


Change = Callable[[dict[str, Any]], object]
FIELDS = "components/schemas/{}/properties".format


def at(document: dict[str, Any], path: str) -> Any:
    for name in path.split("/"):
        document = document[name.replace("~1", "/")]
    return document


BREAKS: dict[str, Change] = {
    "an operation goes": lambda d: at(d, "paths/~1v1~1jobs").pop("get"),
    "an operation is renamed": lambda d: at(d, "paths/~1v1~1jobs/get").update(operationId="all_jobs"),
    "an answer goes": lambda d: at(d, "paths/~1v1~1jobs/post/responses").pop("202"),
    "a key is wanted": lambda d: at(d, "paths/~1healthz/get").update(security=[{"key": ["read"]}]),
    "a parameter goes": lambda d: at(d, "paths/~1v1~1jobs/get/parameters").pop(0),
    "a parameter is needed": lambda d: at(d, "paths/~1v1~1jobs/get/parameters")[0].update(required=True),
    "a field is taken no more": lambda d: at(d, FIELDS("JobRequest")).pop("labels"),
    "a field is needed": lambda d: at(d, "components/schemas/JobRequest/required").append("labels"),
    "a new field is needed": lambda d: (
        at(d, FIELDS("JobRequest")).update(new={"type": "string"}),
        at(d, "components/schemas/JobRequest/required").append("new"),
    ),
    "a value is taken no more": lambda d: at(d, FIELDS("FastRecipe") + "/colours/anyOf")[0]["enum"].remove("match"),
    "less is taken": lambda d: at(d, FIELDS("Style") + "/weight").update(maximum=1),
    "a pattern is wanted": lambda d: at(d, FIELDS("ImageRef") + "/bucket").update(pattern="^a"),
    "a kind is taken no more": lambda d: at(d, FIELDS("ImageRef") + "/version_id/anyOf").pop(),
    "a field is given no more": lambda d: at(d, FIELDS("JobView")).pop("progress"),
    "a field may be missing": lambda d: at(d, "components/schemas/JobView/required").remove("state"),
    "a field may be null": lambda d: at(d, FIELDS("JobView")).update(
        attempt={"anyOf": [at(d, FIELDS("JobView") + "/attempt"), {"type": "null"}]}
    ),
    "another kind is given": lambda d: at(d, FIELDS("JobView") + "/attempt").update(type="string"),
    "an event is called otherwise": lambda d: at(d, FIELDS("Succeeded") + "/type").update(const="done"),
    "a webhook goes": lambda d: d["webhooks"].clear(),
}
ADDS: dict[str, Change] = {
    "an operation": lambda d: at(d, "paths").update({"/new": {"get": at(d, "paths/~1v1~1jobs/post")}}),
    "a field that may be left out": lambda d: at(d, FIELDS("JobRequest")).update(
        new={"type": "string", "maxLength": 3}
    ),
    "a field that is given": lambda d: at(d, FIELDS("JobView")).update(new={"type": "string"}),
    "more is taken": lambda d: at(d, FIELDS("Style") + "/weight").update(maximum=10**9),
    "nothing is needed": lambda d: at(d, "components/schemas/JobRequest").update(required=[]),
    "other words": lambda d: at(d, FIELDS("JobView") + "/attempt").update(description="which one"),
}


@pytest.mark.parametrize(("change", "breaks"), [(each, True) for each in BREAKS] + [(each, False) for each in ADDS])
def test_what_breaks_callers_is_told_from_what_does_not(change: str, breaks: bool) -> None:
    changed = copy.deepcopy(DOCUMENT)
    (BREAKS if breaks else ADDS)[change](changed)
    assert changed != DOCUMENT
    assert bool(http_promises.broken(http_promises.promises(DOCUMENT), http_promises.promises(changed))) == breaks


def test_the_document_is_served(gate: Gate) -> None:
    assert gate.get("/openapi.json", key=None).json() == DOCUMENT
    assert DOCUMENT["openapi"].startswith("3.1")
    assert DOCUMENT["webhooks"]


def test_operations_have_names_of_their_own_and_say_how_they_fail() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names))
    for _, path, operation in OPERATIONS:
        assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"], path
        assert operation["description"], path


def test_examples_are_what_the_schemas_say() -> None:
    checked = 0
    for _, _, operation in OPERATIONS:
        for content in operation.get("requestBody", {}).get("content", {}).values():
            if "example" in content:
                whole = {"components": DOCUMENT["components"], **content["schema"]}
                jsonschema.Draft202012Validator(whole).validate(content["example"])
                checked += 1
    assert checked >= 3
    whole = {"components": DOCUMENT["components"], "$ref": "#/components/schemas/JobRequest"}
    assert not jsonschema.Draft202012Validator(whole).is_valid({"content": {"bucket": "uploads"}})


def test_a_job_may_say_by_http_all_that_it_may_say() -> None:
    """But its schema's version, which follows from the rest."""
    said = set(DOCUMENT["components"]["schemas"]["JobRequest"]["properties"])
    assert said == Job.model_fields.keys() - {"schema_version"} | {"template", "notify"}


@pytest.mark.parametrize(
    ("method", "path"), [(method, path) for method, path, operation in WITH_KEY if "requestBody" in operation]
)
def test_of_a_stranger_nothing_is_read(gate: Gate, method: str, path: str) -> None:
    read: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(b"{}")
        yield read[0]

    headers = {"Content-Type": "application/json"}
    check_problem(gate.ask(method, path, key=None, content=body(), headers=headers), "unauthenticated")
    assert not read


def test_only_these_need_no_key() -> None:
    assert {path for _, path, operation in OPERATIONS if not operation.get("security")} == OPEN
