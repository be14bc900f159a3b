"""Messages as they lie on the broker's lists, good ones and all sorts of bad ones."""

from __future__ import annotations

import base64
import json
import pickle
import uuid
from collections.abc import Container, Mapping
from typing import Any

from stylequeue.contract.errors import Code
from stylequeue_worker.process.message import Fault, Refused, read_message


def fault_of(item: bytes, tasks: Container[str]) -> Fault | None:
    """What keeps a worker that knows `tasks` from taking the message, or None."""
    try:
        read_message(item, tasks)
    except Refused as refused:
        return refused.fault
    return None


NOTHING_TASK = "tests.nothing"
"""A task of the tests' own worker."""


def encoded(body: object) -> str:
    """A body as Celery writes it."""
    return base64.b64encode(json.dumps(body).encode()).decode()


def message(
    *, headers: object = None, properties: object = None, task: str = NOTHING_TASK, **parts: object
) -> dict[str, Any]:
    """A message as Celery writes it. Mappings are merged into its headers and properties, all else replaces parts."""
    tag = str(uuid.uuid4())
    whole: dict[str, Any] = {
        "body": encoded([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": tag,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "retries": 0,
            "root_id": tag,
            "parent_id": None,
            "argsrepr": "()",
            "kwargsrepr": "{}",
        },
        "properties": {
            "correlation_id": tag,
            "reply_to": str(uuid.uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "paint"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": tag,
        },
    }
    for name, change in {"headers": headers, "properties": properties, **parts}.items():
        where = name.replace("_", "-")
        if isinstance(change, Mapping):
            whole[where] = {**whole[where], **change}
        elif change is not None:
            whole[where] = change
    return whole


def old_message(*, task: str = NOTHING_TASK, **parts: object) -> dict[str, Any]:
    """A message of Celery's protocol 1, all in its body; `parts` replace those of the body."""
    tag = str(uuid.uuid4())
    names = ("group", "eta", "expires", "callbacks", "errbacks", "taskset", "chord")
    body = {"task": task, "id": tag, "args": [], "kwargs": {}, "retries": 0, "utc": True, "timelimit": [None, None]}
    return {**message(body=encoded({**body, **dict.fromkeys(names), **parts})), "headers": {}}


def without(whole: dict[str, Any], *path: str) -> dict[str, Any]:
    """The same without what lies at `path`."""
    head, *rest = path
    if rest:
        return {**whole, head: without(whole[head], *rest)}
    return {name: part for name, part in whole.items() if name != head}


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


_MALFORMED: dict[str, object] = {
    "empty": b"",
    "plain_text": b"paint it blue",
    "half_a_message": json.dumps(message()).encode()[:200],
    "not_utf8": b'{"body": "\xff\xfe"}',
    "pickle": pickle.dumps(message()),
    "nested_without_end": b"[" * 100_000,
    "number": 5,
    "null": b"null",
    "list": [message()],
    "empty_object": {},
    "object_of_no_known_type": {"__type__": "shape", "__value__": 1},
    "body_missing": without(message(), "body"),
    "body_number": message(body=5),
    "body_bad_base64": message(body="A"),
    "body_not_json": message(body=base64.b64encode(b"no json").decode()),
    "body_not_utf8": message(body=base64.b64encode(b'["\xff", {}, null]').decode()),
    "body_empty": message(body=""),
    "body_object": message(body=encoded({"job": {}})),
    "old_without_arguments": old_message(args=None),
    "old_keyword_arguments_null": old_message(kwargs=None),
    "old_without_a_task": old_message(task=""),
    "old_id_number": old_message(id=5),
    "old_eta_no_time": old_message(eta="tomorrow"),
    "old_timelimit_text": old_message(timelimit=["5", None]),
    "old_callbacks_number": old_message(callbacks=5),
    "body_two_elements": message(body=encoded([[], {}])),
    "body_four_elements": message(body=encoded([[], {}, None, None])),
    "body_args_object": message(body=encoded([{}, {}, None])),
    "body_kwargs_list": message(body=encoded([[], [], None])),
    "body_kwargs_null": message(body=encoded([[], None, None])),
    "body_kwargs_self": message(body=encoded([[], {"self": 1}, None])),
    "body_embed_number": message(body=encoded([[], {}, 5])),
    "body_embed_unknown": message(body=encoded([[], {}, {"delivery_info": 5}])),
    "body_callbacks_number": message(body=encoded([[], {}, {"callbacks": 5}])),
    "body_chain_of_numbers": message(body=encoded([[], {}, {"chain": [5]}])),
    "body_nested_too_deep": message(body=encoded([nested(500), {}, None])),
    "body_encoding_unknown": message(properties={"body_encoding": "rot13"}),
    "body_encoding_number": message(properties={"body_encoding": 64}),
    "properties_missing": without(message(), "properties"),
    "properties_list": message(properties=[]),
    "delivery_tag_missing": without(message(), "properties", "delivery_tag"),
    "delivery_tag_object": message(properties={"delivery_tag": {}}),
    "delivery_tag_surrogate": message(properties={"delivery_tag": "\ud800"}),
    "delivery_info_missing": without(message(), "properties", "delivery_info"),
    "delivery_info_text": message(properties={"delivery_info": "paint"}),
    "exchange_missing": without(message(), "properties", "delivery_info", "exchange"),
    "routing_key_missing": without(message(), "properties", "delivery_info", "routing_key"),
    "routing_key_list": message(properties={"delivery_info": {"exchange": "", "routing_key": []}}),
    "body_number_of_a_megadigit": message(body='[[],{"job":{"seed":%s}},null]' % ("9" * 100_000), body_encoding=None),
    "body_number_infinite": message(body=encoded([[], {"job": {"x": float("inf")}}, None])),
    "body_number_of_a_huge_exponent": message(body=base64.b64encode(b'[[],{"x":1e999999},null]').decode()),
    "body_not_a_number": message(body=encoded([[], {"x": float("nan")}, None])),
    "body_name_twice": message(body=base64.b64encode(b'[[],{"job":{},"job":{}},null]').decode()),
    "body_half_a_character": message(body=encoded([[], {"job": "\ud800"}, None])),
    "body_name_half_a_character": message(body=encoded([[], {"\udfff": 1}, None])),
    "header_number_of_a_megadigit": json.dumps(message(headers={"x": 7}))
    .replace('"x": 7', '"x": ' + "7" * 100_000)
    .encode(),
    "header_name_twice": json.dumps(message()).replace('"id": ', '"id": "a", "id": ').encode(),
    "eta_endless": message(headers={"eta": "2020-01-01T00:00:00." + "0" * 10_000}),
    "priority_infinite": message(properties={"priority": float("inf")}),
    "headers_missing": without(message(), "headers"),
    "headers_list": message(headers=[]),
    "task_missing": without(message(), "headers", "task"),
    "task_list": message(headers={"task": []}),
    "id_missing": without(message(), "headers", "id"),
    "id_number": message(headers={"id": 5}),
    "id_null": message(headers={"id": None}),
    "id_that_looks_like_anothers": message(headers={"id": "mine\u3164"}),
    "id_too_long": message(headers={"id": "x" * 1000}),
    "content_type_missing": without(message(), "content-type"),
    "content_type_pickle": message(content_type="application/x-python-serialize"),
    "content_type_yaml": message(content_type="application/x-yaml"),
    "content_type_number": message(content_type=5),
    "content_encoding_unknown": message(content_encoding="utf-5"),
    "content_encoding_number": message(content_encoding=8),
    "compressed": message(headers={"compression": "application/x-gzip"}),
    "eta_no_time": message(headers={"eta": "tomorrow"}),
    "eta_number": message(headers={"eta": 1e9}),
    "eta_empty": message(headers={"eta": ""}),
    "expires_no_time": message(headers={"expires": "never"}),
    "expires_empty": message(headers={"expires": ""}),
    "timelimit_number": message(headers={"timelimit": 5}),
    "timelimit_one": message(headers={"timelimit": [5]}),
    "timelimit_text": message(headers={"timelimit": ["5", None]}),
    "timelimit_negative": message(headers={"timelimit": [-1, None]}),
    "retries_text": message(headers={"retries": "many"}),
    "header_named_like_a_method": message(headers={"_get_custom_headers": "x"}),
    "shadow_object": message(headers={"shadow": {}}),
    "stamps_by_lists": message(headers={"stamped_headers": [[]]}),
}


def _bytes(whole: object) -> bytes:
    return whole if isinstance(whole, bytes) else json.dumps(whole).encode()


BAD_MESSAGES: dict[str, tuple[bytes, Code]] = {
    **{name: (_bytes(whole), Code.MESSAGE_MALFORMED) for name, whole in _MALFORMED.items()},
    "old_unknown_task": (_bytes(old_message(task="stylequeue.sculpt")), Code.UNKNOWN_TASK),
    "celerys_own_task": (_bytes(message(task="celery.map")), Code.UNKNOWN_TASK),
    "unknown_task": (_bytes(message(task="stylequeue.sculpt")), Code.UNKNOWN_TASK),
    "one_megabyte": (_bytes(message(body=encoded([["x" * 1_000_000], {}, None]))), Code.MESSAGE_TOO_LARGE),
    "one_megabyte_of_noise": (b"\x80" * 1_000_000, Code.MESSAGE_TOO_LARGE),
}
"""What a worker must survive, by name, and the code it is buried under."""

_FOLLOWED: dict[str, object] = {
    "link": message(body=encoded([[], {}, {"callbacks": [{"task": "x"}]}])),
    "link_error": message(body=encoded([[], {}, {"errbacks": [{"task": "x"}]}])),
    "chain": message(body=encoded([[], {}, {"chain": [{"task": "x"}]}])),
    "chord": message(body=encoded([[], {}, {"chord": {"task": "x"}}])),
    "old_link": old_message(callbacks=[{"task": "x"}]),
}

REFUSED_TASKS: dict[str, tuple[bytes, Code]] = {
    **{name: (_bytes(whole), Code.CALLBACKS_REFUSED) for name, whole in _FOLLOWED.items()},
    "eta_too_far": (_bytes(message(headers={"eta": "2999-01-01T00:00:00+00:00"})), Code.INVALID_JOB),
}
"""Tasks that Celery could take and a worker does not, by name, and the code they fail with."""
