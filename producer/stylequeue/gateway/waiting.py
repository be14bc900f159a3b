"""Waiting for a job's end while its caller holds the line."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request, Response

from ..aclient import AsyncStyleQueue
from ..contract.errors import WaitTimeout
from ..contract.status import JobStatus
from .state import Gateway, GatewayState
from .tasks import ended, gone


@dataclass(frozen=True)
class Wait:
    """How long a caller waits for the job's end, and how it said so."""

    seconds: float
    is_preference: bool

    def applied(self, response: Response) -> None:
        """Say that the caller's preference was heeded, where it had one."""
        if self.is_preference:
            response.headers["Preference-Applied"] = f"wait={self.seconds:g}"


async def _wait(
    gateway: GatewayState,
    wait: Annotated[
        int | None,
        Query(
            ge=0, le=3600, description="Seconds to wait for the job's end before answering; the gateway has a limit."
        ),
    ] = None,
    prefer: Annotated[
        str | None, Header(max_length=200, description="`wait=N` does the same as the parameter.")
    ] = None,
) -> Wait:
    preferred = next(_seconds(prefer or ""), None) if wait is None else None
    return Wait(min(preferred or wait or 0, gateway.settings.gateway_wait_s), preferred is not None)


WaitWanted = Annotated[Wait, Depends(_wait)]
"""Of a route: how long to wait, by `?wait=` or `Prefer: wait=`."""


def _seconds(prefer: str) -> Iterator[int]:
    """What the header asks for, as RFC 7240 has it."""
    for preference in prefer.split(","):
        if found := re.fullmatch(r"\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?:;.*)?", preference, re.ASCII | re.IGNORECASE):
            yield int(found[1])


async def ended_or_not(
    request: Request, gateway: Gateway, queue: AsyncStyleQueue, status: JobStatus, wait: Wait
) -> JobStatus:
    """What is known of a job once it has ended or `wait` is over; at once if the gateway stops or the caller goes."""
    if not wait.seconds or status.ended or gateway.stopping.is_set():
        return status
    waited_for = {
        asyncio.create_task(_end(queue, status.id, wait.seconds)),
        asyncio.create_task(gateway.stopping.wait()),
        asyncio.create_task(gone(request.receive)),
    }
    try:
        done, _ = await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await ended(waited_for)
    return await queue.status(status.id)


async def _end(queue: AsyncStyleQueue, job_id: str, wait_s: float) -> None:
    with suppress(WaitTimeout):
        async with aclosing(queue.watch(job_id, timeout_s=wait_s)) as events:
            async for _ in events:
                pass
