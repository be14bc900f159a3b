"""What an operator tells workers: which of them take no more jobs, and which queues none takes from."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from . import names
from .registry import DRAINED_S

if TYPE_CHECKING:
    from ..contract.worker import Draining
    from .aio import AsyncLedger


async def drain(ledger: AsyncLedger, worker: str, how: Draining) -> None:
    """Have a worker take no more jobs."""
    await ledger._ask(lambda redis: redis.set(names.drain_key(worker), how, ex=DRAINED_S))


async def undrain(ledger: AsyncLedger, worker: str) -> bool:
    """Have it take jobs again; whether it was drained."""
    return bool(await ledger._ask(lambda redis: redis.delete(names.drain_key(worker))))


async def pause(ledger: AsyncLedger, queue: str) -> None:
    """Have no worker take from a queue; one that is paused stays so since it was."""
    await ledger._ask(lambda redis: redis.hsetnx(names.PAUSED_KEY, queue, int(time.time() * 1000)))


async def resume(ledger: AsyncLedger, queue: str) -> None:
    """Have workers take from it again."""
    await ledger._ask(lambda redis: redis.hdel(names.PAUSED_KEY, queue))
