"""A service whose worker paints nothing, with the pictures that the README and the examples speak of."""

from __future__ import annotations

import os
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import release
from stylequeue.testing import Service
from tests.support import pictures

ROOT = Path(__file__).parents[2]
EPOCH_S = "1700000000"
"""When wheels of the tests are said to be made."""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as service:
        for bucket, key in (("uploads", "photo.jpg"), ("styles", "wave.jpg")):
            # The worker may write to neither.
            service.queue._store._client.put_object(Bucket=bucket, Key=key, Body=pictures.jpeg())
        yield service


@pytest.fixture
def env(service: Service) -> dict[str, str]:
    """What leads another process to the service."""
    return {**os.environ, **service.env}


@pytest.fixture(scope="session")
def readme() -> list[str]:
    """The README's programs: a backend, and the same with plain Celery."""
    snippets: list[str] = runpy.run_path(str(ROOT / "scripts" / "check_user_types.py"))["snippets"]()
    return snippets


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release is."""
    directory = tmp_path_factory.mktemp("dist")
    release.build(ROOT, directory, epoch_s=EPOCH_S, targets=("wheel",))
    [wheel] = directory.glob("*.whl")
    return wheel
