"""Bodies larger than any picture may be, sent to a gateway's own process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stylequeue.client import StyleQueue
from stylequeue.gateway import keys
from stylequeue.local import Process, Stack, environment
from stylequeue.local.gateway import answers
from stylequeue.local.server import HOST, free_ports
from stylequeue.settings import Settings
from tests.gateway.test_pictures import lying
from tests.support import pictures
from tests.support.usage import Usage

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")]

WAIT_S = 120
MAX_GROWTH_MB = 20
MB = 1024**2


@pytest.fixture
def served(stack: Stack, settings: Settings, tmp_path: Path) -> Iterator[tuple[Process, str]]:
    """A gateway, and the beginning of a line that asks it to paint for tenant `large`."""
    text, key = keys.make(role="submit", tenant="large", scope=keys.scope_of_tenants(settings))
    keys.add(tmp_path / "keys.json", key)
    [port] = free_ports(1)
    command = [sys.executable, "-m", "stylequeue.cli", "gateway", "--port", str(port)]
    env = {**environment(settings), "STYLEQUEUE_KEYS_FILE": str(tmp_path / "keys.json")}
    process = stack.process("gateway", command, env=env)
    process.wait_until(lambda: answers(port), WAIT_S)
    curl = f"curl --silent --show-error -w '%{{http_code}}' -H 'Authorization: Bearer {text}' -o answer.json"
    yield process, f"{curl} http://{HOST}:{port}/v1/paint"
    process.stop()


def test_they_are_cut_as_they_come(served: tuple[Process, str], queue: StyleQueue, tmp_path: Path) -> None:
    process, curl = served
    before = lying(queue, "large/")
    (tmp_path / "photo.jpg").write_bytes(pictures.jpeg())
    (tmp_path / "large.jpg").write_bytes(bytes(65 * MB))

    def asked(*form: str) -> tuple[str, str]:
        line = " ".join((curl, *(f"-F {part}" for part in form)))
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=WAIT_S
        )
        return done.stdout, json.loads((tmp_path / "answer.json").read_text()).get("code")

    assert asked("content=@photo.jpg", "style=@photo.jpg", "size=5") == ("422", "invalid_job")
    usage = Usage(process.pid)
    began_mb = usage.peak_mb
    for form in (("content=@large.jpg", "style=@photo.jpg"), ("content=@photo.jpg", "style=@large.jpg")):
        assert asked(*form) == ("413", "image_too_many_bytes")
    assert asked(*["style=@large.jpg"] * 10) == ("413", "body_too_large")
    print(f"grew by {usage.peak_mb - began_mb:.1f} MB")
    assert usage.peak_mb - began_mb < MAX_GROWTH_MB
    assert lying(queue, "large/") == before
    assert queue._store._client.list_multipart_uploads(Bucket="uploads", Prefix="large/").get("Uploads", []) == []
