"""What tests of the worker have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stylequeue_worker.pictures.decoder import Decoder
from tests.support.odd_s3 import OddS3
from tests.support.workshop import Workshop


@pytest.fixture
def workshop(decoder: Decoder) -> Iterator[Workshop]:
    with OddS3() as s3:
        yield Workshop(s3, decoder)
