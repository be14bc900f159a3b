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

What Celery could bear, but what would come to nothing here, is refused in the same way: tasks of other names, tasks
that are to be followed by others, a moment further off than any deadline may be.

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
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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
from stylequeue.settings import MAX_DEADLINE_S

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


class Refuse(Protocol):
    """Takes a bad message for good.

    `raw` is its text, cut at `MAX_BURIED_BYTES`, with backslash escapes for bytes that are no UTF-8; `fault` says what
    is wrong with it. May raise; the message then comes again.
    """

    def __call__(self, *, queue: str, raw: str, fault: Fault) -> object:
        """Refuse one message."""


def inspect_messages(app: Celery, refuse: Refuse) -> None:
    """Keep messages that Celery cannot bear from the worker of `app`: each goes to `refuse`, and off the broker.

    To be called before the worker starts. A second call for the same app changes nothing.
    """
    steps = app.steps["consumer"]
    if any(issubclass(step, _Step) for step in steps):
        return

    class Step(_Step):
        inspector = _Inspector(app, refuse)

    steps.add(Step)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a message, and who waits for its outcome."""

    code: Code
    reason: str
    hint: str
    task_id: str = ""
    """Its Celery task's, where that can be read."""
    call: tuple[Sequence[Any], Mapping[str, Any]] | None = None
    """What the task was to be called with, where the message is well-formed but for what it asks."""
    followers: tuple[str, ...] = ()
    """Ids of the tasks that were to follow it."""


def examine(item: bytes, tasks: Container[str]) -> Fault | None:
    """What keeps a worker that knows `tasks` from taking the message `item`, or None. Never raises."""
    if len(item) > MAX_MESSAGE_BYTES:
        reason = f"the message takes {len(item)} bytes, at most {MAX_MESSAGE_BYTES} are allowed"
        return Fault(Code.MESSAGE_TOO_LARGE, reason, "pictures travel by S3 key, not in the message")
    try:
        return _asks_too_much(_read(_decode("message", lambda: item.decode())), tasks)
    except InvalidJob as error:
        hint = "send it by a Celery client, with the JSON serializer and without compression"
        task_id = error.task_id if isinstance(error, _Malformed) else ""
        return Fault(Code.MESSAGE_MALFORMED, error.message, hint, task_id)


class _Malformed(InvalidJob):
    """Says whose result waits, where that can be read."""

    def __init__(self, wrong: Sequence[str], task_id: object) -> None:
        super().__init__("; ".join(wrong))
        fits = isinstance(task_id, str) and len(task_id) <= MAX_NAME_CHARS and task_id.isprintable()
        self.task_id = str(task_id) if fits else ""


def _read(content: object) -> _Task:
    """The task that a message holds, in Celery's protocol 2 or 1. Raises InvalidJob, naming all that is wrong."""
    if not isinstance(content, dict):
        raise InvalidJob("message: not a JSON object")
    wrong: list[str] = []
    headers, body = content.get("headers"), None
    with _noted(wrong):
        message = parse(_Message, content)
        encoded = message.properties.body_encoding == "base64"
        body = _decode("body", lambda: Base64().decode(message.body) if encoded else message.body)
    if isinstance(body, dict) and isinstance(headers, dict):
        # Protocol 1 has in its body what later became headers; Celery mixes the two like this.
        headers = {**{name: body[name] for name in _Headers.model_fields if name in body}, **headers}
        body = [body.get("args"), body.get("kwargs", {}), {name: body.get(name) for name in _Afterwards.model_fields}]
    task_id = headers.get("id") if isinstance(headers, dict) else None
    if isinstance(headers, dict):
        with _noted(wrong):
            headers = parse(_Task, {"headers": headers, "body": ([], {}, None)}).headers
    if not wrong:
        with _noted(wrong):
            return parse(_Task, {"headers": headers, "body": tuple(body) if isinstance(body, list) else body})
    raise _Malformed(wrong, task_id)


