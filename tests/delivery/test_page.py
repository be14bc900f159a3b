"""docs/events.md: what it shows is run."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stylequeue.cli.command import app
from stylequeue.client import StyleQueue
from stylequeue.delivery.webhooks import signed
from stylequeue.local import environment
from stylequeue.operator_file import Operator
from stylequeue.settings import Settings
from stylequeue.testing import JobEvents
from tests.support.jobs import make_job
from tests.support.roles import as_role

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
BODY = JobEvents(make_job(labels={"user": "é"})).succeeded().model_dump_json().encode()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


CONSUMER, *VERIFIERS = blocks("python")


def headers() -> dict[str, str]:
    keys = [b"f" * 32, base64.b64decode(SECRET.removeprefix("whsec_"))]
    return signed(keys, "event-1", BODY, at=datetime.now(UTC))


def in_python(program: str) -> Callable[..., Any]:
    known: dict[str, Any] = {}
    exec(program, known)
    verify: Callable[..., Any] = known["verify"]
    return verify


def in_node(secret: str, sent: dict[str, str], body: bytes) -> Any:
    [program] = blocks("js")
    call = "const [s, h, b] = JSON.parse(require('fs').readFileSync(0)); console.log(JSON.stringify(verify(s, h, b)));"
    told = json.dumps([secret, sent, body.decode()])
    done = subprocess.run(["node", "-e", program + call], input=told, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr)
    return json.loads(done.stdout)


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


@pytest.mark.parametrize(
    "verify",
    [*map(in_python, VERIFIERS), pytest.param(in_node, marks=needs_node)],
    ids=["library", "by hand", "node"],
)
def test_who_receives_a_webhook_knows_it(verify: Callable[..., Any]) -> None:
    assert verify(SECRET, headers(), BODY) == json.loads(BODY)
    old = signed([base64.b64decode(SECRET[6:])], "event-1", BODY, at=datetime(2020, 1, 1, tzinfo=UTC))
    bad: list[tuple[str, dict[str, str], bytes]] = [
        (SECRET, headers(), BODY.replace(b"succeeded", b"cancelled")),
        (SECRET, {**headers(), "webhook-id": "event-2"}, BODY),
        ("whsec_" + "QUFB" * 8, headers(), BODY),
        (SECRET, old, BODY),
    ]
    for given in bad:
        with pytest.raises(Exception, match=r"."):
            verify(*given)


def test_a_consumer_of_a_group(settings: Settings) -> None:
    own = as_role(settings, "producer")
    with StyleQueue(own) as queue:
        job_id = queue.submit(make_job())
        with subprocess.Popen(
            [sys.executable, "-c", CONSUMER], env=environment(own), stdout=subprocess.PIPE, text=True
        ) as consumer:
            assert consumer.stdout is not None
            assert consumer.stdout.readline().split() == [job_id, "accepted"]
            consumer.kill()


def test_the_operators_file() -> None:
    [text] = blocks("toml")
    assert set(Operator.parse(text, name="the page").endpoints) == {"crm", "inside", "queue"}


def test_the_commands(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(as_role(settings, "operator")).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STYLEQUEUE_OPERATOR_FILE", str(tmp_path / "operator.toml"))
    runner = CliRunner()
    said = {}
    [commands] = blocks("sh")
    for line in commands.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "stylequeue"
        answer = runner.invoke(app, arguments)
        # Nobody is there: `.example` is no name that leads anywhere.
        assert answer.exit_code == (3 if arguments[1] == "test" else 0), (line, answer.output)
        said[line.removeprefix("stylequeue hooks ")] = answer.stdout.strip()
    secret, rotated = (
        said["add shop https://shop.example/hooks --event succeeded --label shop=cards"],
        said["rotate shop"],
    )
    assert secret.startswith("whsec_")
    assert rotated.startswith("whsec_")
    assert rotated != secret
    assert said["rotate shop --only-newest"] == rotated
    assert "shop  webhook  https://shop.example/hooks  waiting 0" in said["list"]
    assert said["replay --since 2h --endpoint shop"] == "shop  0 to be sent"
    told = json.loads(runner.invoke(app, ["hooks", "list", "--json"]).stdout)
    assert (told[0]["labels"], told[0]["events"], told[0]["secrets"]) == ({"shop": "cards"}, ["succeeded"], 1)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "reason"),
    [
        (["hooks", "deliveries", "nobody"], 2, "endpoint_not_found"),
        (["hooks", "replay"], 2, "invalid_request"),
        (["hooks", "replay", "x", "--since", "2h"], 2, "invalid_request"),
        (["hooks", "replay", "--since", "yesterday"], 2, "invalid_request"),
        (["hooks", "replay", "x"], 2, "delivery_not_found"),
        (["hooks", "add", "x", "http://x.example"], 2, "invalid_settings"),
        (["hooks", "add", "x"], 2, "invalid_settings"),
    ],
)
def test_what_cannot_be_done(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    exit_code: int,
    reason: str,
) -> None:
    for name, value in environment(as_role(settings, "operator")).items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "operator.toml"
    path.write_text("")
    monkeypatch.setenv("STYLEQUEUE_OPERATOR_FILE", str(path))
    answer = CliRunner().invoke(app, arguments)
    assert (answer.exit_code, reason in answer.stderr) == (exit_code, True), answer.output
