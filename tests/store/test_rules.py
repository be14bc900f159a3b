"""Which rules of a bucket let uploads go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from stylequeue.settings import Settings
from stylequeue.store.rules import UploadRules

ALL: dict[str, Any] = {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 8}}


class Bucket:
    """A store whose bucket has these rules."""

    def __init__(self, *rules: dict[str, Any]) -> None:
        self._rules = rules

    def call(self, operation: str, **_: Any) -> dict[str, Any]:
        assert operation == "get_bucket_lifecycle_configuration"
        return {"Rules": list(self._rules)}


def lets_go(*rules: dict[str, Any]) -> bool:
    return UploadRules(Settings(), cast("Any", Bucket(*rules))).has_lifecycle()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"Filter": {}},
        {"Filter": {"And": {}}},
        {"Prefix": "", "Filter": {}},
        {"Expiration": {"Days": 400}},
    ],
    ids=str,
)
def test_of_all(how: dict[str, Any]) -> None:
    assert lets_go({**ALL, **how})


def test_as_older_servers_tell_it() -> None:
    assert lets_go({"Status": "Enabled", "Prefix": "", "Expiration": {"Days": 8}})
    assert not lets_go({"Status": "Enabled", "Prefix": "old/", "Expiration": {"Days": 8}})


@pytest.mark.parametrize(
    "how",
    [
        {"Status": "Disabled"},
        {"Filter": {"Prefix": "tmp/"}},
        {"Filter": {"Tag": {"Key": "keep", "Value": "no"}}},
        {"Filter": {"And": {"Prefix": "", "Tags": [{"Key": "keep", "Value": "no"}]}}},
        {"Filter": {"ObjectSizeGreaterThan": 1_000_000}},
        {"Filter": {"ObjectSizeLessThan": 1_000_000}},
        {"Expiration": {"Days": 7}},
        {"Expiration": {"ExpiredObjectDeleteMarker": True}},
        {"Expiration": {"Date": datetime(2020, 1, 1, tzinfo=UTC)}},
    ],
    ids=str,
)
def test_of_some_or_never_or_too_soon(how: dict[str, Any]) -> None:
    assert not lets_go({**ALL, **how})


def test_the_soonest_counts() -> None:
    assert not lets_go(ALL, {**ALL, "ID": "another", "Expiration": {"Days": 1}})
    assert lets_go(ALL, {**ALL, "ID": "another", "Status": "Disabled", "Expiration": {"Days": 1}})
    assert lets_go(ALL, {"ID": "parts", "Status": "Enabled", "AbortIncompleteMultipartUpload": {}})


def test_none() -> None:
    assert not lets_go()
