"""The page's files, as they are served; what it does is tried in a browser (tests/browser)."""

from __future__ import annotations

import gzip
import re

import pytest

from stylequeue.contract.errors import InvalidSettings
from stylequeue.contract.objects import ImageRef
from stylequeue.gateway import page
from tests.gateway.test_edge import check_problem
from tests.support.gate import Gate

MAX_TRANSFERRED_BYTES = 150_000


def test_the_page_needs_no_key_and_may_ask_the_store_alone(gate: Gate) -> None:
    answer = gate.get("/", key=None)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == f"'self' {gate.settings.s3_endpoint_url}"
    assert policy["img-src"] == f"'self' blob: {gate.settings.s3_endpoint_url}"
    assert not re.search(r"<script(?![^>]* src=)|<style|\bon\w+=|\bstyle=|https?://", answer.text)
    assert gate.ask("HEAD", "/", key=None).status_code == 200


def test_where_the_store_is_is_worked_out_once(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    fails, signed = [True], []

    async def link(picture: ImageRef) -> str:
        signed.append(picture.bucket)
        if fails[0]:
            raise InvalidSettings("there are no keys of the store", "set them")
        return f"https://{picture.bucket}.example/a?signature"

    monkeypatch.setattr(gate.state.queue, "link", link)
    assert "https:" not in gate.get("/", key=None).headers["content-security-policy"]
    fails[0] = False
    first = gate.get("/", key=None).headers["content-security-policy"]
    assert "https://uploads.example" in first
    count = len(signed)
    assert gate.get("/", key=None).headers["content-security-policy"] == first
    assert len(signed) == count


def test_its_files_are_sent_packed_and_not_twice(gate: Gate) -> None:
    packed_bytes = 0
    for name in page._FILES:
        answer = gate.get(f"/page/{name}", key=None)
        assert answer.status_code == 200, name
        assert answer.content == page._FILES[name].read_bytes()
        packed_bytes += len(gzip.compress(answer.content, 9))
        again = gate.get(f"/page/{name}", key=None, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert packed_bytes < MAX_TRANSFERRED_BYTES
    script = gate.get("/page/main.js", key=None, headers={"Accept-Encoding": "gzip"})
    assert (script.headers["content-encoding"], script.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "content-encoding" not in gate.get("/page/main.js", key=None, headers={"Accept-Encoding": "br"}).headers


def test_nothing_else_is_served_there(gate: Gate) -> None:
    for name in ("nothing.js", "../__init__.py", "%2e%2e/__init__.py", "/etc/passwd", ""):
        check_problem(gate.get(f"/page/{name}", key=None), "address_not_found")
