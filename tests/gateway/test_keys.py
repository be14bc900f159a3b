"""Keys: what they look like, what is kept of them, when they are in force."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stylequeue.contract.errors import InvalidRequest, InvalidSettings
from stylequeue.contract.scope import Scope
from stylequeue.gateway import keys
from stylequeue.gateway.keys import KeyRing, is_mistyped, listed, make
from tests.support.command import BAD_INPUT, Command

SCOPE = Scope(read=("uploads/{tenant}/*", "styles/*"), write=("results/{tenant}/*",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def added(path: Path, **fields: object) -> str:
    text, key = make(**{"role": "submit", "tenant": "acme", "scope": SCOPE, **fields})  # type: ignore[arg-type]
    keys.add(path, key)
    return text


def test_a_key_is_found_by_scanners_and_only_its_digest_is_kept(path: Path) -> None:
    text = added(path)
    assert re.fullmatch(r"sq_[0-9a-f]{12}_[0-9a-f]{64}_[0-9a-f]{8}", text)
    kept = path.read_text()
    assert text not in kept
    assert text.split("_")[2] not in kept
    assert path.stat().st_mode & 0o777 == 0o600
    key = KeyRing(path).find(text)
    assert key
    assert (key.tenant, key.role, key.scope) == ("acme", "submit", SCOPE)


def test_a_typing_error_is_told_from_a_key_that_there_is_none_of(path: Path) -> None:
    text = added(path)
    stranger, _ = make(role="admin")
    wrong = text[:-10] + ("0" if text[-10] != "0" else "1") + text[-9:]
    assert not is_mistyped(text)
    assert not is_mistyped(stranger)
    for mistyped in (wrong, text[:-1], text + "0", text.upper(), "", "sq_", "sq_a_b_c", text.replace("_", "-")):
        assert is_mistyped(mistyped), mistyped
        assert KeyRing(path).find(mistyped) is None
    assert KeyRing(path).find(stranger) is None


def test_an_id_with_anothers_secret_is_no_key(path: Path) -> None:
    first, second = added(path), added(path)
    body = f"{'_'.join(first.split('_')[:2])}_{second.split('_')[2]}"
    mixed = f"{body}_{keys._checksum(body)}"
    assert not is_mistyped(mixed)
    assert KeyRing(path).find(mixed) is None


def test_digests_are_compared_in_one_time_whether_there_is_such_an_id_or_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = added(path)
    ring = KeyRing(path)
    lengths: list[tuple[int, int]] = []

    def compared(one: str, other: str) -> bool:
        lengths.append((len(one), len(other)))
        return False

    monkeypatch.setattr(keys, "compare_digest", compared)
    for given in (text, make(role="read")[0], "sq_unknown"):
        assert ring.find(given) is None
    assert lengths == [(64, 64)] * 3


def test_what_expires_is_over(path: Path) -> None:
    now = datetime.now(UTC)
    over, lives = added(path, expires_at=now), added(path, expires_at=now + timedelta(hours=1))
    ring = KeyRing(path)
    assert ring.find(over) is None
    assert ring.find(lives)


def test_a_key_that_was_found_is_looked_at_again(path: Path) -> None:
    """As for a stream that it has open."""
    now = datetime.now(UTC)
    text, other = added(path), added(path)
    ring = KeyRing(path)
    key, narrowed = ring.find(text), ring.find(other)
    assert key
    assert narrowed
    assert ring.has(key)
    assert ring.has(narrowed)
    keys.revoke(path, narrowed.id)
    keys.add(path, narrowed.model_copy(update={"role": "read"}))
    assert not ring.has(narrowed)
    keys.revoke(path, key.id)
    assert not ring.has(key)
    over = key.model_copy(update={"expires_at": now})
    keys.add(path, over)
    assert not ring.has(over)
    keys.revoke(path, key.id)
    keys.add(path, key)
    assert ring.has(key)
    path.unlink()
    assert not ring.has(key)


def test_a_change_is_in_force_at_once(path: Path) -> None:
    first = added(path)
    ring = KeyRing(path)
    second = added(path)
    assert ring.find(first)
    assert ring.find(second)
    keys.revoke(path, first.split("_")[1])
    assert ring.find(first) is None
    assert ring.find(second)


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_text("{"), lambda path: path.chmod(0o640), lambda path: path.write_text('{"keys": [1]}')],
    ids=["no JSON", "others may read it", "no keys"],
)
def test_a_spoilt_file_leaves_in_force_what_was(
    path: Path, spoil: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    text = added(path)
    ring = KeyRing(path)
    spoil(path)
    os.utime(path, ns=(0, 0))
    with caplog.at_level(logging.ERROR):
        assert ring.find(text)
        assert ring.find(text)
    assert len(caplog.records) == 1
    with pytest.raises(InvalidSettings, match="STYLEQUEUE_KEYS_FILE"):
        KeyRing(path)


@pytest.mark.parametrize(("mode", "fits"), [(0o440, True), (0o400, True), (0o444, False), (0o460, False)])
def test_anothers_file_may_be_read_by_the_group(
    path: Path, mode: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a cluster mounts secrets: root's, for a group that the process alone is in."""
    text = added(path)
    path.chmod(mode)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if fits:
        assert KeyRing(path).find(text)
    else:
        with pytest.raises(InvalidSettings, match="others than its owner"):
            KeyRing(path)


