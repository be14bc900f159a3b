"""What is published: the same wherever it is built, as small as was promised, and what it stands on is known."""

from __future__ import annotations

import json
import re
import shutil
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from packaging.markers import Marker
from packaging.utils import canonicalize_name

from scripts import release, sbom
from tests.examples.conftest import EPOCH_S
from tests.examples.wheels import ROOT, install

BILL: dict[str, Any] = json.loads(sbom.FILE.read_text())
VERSIONS = {canonicalize_name(component["name"]): component["version"] for component in BILL["components"]}
VENDORED = {library["name"]: library["version"] for library in sbom.VENDORED}
LICENCES = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-CMU",
    "MPL-2.0",  # of certifi, which is data
    "PSF-2.0",
    "Python-2.0",
    "Zlib",
    "Apache Software License",
    "BSD License",
    "Mozilla Public License 2.0 (MPL 2.0)",
}
"""That let anybody use, change and sell what is under them: SPDX's ids, and PyPI's classifiers."""
MAX_BYTES = 100e6
SHALLOW = shutil.ignore_patterns(".git", ".venv", "__pycache__", "dist", "tests", "docs", "bench-output", ".*_cache")


def locked(name: str) -> dict[str, str]:
    """The versions in a file of requirements that are for this Python and machine."""
    text = (ROOT / "requirements" / name).read_text()
    pins = re.findall(r"^(\S+)==(\S+)(?: ; (.*?))? \\$", text, re.MULTILINE)
    return {
        canonicalize_name(name): version for name, version, marker in pins if not marker or Marker(marker).evaluate()
    }


def test_a_wheel_is_the_same_wherever_it_is_built(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another directory, another umask, other times of files, another place in the world."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(ROOT, elsewhere, ignore=SHALLOW, copy_function=shutil.copyfile)
    for path in elsewhere.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    monkeypatch.setenv("LC_ALL", "C")
    release.build(elsewhere, tmp_path / "again", epoch_s=EPOCH_S, targets=("wheel",))
    assert (tmp_path / "again" / wheel.name).read_bytes() == wheel.read_bytes()
    with ZipFile(wheel) as archive:
        assert {member.date_time[:3] for member in archive.infolist()} == {(2023, 11, 14)}


def test_the_version_stands_once(wheel: Path) -> None:
    assert wheel.name.split("-")[1] == metadata("stylequeue")["Version"] == release.version()
    assert BILL["metadata"]["component"]["version"] == release.version(), "run make sbom"


@pytest.mark.parametrize(
    ("tag", "changes", "told"),
    [
        ("v{}", "## Unreleased\n\n## {}\n\nMuch.\n", []),
        ("v{}", "## {}\n\nMuch.\n", []),
        ("v{}", "## Unreleased\n\n- More.\n\n## {}\n\nMuch.\n", ["under Unreleased"]),
        ("v{}", "## {}0\n\nMuch.\n", ["no section"]),
        ("v{}", "## {}\n\n## 0.0.1\n\nMuch.\n", ["no section"]),
        ("{}", "## {}\n\nMuch.\n", ["the tag is"]),
        ("v0", "", ["the tag is", "no section"]),
    ],
)
def test_a_tag_is_released_if_it_is_what_is_here(tag: str, changes: str, told: list[str]) -> None:
    here = release.version()
    found = release.obstacles(tag.format(here), changes.format(here))
    assert len(found) == len(told)
    assert all(part in line for part, line in zip(told, found, strict=True))


def test_without_npm_what_was_made_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").touch()
    monkeypatch.setattr(release, "DIST", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="npm"):
        release.main()
    assert (tmp_path / "old").exists()


def test_the_wheel_says_what_it_stands_on(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if ".dist-info/sboms/" in name]
        assert archive.read(name) == sbom.FILE.read_bytes()
    assert (BILL["bomFormat"], BILL["specVersion"]) == ("CycloneDX", "1.6")


@pytest.mark.skipif(sys.version_info[:2] != sbom.PYTHON, reason="others are locked for other Pythons")
def test_that_is_what_is_locked_and_no_more() -> None:
    needed = sbom.needed(sbom.extras())
    assert {name: locked("dev.txt")[name] for name in needed} | VENDORED == VERSIONS, "run make sbom"
    required = {canonicalize_name(one["name"]) for one in BILL["components"] if one["scope"] == "required"}
    assert required == sbom.needed() | set(VENDORED)
    assert {"celery", "redis"} < required
    assert {"tensorflow", "fastapi"} < set(VERSIONS) - required
    assert "pytest" not in VERSIONS


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "requirements").glob("*.txt")))
def test_nothing_is_locked_in_two_versions(name: str) -> None:
    """What runs is what was tested."""
    here, tested = locked(name), locked("dev.txt")
    assert {one: version for one, version in here.items() if tested.get(one, version) != version} == {}


def test_all_libraries_that_lie_in_the_wheel_are_in_it() -> None:
    notice = (ROOT / "NOTICE").read_text()
    vendor = ROOT / "producer" / "stylequeue" / "gateway" / "page" / "static" / "vendor"
    assert {path.name.partition(".")[0].lower() for path in vendor.glob("*.js")} == set(VENDORED)
    for name, version in VENDORED.items():
        assert f"{name} {version}," in notice.lower()


def test_no_licence_is_a_surprise() -> None:
    surprises = {component["name"]: found for component in BILL["components"] if (found := unknown(component))}
    assert surprises == {}


def unknown(component: dict[str, Any]) -> set[str]:
    """Licences of a component that are not among ours; "none" where none is named."""
    named = set()
    for entry in component.get("licenses", ()):
        text = entry["expression"] if "expression" in entry else _name(entry["license"])
        named |= {text} if "expression" not in entry else set(re.split(r" (?:AND|OR) ", text))
    return (named or {"none"}) - LICENCES


def _name(licence: dict[str, str]) -> str:
    return licence.get("id") or licence["name"].removeprefix("License :: OSI Approved :: ")


@pytest.mark.parametrize("licences", [[], [{"expression": "MIT AND GPL-3.0-only"}], [{"license": {"name": "Mine"}}]])
def test_a_surprise_would_be_found(licences: list[dict[str, Any]]) -> None:
    assert unknown({"name": "other", "licenses": licences})


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["", "gateway", "otel"])
def test_it_is_small(wheel: Path, tmp_path: Path, extra: str) -> None:
    """On a disk, as it is downloaded; bytecode comes on top."""
    if extra and extra not in sbom.extras():
        pytest.skip(f"there is no extra {extra}")
    python = install(tmp_path, f"{wheel}[gateway,{extra}]" if extra else str(wheel))
    files = [path for path in python.parents[1].rglob("*") if path.is_file() and not path.is_symlink()]
    taken_bytes = sum(path.stat().st_blocks * 512 for path in files)
    print(f"{extra or 'alone'}: {taken_bytes / 1e6:.0f} MB")
    assert 10e6 < taken_bytes < MAX_BYTES
    assert not [path for path in files if "tensorflow" in path.parts]
