"""A deployment that older code left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stylequeue.client import StyleQueue
from stylequeue.settings import Settings
from tests.compatibility.recording import Recording


@pytest.fixture(scope="session")
def killed() -> Recording:
    """With jobs in every state and dead letters of every kind."""
    return Recording.read("killed")


@pytest.fixture
def queue(settings: Settings, killed: Recording) -> Iterator[StyleQueue]:
    """A client of that deployment, just after its workers were killed."""
    killed.load(settings)
    with StyleQueue(settings) as queue:
        yield queue
