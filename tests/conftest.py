"""Fixtures for everything: the servers, and settings that lead to them."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from stylequeue.client import StyleQueue
from stylequeue.contract.objects import ImageRef
from stylequeue.local import Process, Stack
from stylequeue.settings import Settings
from stylequeue_worker.pictures.decoder import Decoder
from tests.support import pictures
from tests.support.clients import CLIENTS, Client
from tests.support.command import Command
from tests.support.deployment import Deployment
from tests.support.distribution import (
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_xdist_make_scheduler,
)
from tests.support.fake_worker import START_TIMEOUT_S
from tests.support.gate import Gate
from tests.support.invariants import keys_without_end
from tests.support.leaks import no_secret_is_told, pytest_runtest_logreport
from tests.support.models import model_dir
from tests.support.roles import RoleStack, as_role

__all__ = [
    "model_dir",
    "no_secret_is_told",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_runtest_logreport",
    "pytest_xdist_make_scheduler",
]

for _name in [name for name in os.environ if name.upper().startswith("STYLEQUEUE_")]:
    del os.environ[_name]  # tests see the defaults, whatever the developer has set
# Of the many processes that tests start, each would else compile anew what it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session", autouse=True)
def _no_up_of_the_developers_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


_free_databases = deque(range(1, 16))
_connections: dict[str, Any] = {}
"""To each database that was ever used, by its address: making one takes longer than all that a test does over it."""
_databases_in_use: dict[str, Settings] = {}
"""By their addresses."""
_sound_at: dict[str, int] = {}
"""After how many changes on its server a database was looked through, and nothing found."""
_AT_WORK_S = 0.2


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The servers, started once; database 0 of Redis belongs to what runs for the whole session."""
    with (RoleStack if os.environ.get("ROLES") else Stack)(settings=Settings()) as stack:
        _databases_in_use[stack.valkey.url()] = stack.settings
        yield stack
        del _databases_in_use[stack.valkey.url()]
        for connection in _connections.values():
            connection.close()


def _connection(url: str) -> Any:
    if url not in _connections:
        _connections[url] = redis.Redis.from_url(url, decode_responses=True)
    return _connections[url]


@contextmanager
def empty_database(stack: Stack) -> Iterator[Settings]:
    """Settings that lead to the servers and to a Redis database of one's own; the buckets are everybody's."""
    database = _free_databases.popleft()
    url = stack.valkey.url(database)
    settings = stack.settings.model_copy(update={"redis_url": SecretStr(url)})
    _connection(url).flushdb()
    _databases_in_use[url] = settings
    yield settings
    del _databases_in_use[url]
    kept = keys_without_end(_connection(url), settings)
    _connection(url).flushdb()
    _free_databases.append(database)
    assert not kept, kept


@pytest.fixture(autouse=True)
def nothing_stays_for_ever() -> Iterator[None]:
    """After every test: no key without TTL, cap or open job. A test's own database is looked at when it is given back,
    here those that it shared with others, in which somebody may just be at work: what is wrong is so a second time.
    """
    yield
    for url, settings in _databases_in_use.items():
        changes = _connection(url).info("persistence")["rdb_changes_since_last_save"]  # nothing is ever saved that way
        if changes == _sound_at.get(url):
            continue
        kept = set(keys_without_end(_connection(url), settings))
        if kept:
            time.sleep(_AT_WORK_S)
            kept &= set(keys_without_end(_connection(url), settings))
        assert not kept, kept
        _sound_at[url] = changes


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    """A decoder with the default limits; its process is started when it is first used."""
    with Decoder.of(Settings()) as decoder:
        yield decoder


@pytest.fixture
def settings(stack: Stack) -> Iterator[Settings]:
    """This test's own database."""
    with empty_database(stack) as settings:
        yield settings


@pytest.fixture
def queue(settings: Settings) -> Iterator[StyleQueue]:
    """A client of this test's own database, which sees all."""
    with StyleQueue(settings) as queue:
        yield queue


@pytest.fixture
def gate(settings: Settings, tmp_path: Path) -> Iterator[Gate]:
    """A gateway of this test's own database."""
    with Gate(settings, tmp_path / "keys.json") as gate:
        yield gate


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    """Either client, to be made, a producer's: what is asked of it is asked of both."""
    made = CLIENTS[request.param]
    return lambda settings, **how: made(as_role(settings, "producer"), **how)


@pytest.fixture
def stylequeue(stack: Stack) -> Command:
    """The command, told where the stack is."""
    return Command(stack.env)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of somebody's, on this machine."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(pictures.jpeg())
    return path


@pytest.fixture
def redis_url(settings: Settings) -> str:
    """Where this test's own database is."""
    return settings.redis_url.get_secret_value()


@pytest.fixture(scope="module")
def module_settings(stack: Stack) -> Iterator[Settings]:
    """A database for all tests of a module."""
    with empty_database(stack) as settings:
        yield settings


@pytest.fixture(scope="session")
def real_worker(stack: Stack, model_dir: Path) -> Process:
    """The worker that ships, with the real engine, on the session's own database."""
    return stack.worker(env={"STYLEQUEUE_MODEL_DIR": str(model_dir)}, timeout_s=START_TIMEOUT_S)


@pytest.fixture(scope="session")
def session_queue(stack: Stack) -> Iterator[StyleQueue]:
    """A client of the session's own database."""
    with StyleQueue(as_role(stack.settings, "producer")) as queue:
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
    return session_queue.upload(path)


@pytest.fixture
def deployment(stack: Stack, settings: Settings) -> Iterator[Deployment]:
    """Fake workers and clients on this test's own database."""
    with Deployment(stack, settings) as deployment:
        yield deployment
