"""docs/security.md: each row says what stops it and names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.test_count import defined_in

ROOT = Path(__file__).parents[2]
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[list[str]]:
    """The cells of each row below a table's head."""
    lines = (ROOT / "docs" / "security.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table if not re.match(r"\| (what|---)", line)
    ]


ROWS = rows()


def test_nothing_is_tried_twice() -> None:
    tried = [row[0] for row in ROWS]
    assert len(tried) > 30
    assert len({*tried}) == len(tried)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_its_tests_are_there(row: list[str]) -> None:
    tried, stops, tests = row
    assert tried
    assert stops
    named = _NAMED.findall(tests)
    assert named, "no test"
    assert ", ".join(f"`{path}::{name}`" for path, name in named) == tests, "a name that is not tests/path.py::test"
    for path, name in named:
        assert (ROOT / path).is_file(), f"{path} is not there"
        assert name in defined_in(ROOT / path), f"{name} is not in {path}"


def test_every_attack_of_this_folder_has_its_row() -> None:
    """What is tried here is told there."""
    named = {name for row in ROWS for name in _NAMED.findall(row[2])}
    for module in sorted(Path(__file__).parent.glob("test_*.py")):
        if module != Path(__file__):
            path = str(module.relative_to(ROOT))
            assert any(where == path for where, _ in named), f"no row names a test of {path}"
