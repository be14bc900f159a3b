"""A ledger of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stylequeue.ledger import Ledger
from stylequeue.settings import Settings


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = Ledger(settings)
    yield ledger
    ledger.close()
