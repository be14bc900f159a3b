"""What lies on the broker's lists, and how: the one place that knows what kombu makes of a Redis.

A queue is a list of that name: messages come in at its head and are taken from its tail. One that was delivered and not
acknowledged is kept in the hash `unacked` by its delivery tag, as JSON of [message, exchange, routing key], and in the
sorted set `unacked_index` by the moment of its delivery, on that worker's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..contract.base import QUEUES
from ..contract.plain_json import read_json

if TYPE_CHECKING:
    from redis import Redis

UNACKED_KEY = "unacked"
UNACKED_INDEX_KEY = "unacked_index"
CELERYS_DEFAULT_QUEUE = "celery"
"""Where a message goes whose sender named no queue. No worker of ours takes from it."""
_PAGE = 100
"""Messages read at once: as large as they may be, they take some megabytes."""
_MAX_BYTES = 1024 * 1024
"""Of a message that is looked into; no message of ours is nearly so large."""
_ON_ITS_WAY_S = 180
"""From a message's delivery to the claim of its job, at most: a child may have to load its models first."""


class Lists:
    """The broker's lists. Every method raises what redis-py does."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    def put(self, queue: str, raw: str) -> None:
        """Put a message on a queue exactly as it came."""
        self._redis.lpush(queue, raw)

    def waiting(self) -> int:
        """Messages that wait for a worker."""
        return sum(self._redis.llen(queue) for queue in QUEUES)

    def astray(self) -> int:
        """Messages whose senders named no queue: nobody will ever take them."""
        return int(self._redis.llen(CELERYS_DEFAULT_QUEUE))

    def task_ids(self) -> set[str]:
        """Task ids of all messages that wait for a worker, or that one has taken just now."""
        found = set()
        for queue in QUEUES:
            for start in range(0, self._redis.llen(queue), _PAGE):
                found |= {_task_id(raw) for raw in self._bytes("LRANGE", queue, start, start + _PAGE - 1)}
        # What was delivered longer ago, and whose job is queued still or again, was delivered to one that is gone. By
        # clocks that may be wrong: then the job has a message more, or waits for the broker's own timeout.
        now_s, _ = self._redis.time()
        tags = self._redis.zrangebyscore(UNACKED_INDEX_KEY, now_s - _ON_ITS_WAY_S, "+inf")
        if tags:
            found |= {_task_id(raw) for raw in self._bytes("HMGET", UNACKED_KEY, *tags) if raw}
        return found

    def _bytes(self, *command: str | int) -> Any:
        """What a command answers, undecoded: anybody may have put anything on a list."""
        from redis.client import NEVER_DECODE

        return self._redis.execute_command(*command, **{NEVER_DECODE: True})


def _task_id(raw: bytes) -> str:
    """Of a message as it lies on a list, or as one lies that was delivered; "" where it has none."""
    if len(raw) > _MAX_BYTES:
        return ""
    try:
        whole = read_json(raw)
        message = whole[0] if isinstance(whole, list) else whole
        return str(message["headers"]["id"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
