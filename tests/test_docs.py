"""What the documentation says twice, it says the same; what it points to is there."""

from __future__ import annotations

import re
import runpy
import subprocess
import tomllib
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

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


def test_nothing_of_ours_is_said_to_come_from_an_index() -> None:
    """Neither by a document nor by a hint: a checkout is named, or a file."""
    sources = [path for side in ("producer", "worker", "examples", "docker") for path in (ROOT / side).rglob("*.*")]
    told = [path for path in (*PAGES, *sources) if path.suffix in (".md", ".py", ".service", ".sh", ".yaml")]
    assert len(told) > 100
    assert [path for path in told if re.search(r"pip install [\"']?stylequeue\b", path.read_text())] == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra for path in told for extra in re.findall(r"(?:with_extra\([\"']|\.\[)([a-z,]+)", path.read_text())}
    assert {"local", "gateway", "worker,models"} <= named
    assert {extra for each in named for extra in each.split(",")} <= extras.keys()


@pytest.mark.parametrize("side", ["producer", "worker"])
def test_the_layers_are_those_that_are_checked(side: str) -> None:
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [each["layers"] for each in checked if each["name"] == f"The layers of the {side} side"]
    [line] = re.findall(rf"^- {side}: ([^;]+?)(?:;|\n[-\n])", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE)
    said = [set(re.findall(r"\w+", layer)) for layer in line.split(" >")]
    assert said == [set(layer.split(" | ")) for layer in layers]


def test_what_the_benchmark_of_scale_measures_goes_into_the_page_and_the_picture() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "capacity.py"))
    page = (ROOT / "docs" / "capacity.md").read_text()
    spent = {"child": 0.02, "parent": 0.004, "redis": 0.004, "store": 0.01, "all": 0.038}
    looked = {"median": 2.0, "redis_processor": 1.0}

    def at(workers: int, efficiency: float) -> dict[str, object]:
        return {
            "workers": workers,
            "jobs_per_s": workers * efficiency,
            "efficiency": efficiency,
            "processors_allow": 1.0,
            "processors_used": 0.5,
            "processor_s_per_job": spent,
            "stage_s": {"fetch": 0.01, "store": 0.005, "between": 0.01},
            "redis_round_trips_per_job": 20,
            "redis_commands_per_job": 180,
            "redis_connections": 8 * workers,
        }

    found = {
        "machine": {"processors": 2, "processor": "a good one", "memory_gb": 23, "python": "3.11", "load": 0.1},
        "quick": False,
        "took_s": 1234,
        "curve": {"32": at(32, 0.875), "1": at(1, 0.96)},
        "backlog": {
            "jobs": 100_000,
            "submit_per_s": 3210,
            "submit_client_ms": 0.2,
            "submit_redis_ms": 0.1,
            "redis_bytes_per_job": 4321,
            "redis_bytes_by_part": {"own_events": 600},
        },
        "submit_beside_busy_per_s": 987,
        "redis_bytes_per_ended_job": 10_000,
        "drain": at(32, 0.8),
        "looks": dict.fromkeys(("scrape_ms", "keeper_round_ms", "keeper_comparison_ms"), looked),
        "parked": {"scrape_ms": looked},
        "recovery": {"killed": 32, "back_in_queue_s": 16.0, "all_paint_s": 60.0},
        "resident_mb": {"parent": 96.0, "child": 106.0, "decoder": 62.0},
        "wait_of_fast": {"shared": {"workers": [[8, "fast", "bulk"]], "p50_s": 1.0, "p99_s": 4.56}},
    }
    filled = script["with_figures"](page, found)
    for said in ("| 32 | 28.0 | 0.88 |", "3210 jobs/s", "987 jobs/s", "4321 bytes", "4.56 s", "70 GB", "264 MB"):
        assert said in filled, said
    assert script["with_figures"](filled, found) == filled, "and again"
    picture = ElementTree.fromstring(script["curve"](found))
    assert len(picture.findall("{http://www.w3.org/2000/svg}circle")) == 2
