"""The file by which others see how a worker is: whose it is, and what lies in its way."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stylequeue.contract.errors import InvalidSettings
from stylequeue_worker.process.health import HealthFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path / "alive"


def test_it_is_private_and_says_what_was_written_last(path: Path) -> None:
    file = HealthFile(path)
    file.prepare()
    for text in ("one", "another"):
        file.write(text)
        assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (0o600, text)
    path.unlink()
    file.write("anew")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (0o600, "anew")


def test_its_directory_is_made_as_private_where_it_is_not_there(path: Path) -> None:
    """As in a volume that is anybody's to write."""
    path.parent.chmod(0o777)
    within = path.parent / "worker" / "alive"
    for _ in range(2):
        HealthFile(within).prepare()
        assert stat.S_IMODE(within.parent.stat().st_mode) == 0o700


def test_once_it_is_taken_away_it_stays_away(path: Path) -> None:
    file = HealthFile(path)
    file.prepare()
    file.clear_up()
    file.write("by a thread that has not heard of it")
    file.clear_up()
    assert list(path.parent.iterdir()) == []


def test_nothing_is_written_through_a_link(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "somebodys"
    target.write_text("text")
    long_ago = target.stat().st_mtime - 1000
    os.utime(target, (long_ago, long_ago))
    path.symlink_to(target)
    file = HealthFile(path)
    file.prepare()
    path.unlink()
    path.symlink_to(target)
    path.with_name(f".{path.name}.new").symlink_to(target)
    file.write("alive")
    assert not path.is_symlink()
    assert (target.read_text(), target.stat().st_mtime) == ("text", long_ago)


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o775])
def test_not_where_others_may_write(path: Path, mode: int) -> None:
    path.parent.chmod(mode)
    with pytest.raises(InvalidSettings, match="STYLEQUEUE_HEALTH_FILE"):
        HealthFile(path).prepare()
    assert not path.exists()


def test_not_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="STYLEQUEUE_HEALTH_FILE"):
        HealthFile(tmp_path / "nowhere" / "worker" / "alive").prepare()


def test_a_disk_that_fails_later_is_only_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = HealthFile(path)
    file.prepare()
    path.unlink()
    path.parent.rename(path.parent.with_name("moved"))
    file.write("alive")
    assert "grows old" in caplog.text


def test_none_is_kept_unless_it_is_asked_for() -> None:
    file = HealthFile(None)
    file.prepare()
    file.write("alive")
    assert not file.is_kept
    file.clear_up()
