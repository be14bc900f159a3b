"""What was delivered and not acknowledged goes back to its list as the text it is: it is read when it is taken again.

kombu would read it, by a reader that makes objects of marked values, of any size, between Redis and Redis; what it
cannot read ends the worker, and the next one that comes to it. Here nothing but Redis touches it. What is no note of a
delivery goes onto the default list, where the inspection buries it.
"""

from __future__ import annotations

import logging
from typing import Any, cast

from kombu.transport import redis

from stylequeue.contract.base import DEFAULT_QUEUE, QUEUES

MAX_NOTE_BYTES = 1024 * 1024
"""Of a delivered message with its exchange and routing key; none that a worker took is nearly so large."""
_SHOWN_BYTES = 200

# First put back, then forgotten: where a list cannot be written to, nothing is lost. As kombu writes a note:
# [{message}, exchange, "routing key"].
_SCRIPT = """
local note = redis.call('HGET', KEYS[1], ARGV[1])
local dropped
if note and #note > tonumber(ARGV[3]) then
    dropped = {#note, note:sub(1, tonumber(ARGV[4]))}
elseif note then
    local message, queue = note:match('^%[({.*}), [^,]*, "(%w+)"%]$')
    local list
    for index = 3, #KEYS do
        if KEYS[index] == queue then list = queue end
    end
    redis.call(ARGV[2], list or KEYS[3], list and message or note)
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return dropped
"""
_LISTS = (DEFAULT_QUEUE, *(queue for queue in QUEUES if queue != DEFAULT_QUEUE))

log = logging.getLogger(__name__)


class QoS(redis.QoS):
    """kombu's record of deliveries."""

    channel: Any

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back: as the next to be taken, or with `leftmost` as the last."""
        keys = (self.unacked_key, self.unacked_index_key, *_LISTS)
        push = "LPUSH" if leftmost else "RPUSH"
        with self.channel.conn_or_acquire(client) as client:
            dropped = client.eval(_SCRIPT, len(keys), *keys, tag, push, MAX_NOTE_BYTES, _SHOWN_BYTES)
        if dropped:
            size_bytes, start = dropped
            log.error("dropped %d bytes noted as delivered, which no message takes: %r", size_bytes, start)


def restore_as_text() -> None:
    """For all of this process: kombu looks for what there is to restore before a channel can be had from outside."""
    cast("Any", redis.Channel).QoS = QoS
