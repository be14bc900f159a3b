"""What lies on the broker's lists, and how: the one place that knows what kombu makes of a Redis.

A queue is a list of that name: messages come in at its head and are taken from its tail. One that was delivered and not
acknowledged is kept in the hash `unacked` by its delivery tag, as JSON of [message, exchange, routing key], and in the
sorted set `unacked_index` by the moment of its delivery, on that worker's clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..contract.base import QUEUES
from ..contract.plain_json import read_json

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

UNACKED_KEY = "unacked"
UNACKED_INDEX_KEY = "unacked_index"
CELERYS_DEFAULT_QUEUE = "celery"
"""Where a message goes whose sender named no queue. No worker of ours takes from it."""
MAX_LOOKED_AT = 300_000
"""Messages in one search: as many as three full queues hold."""
_PAGE = 100
"""Messages read at once: as large as they may be, they take some megabytes."""
_MAX_BYTES = 256 * 1024
"""Of a message that is looked into; workers take no larger one."""
# Left on the server where it is larger: anybody may have put anything there.
_SMALL_ONES = """
local small = {}
for _, raw in ipairs(redis.call(ARGV[2], unpack(ARGV, 3))) do
    if raw and #raw <= tonumber(ARGV[1]) then table.insert(small, raw) end
end
return small
"""
ON_ITS_WAY_S = 180
"""From a message's delivery to the claim of its job, at most: a child may have to load its models first."""


class Lists:
    """The broker's lists. Every method raises what redis-py does."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    def put(self, queue: str, raw: str) -> None:
        """Put a message on a queue exactly as it came."""
        self._redis.lpush(queue, raw)

    def about(self) -> int:
        """Messages that wait for a worker, or were delivered to one within `ON_ITS_WAY_S`."""
        now_s, _ = self._redis.time()
        pipeline = self._redis.pipeline(transaction=True)
        for queue in QUEUES:
            pipeline.llen(queue)
        pipeline.zcount(UNACKED_INDEX_KEY, now_s - ON_ITS_WAY_S, "+inf")
        return sum(pipeline.execute())

    def astray(self) -> int:
        """Messages whose senders named no queue: nobody will ever take them."""
        return int(self._redis.llen(CELERYS_DEFAULT_QUEUE))

    def missed(self, task_ids: Iterable[str], check: Callable[[], object] = lambda: None) -> set[str]:
        """Which of these tasks have no message that waits for a worker, or that one has taken just now.

        None, with a warning in the log, where more than `MAX_LOOKED_AT` messages would have to be looked at. Raises
        what `check` does, which is called every hundred messages.
        """
        missed, looked_at = {*task_ids}, 0
        for page in self._pages():
            check()
            missed.difference_update(map(_task_id, page))
            if not missed:
                break
            looked_at += _PAGE
            if looked_at >= MAX_LOOKED_AT:
                log.warning("too many messages to look for lost ones among them: more than %d", looked_at)
                return set()
        return missed

    def _pages(self) -> Iterator[list[bytes]]:
        """Messages, `_PAGE` at a time but for those that are too large."""
        for queue in QUEUES:
            # From the head: what is taken or put back meanwhile, at the tail, moves none of the others.
            for start in range(0, self._redis.llen(queue), _PAGE):
                yield self._small("LRANGE", queue, start, start + _PAGE - 1)
        # What was delivered longer ago, and whose job is queued still or again, was delivered to one that is gone. By
        # clocks that may be wrong: then the job has a message more, or waits for the broker's own timeout.
        now_s, _ = self._redis.time()
        start = 0
        while tags := self._bytes(
            "ZREVRANGEBYSCORE", UNACKED_INDEX_KEY, "+inf", now_s - ON_ITS_WAY_S, "LIMIT", start, _PAGE
        ):
            yield self._small("HMGET", UNACKED_KEY, *tags)
            start += _PAGE

    def _small(self, *command: str | int | bytes) -> list[bytes]:
        return list(self._bytes("EVAL", _SMALL_ONES, 0, _MAX_BYTES, *command))

    def _bytes(self, *command: str | int | bytes) -> Any:
        """What a command answers, undecoded: anybody may have put anything on a list."""
        from redis.client import NEVER_DECODE

        return self._redis.execute_command(*command, **{NEVER_DECODE: True})


def _task_id(raw: bytes) -> str:
    """Of a message as it lies on a list, or as one lies that was delivered; "" where it has none."""
    try:
        whole = read_json(raw)
        message = whole[0] if isinstance(whole, list) else whole
        return str(message["headers"]["id"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
