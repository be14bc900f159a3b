"""The keeper's moves: what is due, what is overdue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..contract.base import QUEUES
from .answers import DueMessage, Overdue

if TYPE_CHECKING:
    from .moves import Move, Moves

_COUNT_AGAIN_MS = 10_000
"""Between two times that keepers make the queues' counts anew."""


def take_due(moves: Moves, count: int) -> Move[list[DueMessage]]:
    """Take jobs for which a fresh message is due; the taker sends it."""
    return moves._move(
        "take_due", count=count, parse=lambda a: [DueMessage(*a[n : n + 5]) for n in range(0, len(a), 5)]
    )


def make_due(moves: Moves, job_ids: Sequence[str]) -> Move[str]:
    """Have fresh messages of queued jobs sent now; any other's is missed no more."""
    return moves._move("make_due", ids=list(job_ids), queues=QUEUES)


def overdue(moves: Moves, count: int) -> Move[Overdue]:
    """Ids of jobs with which something should have happened by now; and see that the queues' counts are right."""
    return moves._move(
        "overdue",
        count=count,
        told_within_ms=moves._lease_ms,
        queues=QUEUES,
        count_again_ms=_COUNT_AGAIN_MS,
        parse=lambda a: Overdue(*a),
    )
