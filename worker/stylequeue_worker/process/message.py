"""What a message must be for a worker to take it: one that Celery can bear, and that asks for nothing but a job.

Refused is what Celery would stumble over, and what would come to nothing here: tasks of other names, tasks that are to
be followed by others, a moment further off than any deadline may be, whatever is not plain JSON. What is taken is
written anew: Celery sees no more of it than was read here, so that nothing else a sender put into it has any effect,
neither where the broker puts it back nor which other message it is taken for.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from textwrap import shorten
from typing import Annotated, Any, Literal, cast

from celery.utils.time import maybe_iso8601, maybe_make_aware, timezone
from kombu.transport.virtual import Base64
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from stylequeue.contract.base import parse
from stylequeue.contract.errors import Code, InvalidJob
from stylequeue.contract.plain_json import read_json
from stylequeue.contract.text import check_text
from stylequeue.contract.trace import HEADER, traceparent_of
from stylequeue.setting_values import MAX_DEADLINE_S

MAX_MESSAGE_BYTES = 256 * 1024
"""Of a message as it lies on the list. The largest job takes 32 KiB, in base64 and with its headers about 50."""
_FAR_TOO_LARGE_BYTES = 4 * MAX_MESSAGE_BYTES
MAX_NAME_CHARS = 255
"""Of an id or a name; AMQP's own limit."""
MAX_FOLLOWERS = 100
"""Tasks that were to follow a refused one and whose results are told of that."""
_MAX_MOMENT_CHARS = 64
_OUR_HEADERS = "stylequeue_"
"""What the names of headers of ours begin with: a newer worker may know more of them."""


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


