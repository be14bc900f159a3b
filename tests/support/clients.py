"""Both clients, called alike."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import Any, Self, cast

from stylequeue.aclient import AsyncStyleQueue
from stylequeue.client import StyleQueue
from stylequeue.settings import Settings


class InLoop:
    """An AsyncStyleQueue in a loop of its own, which runs while something is asked of it: called like a StyleQueue."""

    def __init__(self, settings: Settings | None = None, **how: Any) -> None:
        self._queue = AsyncStyleQueue(settings, **how)
        self._loop = asyncio.new_event_loop()
        self._owns_loop = True

    def for_tenant(self, tenant: str, **how: Any) -> InLoop:
        bound = InLoop.__new__(InLoop)
        bound._loop, bound._owns_loop, bound._queue = self._loop, False, self._queue.for_tenant(tenant, **how)
        return bound

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            return getattr(self._queue._access, name[1:])
        value = getattr(self._queue, name)
        if inspect.isasyncgenfunction(value):
            return lambda *args, **kwargs: self._iterate(value(*args, **kwargs))
        if inspect.iscoroutinefunction(value):
            return lambda *args, **kwargs: self._loop.run_until_complete(value(*args, **kwargs))
        return value

    def _iterate(self, generator: AsyncGenerator[Any, None]) -> Iterator[Any]:
        try:
            with suppress(StopAsyncIteration):
                while True:
                    yield self._loop.run_until_complete(anext(generator))
        finally:
            self._loop.run_until_complete(generator.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._queue.close())
        if self._owns_loop:
            left = asyncio.all_tasks(self._loop)
            self._loop.close()
            assert not left, left


Client = Callable[..., StyleQueue]
"""Makes either of them."""

CLIENTS: dict[str, Client] = {"blocking": StyleQueue, "async": cast("Client", InLoop)}
