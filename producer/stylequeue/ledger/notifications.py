"""Dead letters that are notifications of uploads: what came told of no upload, or of one that was not there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from ..contract.errors import JobNotFound
from ..contract.status import DeadLetter
from . import names
from .moves import Move
from .record import dead_letter_from_redis

if TYPE_CHECKING:
    from .aio import AsyncLedger


async def bury(ledger: AsyncLedger, text: str, *, source: str, code: str, reason: str) -> str:
    """Put what came from a source among the dead letters; returns the letter's id, the same for the same text."""
    digest = hashlib.sha256(f"{source}\0{text}".encode()).hexdigest()
    letter_id = f"notification-{digest[:32]}"
    move = ledger._moves.bury(letter_id, queue=source, code=code, reason=reason, message=text, kind="notification")
    [buried] = await ledger.perform([move])
    return buried


async def replay(ledger: AsyncLedger, letter_id: str) -> None:
    """Have a letter taken up by whoever listens to uploads. Raises JobNotFound where it is gone."""
    move: Move[str] = ledger._moves._move("replay_notification", id=letter_id)
    [verdict] = await ledger.perform([move])
    if verdict == "unknown":
        raise JobNotFound(letter_id)


async def wanted_again(ledger: AsyncLedger, count: int) -> list[DeadLetter]:
    """Letters that somebody wants taken up again, the longest waiting first. They stay letters, and wanted.

    Whoever takes one up ends that: by deleting it, or by burying it again.
    """
    wanted = await ledger._ask(lambda redis: redis.zrange(names.NOTIFIED_AGAIN_KEY, 0, count - 1))

    def read(redis: Any) -> Any:
        pipeline = redis.pipeline(transaction=False)
        for letter_id in wanted:
            pipeline.hgetall(names.dead_key(letter_id))
        return pipeline.execute()

    found = await ledger._ask(read) if wanted else []
    if gone := [letter_id for letter_id, fields in zip(wanted, found, strict=True) if not fields]:
        await ledger._ask(lambda redis: redis.zrem(names.NOTIFIED_AGAIN_KEY, *gone))
    return [dead_letter_from_redis(fields) for fields in found if fields]
