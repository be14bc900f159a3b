"""docs/faults.md: every fault of it has tests that are there, or says that it has none yet."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent.relative_to(ROOT)
FAULTS = range(1, 59)
_ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_NOT_YET = "not yet: "


def rows() -> dict[int, str]:
    """What the document says of tests, by fault."""
    found = [(int(row[1]), row[4]) for row in _ROW.finditer((ROOT / "docs" / "faults.md").read_text())]
    assert len(dict(found)) == len(found), "a fault stands there twice"
    return dict(found)


@cache
def defined_in(path: Path) -> set[str]:
    """Names of the test functions and classes of a module or folder."""
    modules = path.rglob("test_*.py") if path.is_dir() else [path]
    nodes = [node for module in modules for node in ast.walk(ast.parse(module.read_text()))]
    defined = (node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return {name for name in defined if name.lower().startswith("test")}


def named(tests: str) -> list[str]:
    """What a cell names in code, but for commands."""
    return [name for name in re.findall(r"`([^`]+)`", tests) if name.startswith("test")]


def test_every_fault_is_there_once() -> None:
    assert list(rows()) == list(FAULTS)


@pytest.mark.parametrize("fault", FAULTS)
def test_its_tests_are_there(fault: int) -> None:
    tests = rows()[fault]
    if tests.startswith(_NOT_YET):
        assert len(tests) > len(_NOT_YET) + 10, "and why not"
        return
    assert named(tests)
    for name in named(tests):
        path, _, function = name.partition("::") if "/" in name else (str(HERE), "", name)
        there = defined_in(ROOT / path)
        assert there, f"no tests in {path}"
        assert not function or function in there, f"{name} is not there"


def test_every_test_with_a_fault_s_number_is_in_its_row() -> None:
    numbered = {name: int(found[1]) for name in defined_in(ROOT / HERE) if (found := re.match(r"test_(\d+)_", name))}
    assert numbered
    assert {name: fault for name, fault in numbered.items() if name not in named(rows().get(fault, ""))} == {}
