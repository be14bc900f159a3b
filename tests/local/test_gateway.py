"""The gateway's port and key, which are those of the last start."""

from __future__ import annotations

import shlex
import socket
import stat
from pathlib import Path

from stylequeue.gateway import keys
from stylequeue.local.gateway import USUAL_PORT, door_of
from stylequeue.local.server import HOST


def test_port_and_key_are_kept(tmp_path: Path) -> None:
    first = door_of(tmp_path, {USUAL_PORT})
    assert door_of(tmp_path, set()) == first
    ring = keys.KeyRing(first.keys_file)
    found = ring.find(first.key)
    assert found
    assert (found.role, found.tenant, found.scope) == ("admin", None, None)
    assert stat.S_IMODE((tmp_path / "gateway.json").stat().st_mode) == 0o600, "it holds the key itself"


def test_a_port_that_is_anothers_by_now_is_left_to_it(tmp_path: Path) -> None:
    first = door_of(tmp_path, {USUAL_PORT})
    with socket.create_server((HOST, first.port)):
        second = door_of(tmp_path, {USUAL_PORT})
        assert second.port != first.port
        assert second.key == first.key
    assert door_of(tmp_path, set()).port == second.port


def test_a_key_that_was_revoked_or_spoilt_is_replaced(tmp_path: Path) -> None:
    first = door_of(tmp_path, set())
    [key] = keys.listed(first.keys_file)
    keys.revoke(first.keys_file, key.id)
    second = door_of(tmp_path, set())
    assert second.key != first.key
    (tmp_path / "gateway.json").write_text("{")
    third = door_of(tmp_path, set())
    ring = keys.KeyRing(third.keys_file)
    assert ring.find(third.key)
    assert ring.find(second.key), "whoever has it keeps it"
    assert ring.find(first.key) is None


def test_the_line_is_one_for_a_shell(tmp_path: Path) -> None:
    door = door_of(tmp_path, set())
    words = shlex.split(door.line)
    assert words[0] == "curl"
    assert f"Authorization: Bearer {door.key}" in words
    assert f"http://127.0.0.1:{door.port}/v1/paint?wait=60" in words
