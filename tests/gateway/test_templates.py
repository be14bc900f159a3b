"""A key that is bound to templates: whoever has it chooses pictures, the operator how they are painted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stylequeue.client import StyleQueue
from stylequeue.contract.errors import InvalidRequest
from stylequeue.gateway import keys
from stylequeue.settings import Settings
from tests.gateway.test_edge import check_problem
from tests.support import pictures
from tests.support.command import BAD_INPUT, Command
from tests.support.gate import Gate

FILE = """
[template.wave]
styles = ["s3://styles/wave.jpg"]
recipe = {method = "fast"}
labels = {shop = "cards"}

[template.night]
styles = ["s3://styles/night.jpg"]
"""
CONTENT = {"bucket": "uploads", "key": "acme/content.jpg"}
WAVE = {"template": "wave", "content": CONTENT}


@pytest.fixture
def gate(settings: Settings, tmp_path: Path) -> Iterator[Gate]:
    path = tmp_path / "operator.toml"
    path.write_text(FILE)
    with Gate(settings.model_copy(update={"operator_file": path}), tmp_path / "keys.json") as gate:
        yield gate


@pytest.fixture
def bound(gate: Gate) -> str:
    return gate.key("submit", "acme", templates=["wave"])


def test_by_its_templates_it_hands_jobs_in(gate: Gate, bound: str, queue: StyleQueue) -> None:
    answer = gate.post("/v1/jobs", key=bound, json={**WAVE, "labels": {"order": "7"}})
    assert answer.status_code == 202
    job = queue.status(answer.json()["id"]).job
    assert job is not None
    assert job["styles"][0]["image"]["key"] == "wave.jpg"
    assert job["labels"] == {"shop": "cards", "order": "7"}


@pytest.mark.parametrize(
    "changes",
    [
        {"template": None},
        {"template": "night"},
        {"template": ["wave"]},
        {"styles": [{"image": {"bucket": "styles", "key": "other.jpg"}}]},
        {"recipe": {"method": "optimize"}},
        {"output": {"bucket": "results", "key": "acme/mine.jpg"}},
        {"queue": "fast"},
        {"keep_mask": CONTENT},
        {"anything": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_in_no_other_way(gate: Gate, bound: str, queue: StyleQueue, changes: dict[str, Any]) -> None:
    body = {name: value for name, value in {**WAVE, **changes}.items() if value is not None}
    check_problem(gate.post("/v1/jobs", key=bound, json=body), "forbidden")
    check_problem(gate.ask("PUT", "/v1/jobs/one", key=bound, json=body), "forbidden")
    batch = gate.post("/v1/jobs:batch", key=bound, json={"jobs": [body, WAVE]}).json()["jobs"]
    assert [one["verdict"] for one in batch] == ["refused", "new"]
    assert batch[0]["problem"]["code"] == "forbidden"
    assert len(queue.jobs()) == 1


def test_nor_by_a_form(gate: Gate, bound: str, queue: StyleQueue) -> None:
    photo = ("content", ("content.jpg", pictures.jpeg()))
    style = ("style", ("style.jpg", pictures.jpeg()))
    for files, data in (
        ([photo, style], {}),
        ([photo, style], {"template": "wave"}),
        ([photo], {"template": "night"}),
        ([photo], {"template": "wave", "size": "512"}),
    ):
        check_problem(gate.post("/v1/paint", key=bound, files=files, data=data), "forbidden")
    assert queue.jobs() == []
    answer = gate.post("/v1/paint", key=bound, files=[photo], data={"template": "wave"})
    assert answer.status_code == 202


def test_others_are_bound_to_none(gate: Gate) -> None:
    key = gate.key("submit", "acme")
    body = {"content": CONTENT, "styles": [{"image": {"bucket": "styles", "key": "other.jpg"}}]}
    assert gate.post("/v1/jobs", key=key, json=body).status_code == 202


def test_what_is_bound_hands_jobs_in_and_no_more() -> None:
    for role in ("read", "admin", "monitor"):
        with pytest.raises(InvalidRequest, match="bound to templates"):
            keys.make(role=role, templates=["wave"])
    with pytest.raises(InvalidRequest, match="templates"):
        keys.make(role="submit", templates=[])


def test_the_command_makes_them(stylequeue: Command, tmp_path: Path) -> None:
    command = Command({**stylequeue.env, "STYLEQUEUE_KEYS_FILE": str(tmp_path / "keys.json")})
    made = command("keys", "new", "--template", "wave", "--template", "night")
    assert "by template wave, night alone" in made.stderr
    [key] = keys.listed(tmp_path / "keys.json")
    assert key.templates == ("wave", "night")
    assert "by template wave, night alone" in command("keys", "list").stdout
    command("keys", "revoke", key.id)
    command("keys", "new")
    assert "templates" not in (tmp_path / "keys.json").read_text(), "older gateways read a file without them"
    refused = command("keys", "new", "--role", "admin", "--template", "wave", exit_code=BAD_INPUT)
    assert "bound to templates" in refused.stderr
