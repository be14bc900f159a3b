"""`stylequeue upload`: files under their own names, or one under a key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stylequeue.cli import app
from stylequeue.client import StyleQueue
from stylequeue.contract.errors import ExitCode, Permanent
from stylequeue.contract.objects import ImageRef
from stylequeue.contract.scope import Scope
from stylequeue.settings import Settings
from tests.support import pictures
from tests.support.clients import Client
from tests.support.command import Command


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    path = tmp_path / "a b+c%2B é.jpg"
    path.write_bytes(pictures.jpeg())
    return path


def bytes_at(settings: Settings, bucket: str, key: str) -> bytes:
    with StyleQueue(settings) as queue:
        body: bytes = queue._store._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body


def test_files_go_into_a_folder(stylequeue: Command, settings: Settings, photo: Path, odd: Path) -> None:
    done = stylequeue("upload", str(photo), str(odd), "s3://uploads/put here/")
    assert done.stdout.splitlines() == [f"s3://uploads/put here/{path.name}" for path in (photo, odd)]
    assert bytes_at(settings, "uploads", f"put here/{odd.name}") == odd.read_bytes()
    odd.write_bytes(b"something else")
    [told] = [
        json.loads(line)
        for line in stylequeue("upload", str(odd), "s3://uploads/put%20here/", "--json").stdout.splitlines()
    ]
    assert told["uri"] == f"s3://uploads/put here/{odd.name}"
    assert bytes_at(settings, "uploads", f"put here/{odd.name}") == b"something else"


def test_one_goes_under_a_key(stylequeue: Command, settings: Settings, photo: Path) -> None:
    stylequeue("upload", str(photo), "s3://uploads/alone/under.jpg")
    assert bytes_at(settings, "uploads", "alone/under.jpg") == photo.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["s3://uploads/x/"], "nothing to put there"),
        (["photo.jpg", "elsewhere"], "the last argument says where"),
        (["photo.jpg", "photo.jpg", "s3://uploads/x"], "several files go into a folder"),
        (["missing.jpg", "s3://uploads/x/"], "missing.jpg: no such file"),
        ([".", "s3://uploads/x/y"], "no ordinary file"),
        (["photo.jpg", "s3://uploads/a//b/"], "photo.jpg"),
        (["photo.jpg", "s3:///x/"], "is no S3 address"),
    ],
)
def test_what_is_refused(photo: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str) -> None:
    """Before anything is asked of the store."""
    monkeypatch.chdir(photo.parent)
    done = CliRunner().invoke(app, ["upload", *arguments])
    assert done.exit_code == ExitCode.BAD_INPUT
    assert said in done.stderr


def test_a_client_puts_nothing_where_its_scope_does_not_reach(client: Client, settings: Settings, photo: Path) -> None:
    scope = Scope(read=("uploads/*",), write=("uploads/{tenant}/*",))
    with client(settings, tenant="acme", scope=scope) as queue:
        put = queue.upload(photo, to=ImageRef(bucket="uploads", key="acme/in/photo.jpg"))
        assert (put.key, put.etag is not None) == ("acme/in/photo.jpg", True)
        with pytest.raises(Permanent, match="may not write"):
            queue.upload(photo, to=ImageRef(bucket="uploads", key="other/in/photo.jpg"))
