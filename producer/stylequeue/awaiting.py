"""What is written once, as coroutines, and used with an event loop and without."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Iterator
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
