"""What the documentation says twice, it says the same; what it points to is there."""

from __future__ import annotations

import re
import runpy
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from stylequeue.contract.schema import text

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docker/*.md")])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
_TARGET = re.compile(r"(?:^|`|\s)make ([a-z]+(?:-[a-z]+)*)(?=[\s`]|$)", re.MULTILINE)


def targets_in(text: str) -> set[str]:
    """What is made in code, not in prose."""
    code = re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL)
    return {target for part in code for target in _TARGET.findall(part)}


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_table_of_settings_is_that_of_the_model() -> None:
    page = (ROOT / "docs" / "operate.md").read_text()
    with_table = runpy.run_path(str(ROOT / "scripts" / "settings_table.py"))["with_table"]
    assert page == with_table(page), "run scripts/settings_table.py"


@pytest.mark.parametrize("what", ["job", "event", "status"])
def test_the_schemas_are_those_of_the_models(what: Literal["job", "event", "status"]) -> None:
    assert (ROOT / "docs" / "schema" / f"{what}.json").read_text() == text(what), "run make docs"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in titles}, link


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_targets_of_the_makefile_exist(page: Path) -> None:
    assert targets_in(page.read_text()) <= TARGETS


def test_every_target_says_what_it_is_for() -> None:
    answer = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {line.split()[1] for line in answer.stdout.splitlines()} == TARGETS


def test_elsewhere_passes_what_has_to_pass_here() -> None:
    """The workflow makes what .ci/run makes, and installs what that installs, but for a browser, which is there."""
    here, there = (ROOT / ".ci" / "run").read_text(), (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert set(_TARGET.findall(here)) <= set(_TARGET.findall(there)) <= TARGETS
    [packages] = re.findall(r"apt-get install [^\n]*--no-install-recommends ([a-z -]+)", here)
    for installed in re.findall(r"apt-get install [^\n]*--no-install-recommends ([a-z -]+)", there):
        assert [*installed.split(), "chromium"] == packages.split()
