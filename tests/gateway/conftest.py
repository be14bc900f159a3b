"""A client beside the gateways."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stylequeue.client import StyleQueue
from stylequeue.settings import Settings
from tests.support.roles import as_role


@pytest.fixture
def queue(settings: Settings) -> Iterator[StyleQueue]:
    """A client that sees all."""
    with StyleQueue(as_role(settings, "producer")) as queue:
        yield queue