def test_without_the_file_no_key_is_in_force(path: Path) -> None:
    text = added(path)
    ring = KeyRing(path)
    kept = path.read_text()
    path.unlink()
    assert ring.find(text) is None
    path.write_text(kept)
    path.chmod(0o600)
    assert ring.find(text)


def test_many_editors_lose_nothing(path: Path) -> None:
    threads = [threading.Thread(target=added, args=[path]) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(listed(path)) == 16
    assert {one.name for one in path.parent.iterdir()} == {path.name, path.name + ".lock"}


@pytest.mark.parametrize(
    "fields",
    [
        {"tenant": "a/b"},
        {"tenant": ""},
        {"role": "owner"},
        {"role": "monitor"},
        {"scope": None},
        {"note": "a\nb"},
    ],
    ids=str,
)
def test_what_can_be_no_key_is_refused(path: Path, fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        added(path, **fields)
    assert caught.value.hint
    assert not path.exists()


class TestCommand:
    @pytest.fixture
    def command(self, path: Path) -> Command:
        return Command({"STYLEQUEUE_KEYS_FILE": str(path), "STYLEQUEUE_REDIS_URL": "redis://127.0.0.1:1/0"})

    def test_new_list_revoke(self, command: Command, path: Path) -> None:
        made = json.loads(
            command("keys", "new", "--tenant", "acme", "--expires", "2h", "--note", "shop", "--json").stdout
        )
        assert made["scope"] == SCOPE.model_dump(mode="json")
        found = KeyRing(path).find(made["key"])
        assert found
        assert found.expires_at
        assert abs(found.expires_at - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=1)
        operator = command("keys", "new", "--role", "admin").stdout.strip()
        kept = KeyRing(path).find(operator)
        assert kept
        assert (kept.tenant, kept.scope) == (None, None)
        shown = command("keys", "list").stdout
        assert f"{made['id']}  submit of tenant acme" in shown
        assert "admin of no tenant" in shown
        assert "# shop" in shown
        assert not {made["key"], operator} & set(shown.split())
        assert [key["id"] for key in json.loads(command("keys", "list", "--json").stdout)] == [made["id"], kept.id]
        command("keys", "revoke", made["id"])
        assert KeyRing(path).find(made["key"]) is None
        assert "no key" in command("keys", "revoke", made["id"], exit_code=BAD_INPUT).stderr

    def test_a_monitor_reaches_nothing(self, command: Command) -> None:
        made = json.loads(command("keys", "new", "--role", "monitor", "--json").stdout)
        assert (made["tenant"], made["role"]) == (None, "monitor")

    def test_a_reach_of_ones_own(self, command: Command) -> None:
        made = json.loads(command("keys", "new", "--tenant", "acme", "--read", "photos/{tenant}/*", "--json").stdout)
        assert made["scope"] == {"read": ["photos/{tenant}/*"], "write": ["results/{tenant}/*"]}
        assert "--tenant" in command("keys", "new", "--write", "results/a/*", exit_code=BAD_INPUT).stderr
        for folder in ("uploads", "uploads/", "up*/a", "Uploads//*", "results/*/a", "results/{id}/*"):
            refused = command("keys", "new", "--tenant", "acme", "--read", folder, exit_code=BAD_INPUT)
            assert "bucket/folder" in refused.stderr, folder

    def test_what_cannot_be(self, command: Command) -> None:
        assert "no time" in command("keys", "new", "--expires", "soon", exit_code=BAD_INPUT).stderr
        assert "tenant" in command("keys", "new", "--tenant", "a b", exit_code=BAD_INPUT).stderr
        without = Command({"STYLEQUEUE_REDIS_URL": "redis://127.0.0.1:1/0"})
        assert "STYLEQUEUE_KEYS_FILE" in without("keys", "list", exit_code=BAD_INPUT).stderr