class Refused(Exception):
    """The message is not taken."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


def read_message(item: bytes, tasks: Container[str], *, size_bytes: int = 0) -> Task:
    """The task that the message `item` asks for, for a worker that takes `tasks`. Raises Refused and nothing else.

    `size_bytes` is how large it was, where `item` is only its beginning.
    """
    if max(size_bytes, len(item)) > MAX_MESSAGE_BYTES:
        raise Refused(_too_large(max(size_bytes, len(item)), _task_id_of(item)))
    try:
        task = _read(_decode("message", lambda: item.decode()))
    except InvalidJob as error:
        hint = "send it by a Celery client, with the JSON serializer and without compression"
        task_id = error.task_id if isinstance(error, _Malformed) else ""
        raise Refused(Fault(Code.MESSAGE_MALFORMED, error.message, hint, task_id)) from None
    if fault := _asks_too_much(task, tasks):
        raise Refused(fault)
    # Another way of writing the same may take more room, and it comes by here again where it is put back.
    if (size_bytes := len(task.as_message("x" * MAX_NAME_CHARS))) > MAX_MESSAGE_BYTES:
        raise Refused(_too_large(size_bytes, task.headers.id))
    return task


def _task_id_of(item: bytes) -> str:
    """Whose result waits for what is too large to be looked at, unless it is far too large."""
    if len(item) > _FAR_TOO_LARGE_BYTES:
        return ""
    try:
        headers = read_json(item)["headers"]
        return _Malformed([], headers["id"]).task_id
    except (ValueError, LookupError, TypeError):
        return ""


def _too_large(size_bytes: int, task_id: str = "") -> Fault:
    reason = f"the message takes {size_bytes} bytes, at most {MAX_MESSAGE_BYTES} are allowed"
    return Fault(Code.MESSAGE_TOO_LARGE, reason, "pictures travel by S3 key, not in the message", task_id)


class _Malformed(InvalidJob):
    """Says whose result waits, where that can be read."""

    def __init__(self, wrong: Sequence[str], task_id: object) -> None:
        super().__init__("; ".join(wrong))
        fits = isinstance(task_id, str) and len(task_id) <= MAX_NAME_CHARS and task_id.isprintable()
        self.task_id = str(task_id) if fits else ""


def _read(content: object) -> Task:
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
            parse(Task, {"headers": headers, "body": ([], {}, None)})
    if not wrong and isinstance(headers, dict):
        with _noted(wrong):
            ours = {name: value for name, value in headers.items() if name.startswith(_OUR_HEADERS)}
            whole = {"headers": headers, "body": tuple(body) if isinstance(body, list) else body, "ours": ours}
            return parse(Task, whole)
    raise _Malformed(wrong, task_id)


@contextmanager
def _noted(wrong: list[str]) -> Iterator[None]:
    try:
        yield
    except InvalidJob as error:
        wrong.append(error.message)


def _asks_too_much(task: Task, tasks: Container[str]) -> Fault | None:
    """What keeps a well-formed task from being done, or None."""
    headers, (args, kwargs, afterwards) = task.headers, task.body
    if headers.task not in tasks:
        reason = f"headers.task: this worker knows no task {headers.task!r}"
        return Fault(Code.UNKNOWN_TASK, reason, "the only one is stylequeue.stylize", headers.id)
    if asked := [name for name, value in afterwards or () if value]:
        named = (task_id for _, value in afterwards or () for task_id in _task_ids(value))
        followers = dict.fromkeys(islice(named, MAX_FOLLOWERS))
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
        return read_json(text())
    except ValueError as error:
        said = str(error).encode(errors="backslashreplace").decode()
        raise InvalidJob(shorten(f"{what}: not plain JSON in UTF-8: {said}", 200)) from None


def _moment(text: str) -> datetime:
    return maybe_make_aware(cast("datetime", maybe_iso8601(text)))


def _check_moment(text: str) -> str:
    try:
        timezone.to_system(_moment(text)).timestamp()
    except Exception:
        raise ValueError("not a time in ISO 8601") from None
    return text


def _check_printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("holds characters that cannot be shown, such as a new line")
    return check_text(name)


def _check_no_self(kwargs: dict[str, Any]) -> dict[str, Any]:
    if "self" in kwargs:
        raise ValueError("Celery gives a task its 'self' itself")
    return kwargs


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
"""A queue's, or one at the broker."""
ShownName = Annotated[Name, AfterValidator(_check_printable)]
"""One that comes into logs."""
NameOrEmpty = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
Moment = Annotated[str, Field(min_length=1, max_length=_MAX_MOMENT_CHARS), AfterValidator(_check_moment)]
KeywordArguments = Annotated[dict[str, Any], AfterValidator(_check_no_self)]
LimitS = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    """What Celery could not bear is refused, handed on or not; what else a message holds is passed over."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class _Headers(_Part):
    task: ShownName
    id: ShownName
    eta: Moment | None = None
    expires: Moment | None = None
    traceparent: Annotated[str | None, BeforeValidator(traceparent_of)] = None
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


class Task(_Part):
    """What a message asks for: headers, and of the body arguments, keyword arguments, and what comes afterwards."""

    headers: _Headers
    body: tuple[list[Any], KeywordArguments, _Afterwards | None]
    ours: dict[str, bool | NameOrEmpty | None] = Field(default_factory=dict)
    """Headers that only we set."""

    def as_message(self, queue: str) -> bytes:
        """What Celery is handed, and what the broker keeps and puts back: nothing but this, and back to this queue.

        Each time it gets a name of its own at the broker: under the sender's, one message could be let go for another.
        """
        args, kwargs, _ = self.body
        task_id = self.headers.id
        body = json.dumps([args, kwargs, None]).encode()
        message = {
            "body": base64.b64encode(body).decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {
                **self.headers.model_dump(include={"task", "id", "eta", "expires", "timelimit"}),
                **({HEADER: self.headers.traceparent} if self.headers.traceparent else {}),
                **self.ours,
                "lang": "py",
                "root_id": task_id,
                "parent_id": None,
                "retries": 0,
                "argsrepr": "()",
                "kwargsrepr": "{}",
            },
            "properties": {
                "correlation_id": task_id,
                "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": queue},
                "delivery_tag": str(uuid.uuid4()),
            },
        }
        return json.dumps(message).encode()
