"""Gateways to try things with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stylequeue.client import StyleQueue
from stylequeue.settings import Settings
from tests.support.gate import Gate
from tests.support.roles import as_role


@pytest.fixture
def gate(settings: Settings, tmp_path: Path) -> Iterator[Gate]:
    """A gateway of this test's own database."""
    with Gate(settings, tmp_path / "keys.json") as gate:
        yield gate


@pytest.fixture
def queue(settings: Settings) -> Iterator[StyleQueue]:
    """A client that sees all."""
    with StyleQueue(as_role(settings, "producer")) as queue:
        yield queue
