"""Operators' files to try uploads with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stylequeue.settings import Settings

Operated = Callable[[str], Settings]

TEMPLATES = """
[template.wave]
styles = ["s3://styles/wave.jpg"]
recipe = {method = "fast"}
"""
WAVE = (
    TEMPLATES
    + """
[[rule]]
name = "wave"
bucket = "uploads"
prefix = "in/"
template = "wave"
"""
)
"""The simplest there is."""


@pytest.fixture
def operated(settings: Settings, tmp_path: Path) -> Operated:
    """Settings of this test's own database, with an operator's file that says that; called again, it changes."""

    def write(text: str) -> Settings:
        path = tmp_path / "operator.toml"
        path.write_text(text)
        return settings.model_copy(update={"operator_file": path})

    return write
