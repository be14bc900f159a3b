"""Puts into dist/ all files of a release, with their checksums, whichever tag it has (the only argument).

`make release`; docs/releasing.md says how a release comes about.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
SUMS = "SHA256SUMS"
TYPESCRIPT = ("openapi-typescript@7.13.0", "typescript@5.9.3")
TO_TYPESCRIPT = ("openapi-typescript", "--default-non-nullable", "false")
"""Fields that have a default may be left out by who asks."""
COPIED = {
    "docs/openapi.json": "openapi.json",
    "docs/schema/job.json": "job.schema.json",
    "docs/schema/event.json": "event.schema.json",
    "docs/schema/status.json": "status.schema.json",
    "producer/stylequeue.cdx.json": "cdx.json",
}
"""What goes with each release as it is, and the end of its name there."""


def version() -> str:
    """The version, from the one place where it stands."""
    [found] = re.findall(
        r'^__version__ = "(.+)"$', (ROOT / "producer" / "stylequeue" / "_version.py").read_text(), re.M
    )
    return str(found)


def obstacles(tag: str, changelog: str) -> list[str]:
    """Why this tag cannot be released."""
    found = []
    if tag != f"v{version()}":
        found.append(f"the tag is {tag}, and the version in producer/stylequeue/_version.py {version()}")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", changelog, re.M | re.S))
    if not sections.get(version(), "").strip():
        found.append(f"CHANGELOG.md has no section {version()}")
    if sections.get("Unreleased", "").strip():
        found.append("CHANGELOG.md has changes under Unreleased: they belong to this version")
    return found


def commit_s() -> str:
    """When the commit was made that is built, in seconds: the time of all files in what is built."""
    command = ["git", "log", "-1", "--format=%ct"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603


def build(root: Path, directory: Path, *, epoch_s: str, targets: tuple[str, ...] = ("wheel", "sdist")) -> None:
    """Build what is published, the same bytes wherever and whenever it is built of the same sources."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(directory)]
    for target in targets:
        env = {**os.environ, "SOURCE_DATE_EPOCH": epoch_s}
        subprocess.run([*command, "--target", target], cwd=root, env=env, stdout=subprocess.DEVNULL, check=True)  # noqa: S603


def main(tag: str | None = None) -> None:
    """Do it. Where a tag is given that cannot be released, or npm is lacking, say so, and do nothing."""
    if tag and (why_not := obstacles(tag, (ROOT / "CHANGELOG.md").read_text())):
        raise SystemExit("\n".join(why_not))
    if not shutil.which("npm"):
        raise SystemExit("npm makes the TypeScript types, and is not there: install Node.js")
    shutil.rmtree(DIST, ignore_errors=True)
    build(ROOT, DIST, epoch_s=commit_s())
    own = f"stylequeue-{version()}"
    for source, end in COPIED.items():
        shutil.copyfile(ROOT / source, DIST / f"{own}.{end}")
    packages = [option for package in TYPESCRIPT for option in ("--package", package)]
    types = [*TO_TYPESCRIPT, str(ROOT / "docs" / "openapi.json"), "--output", str(DIST / f"{own}.d.ts")]
    # Elsewhere: it would look for packages in what lies around it.
    with tempfile.TemporaryDirectory() as empty:
        subprocess.run(["npm", "exec", "--yes", *packages, "--", *types], cwd=empty, check=True)  # noqa: S603, S607
    files = sorted(DIST.iterdir())
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (DIST / SUMS).write_text("".join(sums))
    print("".join(sums), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
