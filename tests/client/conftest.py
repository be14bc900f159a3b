"""Clients where no worker is, one of them behind a proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stylequeue.client import StyleQueue
from stylequeue.local import Stack
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.support.clients import Client
from tests.support.proxy import Proxy

REFUSAL = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
OFTEN = 20
"""More often than anybody tries."""


@pytest.fixture
def queue(client: Client, settings: Settings) -> Iterator[StyleQueue]:
    with client(settings) as queue:
        yield queue


@pytest.fixture
def proxy(stack: Stack) -> Iterator[Proxy]:
    with Proxy(HOST, stack.valkey.port) as proxy:
        yield proxy


@pytest.fixture
def redis_timeout_s() -> float:
    return 1


@pytest.fixture
def settings_behind(stack: Stack, settings: Settings, proxy: Proxy, redis_timeout_s: float) -> Settings:
    """They lead through the proxy."""
    url = settings.redis_url.get_secret_value().replace(f":{stack.valkey.port}/", f":{proxy.port}/")
    return Settings(**{**settings.model_dump(), "redis_url": url, "redis_timeout_s": redis_timeout_s})


@pytest.fixture
def behind(client: Client, settings_behind: Settings) -> Iterator[StyleQueue]:
    """A client that meets what the proxy does."""
    with client(settings_behind) as queue:
        yield queue
