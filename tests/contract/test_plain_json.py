"""JSON from strangers: what it says and nothing else, and quickly."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylequeue.contract.plain_json import MAX_NESTING, MAX_NUMBER_CHARS, read_json

plain: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**62), max_value=10**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(plain, st.booleans())
def test_plain_json_is_read_as_it_is(value: Any, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    assert read_json(text) == read_json(text.encode()) == value


@pytest.mark.parametrize(
    "marked",
    [
        '{"__type__": "decimal", "__value__": "1e100000000"}',
        '{"__type__": "datetime", "__value__": "2030-01-01"}',
        '{"__type__": "uuid", "__value__": {"hex": "00000000000000000000000000000000"}}',
        '{"__type__": "bytes", "__value__": "x"}',
        '{"__type__": "base64", "__value__": "eA=="}',
        '{"__type__": "no such type", "__value__": 1}',
        '{"__type__": [], "__value__": 1}',
    ],
)
def test_a_marked_value_is_the_object_that_is_written_there(marked: str) -> None:
    assert read_json(marked) == json.loads(marked)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("9" * (MAX_NUMBER_CHARS + 1), "characters"),
        ("-" + "9" * 250_000, "characters"),
        ("0." + "0" * 250_000 + "1", "characters"),
        ("1e" + "9" * 250_000, "characters"),
        ("1e999", "too large"),
        ("-1e309", "too large"),
        ("NaN", "no number"),
        ("Infinity", "no number"),
        ("[-Infinity]", "no number"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' comes twice"),
        ('{"a": 1, "\\u0061": 1}', "'a' comes twice"),
        ('["\\ud800"]', "half a character"),
        ('{"\\uDFFF": 1}', "half a character"),
        ('{"a": ["\\udc00\\ud800"]}', "half a character"),
        ("[" * (MAX_NESTING + 1) + "]" * (MAX_NESTING + 1), "inside each other"),
        ("[" * 100_000, "inside each other"),
        ('{"a":' * 50_000, "inside each other"),
        (b'"\xff"', "utf-8"),
        (b'"\xed\xa0\x80"', "utf-8"),
        ("", "Expecting value"),
        ("\ufeff1", "BOM"),
        ("1 2", "Extra data"),
    ],
)
def test_all_else_is_refused(text: str | bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        read_json(text)
    assert len(str(caught.value)) < 300


def test_whole_characters_in_two_escapes_are_whole() -> None:
    assert read_json('"\\ud83d\\ude00"') == "\U0001f600"


def test_nesting_up_to_the_limit() -> None:
    assert read_json("[" * MAX_NESTING + "]" * MAX_NESTING)


@pytest.mark.parametrize(
    "text",
    [
        "9" * 250_000,
        "[" * 250_000,
        '{"a":' * 50_000,
        "[" + "1," * 120_000 + "1]",
        "{" + ",".join(f'"{n}":1' for n in range(25_000)) + ',"0":1}',
        '"' + "\\ud800" * 40_000 + '"',
        "[" * 60 + '{"__type__":"decimal","__value__":"1e100000000"}' + "]" * 60,
    ],
)
def test_hostile_text_of_a_messages_size_costs_little(text: str) -> None:
    began = time.process_time()
    for _ in range(3):
        with suppress(ValueError):
            read_json(text)
    assert time.process_time() - began < 1.5