@contextmanager
def _noted(wrong: list[str]) -> Iterator[None]:
    try:
        yield
    except InvalidJob as error:
        wrong.append(error.message)


def _asks_too_much(task: _Task, tasks: Container[str]) -> Fault | None:
    """What keeps a well-formed task from being done, or None."""
    headers, (args, kwargs, afterwards) = task.headers, task.body
    if headers.task not in tasks or headers.task.startswith(_CELERYS_OWN):
        reason = f"headers.task: this worker knows no task {headers.task!r}"
        return Fault(Code.UNKNOWN_TASK, reason, "the only one is stylequeue.stylize", headers.id)
    if asked := [name for name, value in afterwards or () if value]:
        followers = dict.fromkeys(task_id for _, value in afterwards or () for task_id in _task_ids(value))
        ways = ", ".join(_CALLED[name] for name in asked)
        return Fault(
            Code.CALLBACKS_REFUSED,
            f"other tasks are to follow this one ({ways}), and nobody here runs them",
            "send it alone and go on when its result or its event is there; `stylequeue dead replay` runs it alone",
            headers.id,
            (args, kwargs),
            tuple(followers),
        )
    if headers.eta and _moment(headers.eta) > datetime.now(UTC) + timedelta(seconds=MAX_DEADLINE_S):
        reason = f"headers.eta: more than {MAX_DEADLINE_S // (24 * 3600)} days ahead"
        return Fault(Code.INVALID_JOB, reason, "send it when it is due", headers.id, (args, kwargs))
    return None


_CELERYS_OWN = "celery."
"""Tasks that every Celery app has; `celery.map` and the like would call ours behind our back."""
_CALLED = {"callbacks": "link", "errbacks": "link_error", "chain": "chain", "chord": "chord"}
"""As senders know them."""


def _task_ids(signature: object) -> Iterator[str]:
    """Ids of all tasks in a signature, as Celery writes it, and in those inside it."""
    if isinstance(signature, dict):
        options = signature.get("options")
        task_id = options.get("task_id") if isinstance(options, dict) else None
        if isinstance(task_id, str) and 0 < len(task_id) <= MAX_NAME_CHARS:
            yield task_id
    inside = signature.values() if isinstance(signature, dict) else signature if isinstance(signature, list) else ()
    for part in inside:
        yield from _task_ids(part)


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


def _moment(text: str) -> datetime:
    return maybe_make_aware(cast("datetime", maybe_iso8601(text)))


def _check_moment(text: str) -> str:
    try:
        timezone.to_system(_moment(text)).timestamp()
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
    headers: dict[str, Any]
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


class _Task(_Part):
    """Headers and body; in the latter arguments, keyword arguments, and what comes afterwards."""

    headers: _Headers
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


class _Inspector:
    """Stands between one worker and its broker, across reconnections."""

    def __init__(self, app: Celery, refuse: Refuse) -> None:
        self._app = app
        self._refuse = refuse
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
            return self._let_pass(channel, reply) if command_name == "BRPOP" else reply

        client.parse_response = parse_inspected

    def _let_pass(self, channel: Any, reply: Any) -> Any:
        """The reply, or None in place of a bad message."""
        if reply:
            key, item = reply
            queue = key.decode(errors="replace").rsplit(channel.sep, 1)[0]
            if queue in self._app.amqp.queues:
                item = _unwrap(item)
                fault = examine(item, self._app.tasks)
                if fault:
                    self._bad.append(_BadMessage(queue, item, fault))
                    reply = None
                else:
                    reply = self._on_its_way = (key, item)
        self._refuse_bad(channel)
        return reply

    def _put_back(self, channel: Any) -> None:
        """Put a message back that was popped just before Redis went away, or had no room for a note of it."""
        if self._on_its_way:
            key, item = self._on_its_way
            with channel.conn_or_acquire() as client:
                client.rpush(key, item)
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
