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
    from .ledger import Ledger


class Notifications:
    """Those of a deployment. Any method raises Unavailable where Redis does not answer in time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def bury(self, *, source: str, raw: str, code: str, reason: str) -> str:
        """Put what came from a source among the dead letters; returns the letter's id, the same for the same text."""
        digest = hashlib.sha256(f"{source}\0{raw}".encode()).hexdigest()
        named = f"notification-{digest[:32]}"
        move = self._ledger._moves.bury(named, queue=source, code=code, reason=reason, message=raw, kind="notification")
        return self._ledger._run([move])[0]

    def wanted_again(self, count: int) -> list[DeadLetter]:
        """Letters that somebody wants taken up again, the longest waiting first. They stay letters, and wanted.

        Whoever takes one up ends that: with `delete`, or by burying it again.
        """
        with self._ledger._reachable():
            redis: Any = self._ledger.redis
            wanted = redis.zrange(names.NOTIFIED_AGAIN_KEY, 0, count - 1)
            pipeline = redis.pipeline(transaction=False)
            for letter_id in wanted:
                pipeline.hgetall(names.dead_key(letter_id))
            found = pipeline.execute()
        if gone := [letter_id for letter_id, fields in zip(wanted, found, strict=True) if not fields]:
            with self._ledger._reachable():
                redis.zrem(names.NOTIFIED_AGAIN_KEY, *gone)
        return [dead_letter_from_redis(fields) for fields in found if fields]


async def replay(ledger: AsyncLedger, letter_id: str) -> None:
    """Have a letter taken up by whoever listens to uploads. Raises JobNotFound where it is gone."""
    move: Move[str] = ledger._moves._move("replay_notification", id=letter_id)
    [verdict] = await ledger.perform([move])
    if verdict == "unknown":
        raise JobNotFound(letter_id)
