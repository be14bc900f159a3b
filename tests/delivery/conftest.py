"""An endpoint, the operator's file that names it, and a client that reads that file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stylequeue.client import StyleQueue
from stylequeue.settings import Settings
from tests.support.deliveries import Operator
from tests.support.receiver import Receiver
from tests.support.roles import as_role


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def operator(settings: Settings, tmp_path: Path, receiver: Receiver) -> Operator:
    return Operator(settings, tmp_path, crm=receiver.endpoint())


@pytest.fixture
def queue(operator: Operator) -> Iterator[StyleQueue]:
    with StyleQueue(as_role(operator.settings, "producer")) as queue:
        yield queue
