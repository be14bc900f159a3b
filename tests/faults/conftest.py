"""A deployment of the test's own, and proxies to hurt it with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stylequeue.local import Stack
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.support.deployment import Deployment
from tests.support.proxy import Proxy


@pytest.fixture
def redis_proxy(stack: Stack) -> Iterator[Proxy]:
    """In front of Redis."""
    with Proxy(HOST, stack.valkey.port) as proxy:
        yield proxy


@pytest.fixture
def store_proxy(stack: Stack) -> Iterator[Proxy]:
    """In front of the store."""
    with Proxy(HOST, stack.seaweedfs.port) as proxy:
        yield proxy


@pytest.fixture
def deployment(stack: Stack, settings: Settings, redis_proxy: Proxy, store_proxy: Proxy) -> Iterator[Deployment]:
    """Starts workers and makes clients; the proxies outlive them."""
    with Deployment(stack, settings) as deployment:
        yield deployment
