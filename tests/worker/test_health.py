"""The file by which others see that a worker's loop runs."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from stylequeue.contract.errors import InvalidSettings
from stylequeue_worker.process.health import STALE_S, HealthFile

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path / "alive"


def is_healthy(path: Path) -> bool:
    """By the very command that the image asks with."""
    [line] = [line for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines() if "-mmin" in line]
    command = line[line.index("find ") : line.rindex('"')].replace("\\", "")
    done = subprocess.run(["sh", "-c", command], env={**os.environ, "STYLEQUEUE_HEALTH_FILE": str(path)}, check=False)
    return done.returncode == 0


def test_it_is_private_and_fresh(path: Path) -> None:
    file = HealthFile(path)
    assert not is_healthy(path)
    file.prepare()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert is_healthy(path)
    long_ago = path.stat().st_mtime - STALE_S - 1
    os.utime(path, (long_ago, long_ago))
    assert not is_healthy(path)
    file.beat()
    assert is_healthy(path)
    file.clear_up()
    assert not path.exists()
    file.clear_up()


def test_one_that_was_taken_away_is_made_anew(path: Path) -> None:
    file = HealthFile(path)
    file.prepare()
    path.unlink()
    file.beat()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_written_through_a_link(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "somebodys"
    target.write_text("text")
    long_ago = target.stat().st_mtime - 1000
    os.utime(target, (long_ago, long_ago))
    path.symlink_to(target)
    file = HealthFile(path)
    file.beat()
    file.prepare()
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
        HealthFile(tmp_path / "nowhere" / "alive").prepare()


def test_a_disk_that_fails_later_is_only_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = HealthFile(path)
    file.prepare()
    path.unlink()
    path.parent.rename(path.parent.with_name("moved"))
    file.beat()
    assert "grows old" in caplog.text


def test_none_is_kept_unless_it_is_asked_for() -> None:
    file = HealthFile(None)
    file.prepare()
    file.beat()
    file.clear_up()
