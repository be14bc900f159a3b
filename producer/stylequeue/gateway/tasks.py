"""What a request does beside its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.types import Receive

_AGAIN_S = 0.5


async def gone(receive: Receive) -> None:
    """Return when the caller is."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Have tasks end, and return when they have."""
    # Again and again: one that comes at the very end of a time limit further down may get lost.
    while left := {task for task in tasks if not task.done()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_AGAIN_S)
