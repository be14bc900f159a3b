"""Fixtures for everything: the servers, and settings that lead to them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from pydantic import SecretStr

from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.support.models import model_dir

__all__ = ["model_dir"]

for _name in [name for name in os.environ if name.upper().startswith("STYLEQUEUE_")]:
    del os.environ[_name]  # tests see the defaults, whatever the developer has set

_free_databases = deque(range(1, 16))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The servers, started once; database 0 of Redis belongs to what runs for the whole session."""
    with Stack(settings=Settings()) as stack:
        yield stack


@contextmanager
def empty_database(stack: Stack) -> Iterator[Settings]:
    """Settings that lead to the servers and to a Redis database of one's own; the buckets are everybody's."""
    database = _free_databases.popleft()
    url = stack.valkey.url(database)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield stack.settings.model_copy(update={"redis_url": SecretStr(url)})
        client.flushdb()
    _free_databases.append(database)


@pytest.fixture
def settings(stack: Stack) -> Iterator[Settings]:
    """This test's own database."""
    with empty_database(stack) as settings:
        yield settings


@pytest.fixture
def redis_url(settings: Settings) -> str:
    """Where this test's own database is."""
    return settings.redis_url.get_secret_value()


@pytest.fixture(scope="module")
def module_settings(stack: Stack) -> Iterator[Settings]:
    """A database for all tests of a module."""
    with empty_database(stack) as settings:
        yield settings
