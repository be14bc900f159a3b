"""Nothing reaches Celery that Celery cannot bear: every message is looked at as it comes off the broker's list.

A stock worker trusts its messages. Some that are not what it expects end its process, some set it reconnecting for
ever, some go back to the list to do the same to the next worker, and the others vanish with a line in the log. Here
such a message is buried (put where an operator can see it) with a reason, and the worker takes the next one. A good one
is handed on as it was read, written anew.

Where: Celery's consumer pops messages with one `BRPOP` over all its lists, and kombu reads the reply with
`channel.client.parse_response(connection, "BRPOP")` (`kombu.transport.redis.Channel._brpop_read`). That method of
that one client is wrapped, for each connection of this app's worker and for nothing else; where the message was bad,
the reply becomes what Redis says when there is no message. Control commands and events of workers come by other ways
(pub/sub, lists of other names) and are not looked at. kombu promises none of this, so its version is pinned, and a
test watches over the names used here.

How nothing is lost: the reply of a BRPOP is all that is left of a message. A bad one is noted among the broker's
unacknowledged messages first, then buried, then the note is removed. After a crash in between, or where burying
fails, the broker puts the note back on the list when the visibility timeout has passed, and it all begins again: a
message may be buried twice. While Redis takes no note either, the message waits in this process. So does a good one,
where Redis gives it out and then has no room for kombu's own note of it: kombu would forget it.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from celery import Celery, bootsteps
from celery.worker import state
from celery.worker.consumer.tasks import Tasks

from stylequeue.contract.job import TASK_NAME

from .message import Fault, Refused, read_message

TASKS = {TASK_NAME}
"""What a worker takes: not all that Celery would, such as its own tasks and those of any module that was imported."""
MAX_BURIED_BYTES = 64 * 1024
"""Of a bad message's text that are kept: whatever could have been a job is kept whole."""

_MAX_NOTE_BYTES = 16 * MAX_BURIED_BYTES
"""Of what is kept, as a note in JSON."""
_MAX_IN_MEMORY = 100
"""Bad messages that wait in this process while Redis takes no note of them; past it, no other is fetched."""
_PAUSE_S = 0.5

_UNREAD = "stylequeue-unread"
_SIZE = "size_bytes"
_UNREAD_START = f'{{"{_UNREAD}": '.encode()

log = logging.getLogger(__name__)


class Refuse(Protocol):
    """Takes a bad message for good.

    `raw` is its text, cut at `MAX_BURIED_BYTES`, with backslash escapes for bytes that are no UTF-8; `fault` says what
    is wrong with it. May raise; the message then comes again.
    """

    def __call__(self, *, queue: str, raw: str, fault: Fault) -> object:
        """Refuse one message."""


def inspect_messages(app: Celery, refuse: Refuse, heard: Callable[[], None] = lambda: None) -> None:
    """Keep messages that Celery cannot bear from the worker of `app`: each goes to `refuse`, and off the broker.

    `heard` is called whenever the broker has answered, also that there is none.

    To be called before the worker starts. A second call for the same app changes nothing.
    """
    steps = app.steps["consumer"]
    if any(issubclass(step, _Step) for step in steps):
        return

    class Step(_Step):
        inspector = _Inspector(app, refuse, heard)

    steps.add(Step)


@dataclass(frozen=True)
class _BadMessage:
    queue: str
    item: bytes
    """As much of it as is kept."""
    size_bytes: int
    """As it came."""
    fault: Fault
    tag: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def text(self) -> str:
        text = self.item.decode(errors="backslashreplace")
        cut = self.size_bytes > len(self.item)
        return f"{text}\n[cut here, {self.size_bytes} bytes in all]" if cut else text

    def note(self) -> str:
        """For the broker: a message it can put back on the list, around the very bytes that were there."""
        unread = self.item.decode(errors="surrogateescape")
        message = {_UNREAD: unread, _SIZE: self.size_bytes, "headers": {}, "properties": {"delivery_info": {}}}
        return json.dumps([message, "", self.queue])


def _unwrap(item: bytes) -> tuple[bytes, int]:
    """The bytes inside a note that was put back, or `item` if it is none, and how many there were at first."""
    if not item.startswith(_UNREAD_START) or len(item) > _MAX_NOTE_BYTES:
        return item, len(item)
    try:
        note = json.loads(item)
        unread = bytes(note[_UNREAD].encode(errors="surrogateescape"))
        return unread, int(note.get(_SIZE, len(unread)))
    except Exception:
        return item, len(item)


