"""Fixtures for everything: the servers, and settings that lead to them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest
import redis
from pydantic import SecretStr

from stylequeue.local import Stack
from stylequeue.settings import Settings
from tests.support.models import model_dir

__all__ = ["model_dir"]

for _name in [name for name in os.environ if name.upper().startswith("STYLEQUEUE_")]:
    del os.environ[_name]  # tests see the defaults, whatever the developer has set

_databases = itertools.cycle(range(1, 16))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The servers, started once; database 0 of Redis belongs to what runs for the whole session."""
    with Stack(settings=Settings()) as stack:
        yield stack


@pytest.fixture
def redis_url(stack: Stack) -> Iterator[str]:
    """An empty Redis database, this test's own."""
    url = stack.valkey.url(next(_databases))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.fixture
def settings(stack: Stack, redis_url: str) -> Settings:
    """Settings that lead to the servers and to this test's own Redis database; the buckets are everybody's."""
    return stack.settings.model_copy(update={"redis_url": SecretStr(redis_url)})
