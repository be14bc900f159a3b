"""Nothing reaches Celery that Celery cannot bear: every message is looked at as it comes off the broker's list.

A stock worker trusts its messages. Some that are not what it expects end its process, some set it reconnecting for
ever, some go back to the list to do the same to the next worker, and the others vanish with a line in the log. Here
such a message is buried (put where an operator can see it) with a reason, and the worker takes the next one.

Where: Celery's consumer pops messages with one `BRPOP` over all its lists, and kombu reads the reply with
`channel.client.parse_response(connection, "BRPOP")` (`kombu.transport.redis.Channel._brpop_read`). That method of
that one client is wrapped, for each connection of this app's worker and for nothing else; where the message was bad,
the reply becomes what Redis says when there is no message. Control commands and events of workers come by other ways
(pub/sub, lists of other names) and are not looked at. kombu promises none of this, so its version is pinned, and a
test watches over the names used here.

How nothing is lost: the reply of a BRPOP is all that is left of a message. A bad one is noted among the broker's
unacknowledged messages first, then buried, then the note is removed. After a crash in between, or where burying
fails, the broker puts the note back on the list when the visibility timeout has passed, and it all begins again: a
message may be buried twice. While Redis takes no note either, the message waits in this process.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from datetime import datetime
from textwrap import shorten
from typing import Annotated, Any, Literal, Protocol, cast

from celery import Celery, bootsteps
from celery.utils.time import maybe_iso8601, maybe_make_aware, timezone
from celery.worker.consumer.tasks import Tasks
from kombu.transport.virtual import Base64
from kombu.utils.json import loads
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from stylequeue.contract.base import parse
from stylequeue.contract.errors import Code, InvalidJob

MAX_MESSAGE_BYTES = 256 * 1024
"""Of a message as it lies on the list. The largest job takes 32 KiB, in base64 and with its headers about 50."""
MAX_BURIED_BYTES = 64 * 1024
"""Of a bad message's text that are kept: whatever could have been a job is kept whole."""
MAX_NESTING = 64
"""Lists and objects inside each other. A job needs 5; Python gives up at some hundreds, Celery sooner."""
MAX_NAME_CHARS = 255
"""Of an id or a name; AMQP's own limit."""

_UNREAD = "stylequeue-unread"
_UNREAD_START = f'{{"{_UNREAD}": '.encode()

log = logging.getLogger(__name__)


class Buried(Protocol):
    """Takes a bad message for good.

    `raw` is its text, cut at `MAX_BURIED_BYTES`, with backslash escapes for bytes that are no UTF-8; `code` and
    `reason` say what is wrong with it. May raise; the message then comes again.
    """

    def __call__(self, *, queue: str, raw: str, code: str, reason: str) -> object:
        """Bury one message."""


def guard(app: Celery, bury: Buried) -> None:
    """Keep messages that Celery cannot bear from the worker of `app`: each goes to `bury`, and off the broker.

    To be called before the worker starts. A second call for the same app changes nothing.
    """
    steps = app.steps["consumer"]
    if any(issubclass(step, _Step) for step in steps):
        return

    class Step(_Step):
        guard = _Guard(app, bury)

    steps.add(Step)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a message."""

    code: Code
    reason: str


def examine(item: bytes, tasks: Container[str]) -> Fault | None:
    """What keeps a Celery worker that knows `tasks` from taking the message `item`, or None. Never raises."""
    if len(item) > MAX_MESSAGE_BYTES:
        reason = f"the message takes {len(item)} bytes, at most {MAX_MESSAGE_BYTES} are allowed"
        return Fault(Code.MESSAGE_TOO_LARGE, reason)
    try:
        content = _decode("message", lambda: item.decode())
        if not isinstance(content, dict):
            raise InvalidJob("message: not a JSON object")
        message = parse(_Message, content)
        encoded = message.properties.body_encoding == "base64"
        call = _decode("body", lambda: Base64().decode(message.body) if encoded else message.body)
        parse(_Call, {"body": tuple(call) if isinstance(call, list) else call})
    except InvalidJob as error:
        return Fault(Code.MESSAGE_MALFORMED, error.message)
    if message.headers.task not in tasks:
        return Fault(Code.UNKNOWN_TASK, f"headers.task: this worker knows no task {message.headers.task!r}")
    return None


def _decode(what: str, text: Callable[[], str | bytes]) -> Any:
    try:
        value = loads(text())
    # kombu's JSON makes dates, numbers and more of marked objects, and those raise whatever they like.
    except Exception as error:
        said = str(error).encode(errors="backslashreplace").decode()
        raise InvalidJob(shorten(f"{what}: not JSON in UTF-8: {said}", 200)) from None
    if _nested_deeper(value, MAX_NESTING):
        raise InvalidJob(f"{what}: more than {MAX_NESTING} lists and objects inside each other")
    return value


def _nested_deeper(value: object, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inside is not None and (levels == 0 or any(_nested_deeper(part, levels - 1) for part in inside))


def _check_moment(text: str) -> str:
    try:
        timezone.to_system(maybe_make_aware(cast("datetime", maybe_iso8601(text))))
    except Exception:
        raise ValueError("not a time in ISO 8601") from None
    return text


def _check_no_self(kwargs: dict[str, Any]) -> dict[str, Any]:
    if "self" in kwargs:
        raise ValueError("Celery gives a task its 'self' itself")
    return kwargs


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
NameOrEmpty = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
Moment = Annotated[str, Field(min_length=1), AfterValidator(_check_moment)]
KeywordArguments = Annotated[dict[str, Any], AfterValidator(_check_no_self)]
LimitS = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    """Only what Celery or kombu would stumble over is checked; what else a message holds is left alone."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class _Headers(_Part):
    task: Name
    id: Name
    eta: Moment | None = None
    expires: Moment | None = None
    timelimit: Annotated[list[LimitS | None], Field(min_length=2, max_length=2)] | None = None
    retries: int | None = None
    shadow: NameOrEmpty | None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    # A small body may be packed so that it fills the memory.
    compression: None = None
    # Headers become attributes of Celery's request: these would replace its own.
    children: None = Field(None, alias="_children")
    custom_headers: None = Field(None, alias="_get_custom_headers")


