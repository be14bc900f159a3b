"""Every fault of the list has a test named after its number, or a reason why it has none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.faults.exceptions import EXCEPTIONS

FAULTS = set(range(1, 47)) | set(range(47, 53))
"""Worker 1-14, broker 15-23, messages 24-29, cancelling 30-31, store 32-38, uploads 39-42, delivery 43-45, storm 46."""


def _tested() -> set[int]:
    """The numbers in the names of this directory's tests."""
    modules = (ast.parse(path.read_text()) for path in Path(__file__).parent.glob("test_*.py"))
    names = (node.name for module in modules for node in ast.walk(module) if isinstance(node, ast.FunctionDef))
    return {int(found[1]) for name in names if (found := re.match(r"test_(\d+)_", name))}


def test_every_fault_is_accounted_for() -> None:
    assert _tested() | set(EXCEPTIONS) == FAULTS


def test_no_exception_is_out_of_date() -> None:
    assert _tested().isdisjoint(EXCEPTIONS)
    assert all(EXCEPTIONS.values())