class _Inspector:
    """Stands between one worker and its broker, across reconnections."""

    def __init__(self, app: Celery, refuse: Refuse, heard: Callable[[], None]) -> None:
        self._app = app
        self._refuse = refuse
        self._heard = heard
        self._bad: deque[_BadMessage] = deque()
        self._on_its_way: tuple[bytes, bytes] | None = None
        """The list that a good message came from, and the message, until the broker has noted that it is delivered."""

    def watch(self, channel: Any) -> None:
        """Look at whatever this channel's client pops from now on. Raises what Redis answers to what is to be done."""
        self._put_back(channel)
        client, qos = channel.client, channel.qos
        parse_response, note_as_delivered = client.parse_response, qos.append

        def note(message: Any, delivery_tag: str) -> None:
            note_as_delivered(message, delivery_tag)
            self._on_its_way = None

        qos.append = note

        def parse_inspected(connection: Any, command_name: str, **options: Any) -> Any:
            reply = parse_response(connection, command_name, **options)
            self._heard()
            return self._let_pass(channel, reply) if command_name == "BRPOP" else reply

        client.parse_response = parse_inspected

    def _let_pass(self, channel: Any, reply: Any) -> Any:
        """The reply, or None in place of a bad message."""
        if reply:
            key, item = reply
            queue = key.decode(errors="replace").rsplit(channel.sep, 1)[0]
            if queue in self._app.amqp.queues:
                item, size_bytes = _unwrap(item)
                try:
                    task = read_message(item, TASKS, size_bytes=size_bytes)
                    reply = self._on_its_way = (key, task.as_message(queue))
                except Refused as refused:
                    self._bad.append(_BadMessage(queue, item[:MAX_BURIED_BYTES], size_bytes, refused.fault))
                    reply = None
        self._refuse_bad(channel)
        while len(self._bad) >= _MAX_IN_MEMORY:
            state.maybe_shutdown()
            time.sleep(_PAUSE_S)
            self._refuse_bad(channel)
        return reply

    def _put_back(self, channel: Any) -> None:
        """Put a message back that was popped just before Redis went away, or had no room for a note of it."""
        if self._on_its_way:
            key, item = self._on_its_way
            with channel.conn_or_acquire() as client:
                client.rpush(key, item)
                # Half of the note may be there, by a name that the message does not have the next time.
                client.zrem(channel.unacked_index_key, json.loads(item)["properties"]["delivery_tag"])
            self._on_its_way = None
            log.warning("a message that could not be noted as delivered is back on its list")

    def _refuse_bad(self, channel: Any) -> None:
        while self._bad:
            bad = self._bad[0]
            try:
                self._note(channel, bad)
            except Exception as error:
                # The next reply comes within a second, and with it the next try. Raising would lose this reply.
                log.error("a bad message from %r waits in memory, Redis does not take it: %s", bad.queue, error)
                return
            self._bad.popleft()
            try:
                self._refuse(queue=bad.queue, raw=bad.text, fault=bad.fault)
                self._drop_note(channel, bad)
            except Exception:
                log.exception("a bad message from %r comes again after the visibility timeout", bad.queue)

    def _note(self, channel: Any, bad: _BadMessage) -> None:
        with channel.conn_or_acquire() as client, client.pipeline() as pipe:
            pipe.zadd(channel.unacked_index_key, {bad.tag: time.time()})
            pipe.hset(channel.unacked_key, bad.tag, bad.note())
            pipe.execute()

    def _drop_note(self, channel: Any, bad: _BadMessage) -> None:
        with channel.conn_or_acquire() as client, client.pipeline() as pipe:
            pipe.zrem(channel.unacked_index_key, bad.tag)
            pipe.hdel(channel.unacked_key, bad.tag)
            pipe.execute()


class _Step(bootsteps.StartStopStep):
    """Comes with the worker's start and every reconnection: the consumer has its channel and has popped nothing yet."""

    requires = (Tasks,)
    inspector: _Inspector

    def start(self, consumer: Any) -> None:
        """Watch the consumer's channel."""
        self.inspector.watch(consumer.task_consumer.channel)