class _DeliveryInfo(_Part):
    """Where the broker puts the message back."""

    exchange: NameOrEmpty | None
    routing_key: Name


class _Properties(_Part):
    delivery_tag: Name
    delivery_info: _DeliveryInfo
    body_encoding: Literal["base64", "utf-8"] | None = None
    priority: int | None = None
    correlation_id: NameOrEmpty | None = None
    reply_to: NameOrEmpty | None = None


class _Message(_Part):
    body: str
    headers: _Headers
    properties: _Properties
    content_type: Literal["application/json"] = Field(alias="content-type")
    content_encoding: Literal["utf-8", "UTF-8", "us-ascii"] | None = Field(None, alias="content-encoding")


class _Afterwards(_Part):
    """Tasks to call when this one is done. Anything else in its place would overwrite the request."""

    model_config = ConfigDict(extra="forbid")

    callbacks: list[dict[str, Any]] | None = None
    errbacks: list[dict[str, Any]] | None = None
    chain: list[dict[str, Any]] | None = None
    chord: dict[str, Any] | None = None


class _Call(_Part):
    """Arguments, keyword arguments, and what comes afterwards."""

    body: tuple[list[Any], KeywordArguments, _Afterwards | None]


@dataclass(frozen=True)
class _BadMessage:
    queue: str
    item: bytes
    fault: Fault
    tag: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def text(self) -> str:
        text = self.item[:MAX_BURIED_BYTES].decode(errors="backslashreplace")
        cut = len(self.item) > MAX_BURIED_BYTES
        return f"{text}\n[cut here, {len(self.item)} bytes in all]" if cut else text

    def note(self) -> str:
        """For the broker: a message it can put back on the list, around the very bytes that were there."""
        unread = self.item.decode(errors="surrogateescape")
        message = {_UNREAD: unread, "headers": {}, "properties": {"delivery_info": {}}}
        return json.dumps([message, "", self.queue])


def _unwrap(item: bytes) -> bytes:
    """The bytes inside a note that was put back, or `item` if it is none."""
    if not item.startswith(_UNREAD_START):
        return item
    try:
        return bytes(json.loads(item)[_UNREAD].encode(errors="surrogateescape"))
    except Exception:
        return item


class _Guard:
    """Stands between one worker and its broker, across reconnections."""

    def __init__(self, app: Celery, bury: Buried) -> None:
        self._app = app
        self._bury = bury
        self._bad: deque[_BadMessage] = deque()

    def watch(self, channel: Any) -> None:
        """Look at whatever this channel's client pops from now on."""
        client = channel.client
        parse_response = client.parse_response

        def parse_guarded(connection: Any, command_name: str, **options: Any) -> Any:
            reply = parse_response(connection, command_name, **options)
            return self._let_pass(channel, reply) if command_name == "BRPOP" else reply

        client.parse_response = parse_guarded

    def _let_pass(self, channel: Any, reply: Any) -> Any:
        """The reply, or None in place of a bad message."""
        if reply:
            key, item = reply
            queue = key.decode(errors="replace").rsplit(channel.sep, 1)[0]
            if queue in self._app.amqp.queues:
                item = _unwrap(item)
                fault = examine(item, self._app.tasks)
                reply = (key, item) if fault is None else None
                if fault:
                    self._bad.append(_BadMessage(queue, item, fault))
        self._bury_bad(channel)
        return reply

    def _bury_bad(self, channel: Any) -> None:
        while self._bad:
            bad = self._bad[0]
            try:
                self._note(channel, bad)
            except Exception as error:
                # The next reply comes within a second, and with it the next try. Raising would lose this reply.
                log.error("a bad message from %r waits in memory, Redis does not take it: %s", bad.queue, error)
                return
            self._bad.popleft()
            code, reason = bad.fault.code, bad.fault.reason
            try:
                self._bury(queue=bad.queue, raw=bad.text, code=code, reason=reason)
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
    guard: _Guard

    def start(self, consumer: Any) -> None:
        """Guard the consumer's channel."""
        self.guard.watch(consumer.task_consumer.channel)
