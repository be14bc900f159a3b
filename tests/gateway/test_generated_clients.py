"""Clients that others' generators make of the document: they are type-checked, and hand a job in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import http_page
from stylequeue.client import StyleQueue
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.support.gate import ServedGate
from tests.support.tools import fetch, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PYTHONS = "openapi-python-client==0.29.1"
TYPESCRIPTS = ["openapi-typescript@7.13.0", "openapi-fetch@0", "typescript@5"]
IN_PYTHON = """
import os

from stylequeue_http import AuthenticatedClient
from stylequeue_http.api.jobs import get_job, submit_job
from stylequeue_http.models import FastRecipe, ImageRef, JobRequest, JobView, Style

client = AuthenticatedClient(base_url=os.environ["SQ_URL"], token=os.environ["SQ_KEY"])
job = submit_job.sync(
    client=client,
    body=JobRequest(
        content=ImageRef(bucket="uploads", key="photo.jpg"),
        styles=[Style(image=ImageRef(bucket="styles", key="wave.jpg"))],
        recipe=FastRecipe(method="fast"),
    ),
)
assert isinstance(job, JobView), job
known = get_job.sync(job.id, client=client)
assert isinstance(known, JobView), known
print(known.id, known.state)
"""
IN_TYPESCRIPT = """
import createClient from "openapi-fetch";
import type { paths } from "./schema";

declare const process: { env: Record<string, string> };
const client = createClient<paths>({
  baseUrl: process.env.SQ_URL,
  headers: { Authorization: `Bearer ${process.env.SQ_KEY}` },
});
const { data, error } = await client.POST("/v1/jobs", {
  body: {
    content: { bucket: "uploads", key: "photo.jpg" },
    styles: [{ image: { bucket: "styles", key: "wave.jpg" } }],
    recipe: { method: "fast" },
  },
});
if (error) throw new Error(error.code);
const { data: job } = await client.GET("/v1/jobs/{job_id}", { params: { path: { job_id: data.id } } });
console.log(job?.id, job?.state);
"""


@pytest.fixture
def gate(settings: Settings, tmp_path: Path) -> Iterator[ServedGate]:
    with ServedGate(settings, tmp_path / "keys.json") as gate:
        yield gate


def check_submitted(said: str, queue: StyleQueue) -> None:
    [job] = queue.jobs()
    assert said.split() == [job.id, "queued"]
    assert job.queue == "fast"


def test_in_python(gate: ServedGate, settings: Settings, tmp_path: Path) -> None:
    """By openapi-python-client, and mypy --strict."""
    uv, python = str(Path(sys.executable).with_name("uv")), str(tmp_path / "env" / "bin" / "python")
    fetch(PYTHONS, tmp_path, uv, "venv", "--python", sys.executable, "env")
    fetch(PYTHONS, tmp_path, uv, "pip", "install", "--python", python, PYTHONS)
    generator = str(Path(python).with_name("openapi-python-client"))
    into = ("--output-path", "stylequeue_http", "--meta", "none")
    run(tmp_path, generator, "generate", "--path", str(http_page.DOCUMENT), *into)
    (tmp_path / "client.py").write_text(IN_PYTHON)
    mypy = (sys.executable, "-m", "mypy", "--config-file=", "--cache-dir", "mypy", "--strict")
    run(tmp_path, *mypy, "--python-executable", python, "client.py", "stylequeue_http")
    with StyleQueue(settings) as queue:
        check_submitted(run(tmp_path, python, "client.py", env=leading_to(gate)), queue)


def test_in_typescript(gate: ServedGate, settings: Settings, tmp_path: Path) -> None:
    """By openapi-typescript, and tsc --strict. Fields that have a default may be left out."""
    (tmp_path / "package.json").write_text('{"type": "module"}')
    fetch(TYPESCRIPTS[0], tmp_path, "npm", "install", "--no-save", *TYPESCRIPTS)
    tools = tmp_path / "node_modules" / ".bin"
    optional = ("--default-non-nullable", "false")
    run(tmp_path, str(tools / "openapi-typescript"), str(http_page.DOCUMENT), *optional, "-o", "schema.d.ts")
    (tmp_path / "client.ts").write_text(IN_TYPESCRIPT)
    how = ("--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler")
    run(tmp_path, str(tools / "tsc"), "--strict", *how, "client.ts")
    with StyleQueue(settings) as queue:
        check_submitted(run(tmp_path, "node", "client.js", env=leading_to(gate)), queue)


def leading_to(gate: ServedGate) -> dict[str, str]:
    return {"SQ_URL": f"http://{HOST}:{gate.port}", "SQ_KEY": gate.admin}
