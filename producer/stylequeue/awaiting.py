"""What is written once, as coroutines, and used with an event loop and without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, TypeVar

_T = TypeVar("_T")


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """What it returns or raises, of a coroutine in which everything that is awaited blocks instead of suspending."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: _T = done.value
        return result
    coroutine.close()
    raise RuntimeError("this coroutine waits for an event loop")


@contextmanager
def cancellation_heard() -> Iterator[None]:
    """Around what is awaited: CancelledError at its end, where this task was told to end and has not heard of it.

    With Python 3.11 `asyncio.wait_for`, by which redis-py sends, now and then keeps that to itself.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    yield
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


def iterate(generator: AsyncGenerator[_T, None]) -> Iterator[_T]:
    """What such a generator yields."""
    try:
        while True:
            try:
                one = run(anext(generator))
            except StopAsyncIteration:
                return
            yield one
    finally:
        run(generator.aclose())


def for_all(coroutine: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """A task that serves whoever asks, and is no part of what he does who happened to be the first."""
    return asyncio.get_running_loop().create_task(coroutine, context=Context())
