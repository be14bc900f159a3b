"""A deployment of the test's own, and proxies to hurt it with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from stylequeue.local import Process, Stack
from stylequeue.local.server import HOST
from stylequeue.settings import Settings
from tests.conftest import empty_database
from tests.support.deployment import HURRIED, Deployment
from tests.support.lasting_valkey import LastingValkey
from tests.support.proxy import Proxy

CREW = 2


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


@pytest.fixture(scope="session")
def crew(stack: Stack) -> Iterator[Deployment]:
    """Workers to whom nothing is done, `CREW` of them, for all tests that need no others."""
    with empty_database(stack) as settings, Deployment(stack, settings, keeper_interval_s=0.2) as deployment:
        for number in range(CREW):
            deployment.start(f"worker{number}")
        deployment.until_ready()
        yield deployment


@pytest.fixture
def workers(deployment: Deployment) -> dict[str, Process]:
    """Two, by name."""
    workers = {name: deployment.start(name) for name in ("one", "two")}
    deployment.until_ready()
    return workers


@dataclass
class Own:
    """A deployment with a Redis of its own."""

    valkey: LastingValkey
    deployment: Deployment

    @property
    def redis(self) -> Any:
        return self.deployment.queue._ledger.redis


@pytest.fixture
def own_settings() -> dict[str, Any]:
    """What differs from the defaults where Redis is the test's own."""
    return HURRIED


@pytest.fixture
def own(stack: Stack, settings: Settings, own_settings: dict[str, Any], tmp_path: Path) -> Iterator[Own]:
    valkey = LastingValkey(tmp_path)
    try:
        valkey.wait_ready()
        there = settings.model_copy(update={"redis_url": SecretStr(valkey.url())})
        with Deployment(stack, there, **own_settings) as deployment:
            yield Own(valkey, deployment)
    finally:
        valkey.stop()
