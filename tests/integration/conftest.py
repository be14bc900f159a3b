"""A whole service: servers and a worker that runs for the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stylequeue.client import StyleQueue
from stylequeue.job import ImageRef
from stylequeue.local import Process, Stack
from stylequeue.settings import Settings
from tests.support import pictures
from tests.support.deployment import Deployment
from tests.support.fake_worker import START_TIMEOUT_S


@pytest.fixture(scope="session")
def real_worker(stack: Stack, model_dir: Path) -> Process:
    """The worker that ships, with the real engine, on the session's own database."""
    return stack.worker(env={"STYLEQUEUE_MODEL_DIR": str(model_dir)}, timeout_s=START_TIMEOUT_S)


@pytest.fixture(scope="session")
def session_queue(stack: Stack) -> Iterator[StyleQueue]:
    """A client of the session's own database."""
    with StyleQueue(stack.settings) as queue:
        yield queue


@pytest.fixture
def service(session_queue: StyleQueue, real_worker: Process) -> StyleQueue:
    """A client whose jobs are painted by the real worker."""
    assert real_worker.running, real_worker.log_tail()
    return session_queue


@pytest.fixture(scope="session")
def photograph(session_queue: StyleQueue, tmp_path_factory: pytest.TempPathFactory) -> ImageRef:
    """A content picture in the store, 96 x 64 px."""
    path = tmp_path_factory.mktemp("content") / "photograph.jpg"
    path.write_bytes(pictures.jpeg())
    return session_queue.store.upload_file(path)


@pytest.fixture
def deployment(stack: Stack, settings: Settings) -> Iterator[Deployment]:
    """Fake workers and clients on this test's own database."""
    with Deployment(stack, settings) as deployment:
        yield deployment
