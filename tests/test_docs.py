"""What the documentation says twice, it says the same."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Literal

import pytest

from stylequeue.contract.schema import text

ROOT = Path(__file__).parents[1]


def test_the_table_of_settings_is_that_of_the_model() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    with_table = runpy.run_path(str(ROOT / "scripts" / "settings_table.py"))["with_table"]
    assert page == with_table(page), "run scripts/settings_table.py"


@pytest.mark.parametrize("what", ["job", "event", "status"])
def test_the_schemas_are_those_of_the_models(what: Literal["job", "event", "status"]) -> None:
    assert (ROOT / "docs" / "schema" / f"{what}.json").read_text() == text(what), "run make docs"
