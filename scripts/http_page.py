"""Writes docs/openapi.json, docs/http.md and what both promise from the gateway's routes, so that they are written once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts import http_promises
from stylequeue.contract.codes import STATUS
from stylequeue.gateway.app import application
from stylequeue.gateway.problems import meanings, title_of

DOCS = Path(__file__).parents[1] / "docs"
DOCUMENT, PAGE = DOCS / "openapi.json", DOCS / "http.md"
_INTRO = """# HTTP

Made by scripts/http_page.py from what the gateway serves; [openapi.json](openapi.json) is the same for programs.

    export STYLEQUEUE_KEYS_FILE=$PWD/keys.json
    KEY=$(stylequeue keys new --role submit --tenant acme)
    stylequeue upload photo.jpg s3://uploads/acme/
    stylequeue upload wave.jpg s3://styles/
    stylequeue gateway --port 8000 &    # extra `gateway`; a worker has to run as well
    curl -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -H 'Idempotency-Key: order-7' \\
      -d '{"content": {"bucket": "uploads", "key": "acme/photo.jpg"}, "styles": [{"image": {"bucket": "styles", "key": "wave.jpg"}}]}' \\
      'http://127.0.0.1:8000/v1/jobs?wait=60'

- **Keys** (`STYLEQUEUE_KEYS_FILE`) have a role, which includes those before it: `read`, `submit`, `admin`; `monitor` sees no
  job, but how queues and workers fare, and in `/metrics` the names of tenants that have groups of consumers (`tenant/group`). A
  tenant's key sees and hands in its tenant's jobs alone: what is another's is answered as what is not there. Its jobs read and
  write only the folders that the key names. The file may change while gateways run: a key that is revoked is refused at
  once, and streams that it has open end within a second.
- **Once**: with `Idempotency-Key`, or an id of one's own (`PUT /v1/jobs/{job_id}`), a request may be sent again until it is
  answered. The same content is the same job; another content is `job_conflict`. Ids
  of the first kind are UUIDs of version 8: by such a one, a tenant's key names none but its own jobs.
- **Waiting**: `?wait=N`, or `Prefer: wait=N`, holds the answer until the job ends: 200 with its end, or 202 after N seconds.
- **Links** in a job's view lead on; they are relative to the address that was asked. Nobody needs to build any.
- **Problems** are `application/problem+json` (RFC 9457) with a stable `code`, a `hint` and the request's id; the table at the
  end has all codes.
- **Limits**: 1 MB of JSON (a batch 8 MB), which has to come within `STYLEQUEUE_GATEWAY_BODY_TIMEOUT_S` or at 16 KiB a second;
  64 KiB of headers within 10 s. The operator's file may give tenants a rate, whose state is in `RateLimit` and
  `RateLimit-Policy`, and a number of open jobs; past them, 429. It may limit what one job takes, in megapixels x steps x
  styles (`job_megapixel_steps`); past that, 422 `job_too_costly`.
- **Clients** can be made of openapi.json: by openapi-python-client as it is, by openapi-typescript with
  `--default-non-nullable false`, so that what has a default may be left out.
- **Behind a proxy**: `--forwarded-allow-ips` names those whose `X-Forwarded-*` are believed. TLS is the proxy's.
- **Stopping**: told by SIGTERM, a gateway says at `/readyz` that it is not ready, answers whoever waits, takes requests for
  `STYLEQUEUE_GATEWAY_NOTICE_S` more, then finishes those at hand and ends.
"""


def page(document: dict[str, Any]) -> str:
    """All operations in Markdown."""
    parts = [_INTRO]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append("\n".join(_operation(document, method.upper(), path, operation)) + "\n")
    rows = [f"| `{code}` | {STATUS[code]} | {meanings()[code] or title_of(code) + '.'} |" for code in STATUS]
    parts.append("\n".join(["## Codes", "", "| code | status | meaning |", "| --- | --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"## {method} {path}\n"
    yield f"`{operation['operationId']}`, {_key_of(operation)}\n"
    yield operation.get("description", operation.get("summary", "")) + "\n"
    if parameters := operation.get("parameters"):
        yield from ("| parameter | in | meaning |", "| --- | --- | --- |")
        for parameter in parameters:
            words = parameter.get("description") or parameter["schema"].get("description", "")
            yield f"| `{parameter['name']}` | {parameter['in']} | {words} |"
        yield ""
    body = operation.get("requestBody", {})
    for kind, content in body.get("content", {}).items():
        rows = list(_fields(document, content["schema"]))
        optional = "" if body.get("required") else ", which may be left out"
        yield f"Body, `{kind}`{optional}{':' if rows else '.'}\n"
        if rows:
            yield from ("| field | meaning |", "| --- | --- |", *rows, "")
    yield from ("| status | answer |", "| --- | --- |")
    for status, response in operation["responses"].items():
        if status != "default":
            yield f"| {status} | {response['description']} |"


def _key_of(operation: dict[str, Any]) -> str:
    """What it takes."""
    if not (security := operation.get("security")):
        return "no key"
    return f"role `{security[0]['key'][0]}`" if security[0]["key"] else "any key"


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """A row for each, wherever its model stands; those that are named by a pattern come last."""
    for kind in schema.get("anyOf", (schema,)):
        name = kind.get("$ref", "").rpartition("/")[2]
        model = document["components"]["schemas"].get(name, kind)
        for field, about in model.get("properties", {}).items():
            needed = ", required" if field in model.get("required", ()) else ""
            yield f"| `{field}`{needed} | {about.get('description', '')} |"
        others = model.get("additionalProperties")
        if isinstance(others, dict) and (words := others.get("description")):
            yield f"| others | {words} |"


def text(document: dict[str, Any]) -> str:
    """The document as it is kept."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    made = application().openapi()
    http_promises.write(made)
    DOCUMENT.write_text(text(made))
    PAGE.write_text(page(made))
