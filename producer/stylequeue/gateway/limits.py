"""How often a tenant may ask, and how an answer says so: RateLimit and RateLimit-Policy, as draft 10 has them."""

from __future__ import annotations

import math

from fastapi import Request

from ..aclient import AsyncStyleQueue
from ..contract.errors import RateLimited
from ..contract.status import Turn


async def take_turns(request: Request, queue: AsyncStyleQueue, count: int = 1) -> None:
    """Let the tenant of `queue` ask `count` times, and say in the answer's headers how often it still may.

    Raises RateLimited.
    """
    if count and (turn := await queue.take_turn(count)):
        request.scope["state"].setdefault("headers", {}).update(_headers(turn))


def headers_of(error: RateLimited) -> dict[str, str]:
    """Those of the answer to who asked too often."""
    return {"Retry-After": str(max(1, math.ceil(error.again_in_s))), **_headers(error.turn)}


def _headers(turn: Turn) -> dict[str, str]:
    window_s = math.ceil(turn.burst / turn.rate_per_s)
    return {
        "RateLimit-Policy": f'"tenant";q={turn.burst};w={window_s}',
        "RateLimit": f'"tenant";r={turn.left};t={math.ceil(turn.whole_in_s)}',
    }
