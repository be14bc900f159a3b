"""What callers of the HTTP interface may rely on, drawn from its OpenAPI document, fact by fact.

docs/schema/http-promises.json keeps the facts of the version in force. While that version stays, each has to stay: what
is taken may only become more, and so may what is given. Where one has to go, `stylequeue.gateway.app.VERSION` goes up.
No package that is kept up compares two documents so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

Promises = dict[str, Any]

FILE = Path(__file__).parents[1] / "docs" / "schema" / "http-promises.json"
_AT_MOST = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
_AT_LEAST = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_TAKES, _GIVES, _NEEDED = "takes", "gives", "needs"


def promises(document: dict[str, Any]) -> Promises:
    """Fact -> True, or the bound that it has."""
    schemas = document["components"]["schemas"]
    kept = dict(_operations(document))
    while True:
        # Which way a component goes, into the service or out of it, follows from who names it.
        named = {tuple(fact.rpartition(" ")[2].split(":")) for fact in kept if " names " in fact}
        new = dict(chain.from_iterable(_schema(name, way, schemas[name]) for way, name in named))
        if new.keys() <= kept.keys():
            return dict(sorted(kept.items()))
        kept |= new


def broken(before: Promises, after: Promises) -> list[str]:
    """What a caller could do and rely on `before`, and cannot `after`."""
    gone = [fact for fact in before if fact not in after and not _is_limit(fact)]
    tighter = [
        f"{fact} {limit}"
        for fact, limit in after.items()
        if _is_limit(fact) and fact.rpartition(" ")[0] in before and _is_tighter(fact, before.get(fact), limit)
    ]
    return sorted(gone + tighter)


def _is_limit(fact: str) -> bool:
    return fact.rpartition(" ")[2] in {*_AT_MOST, *_AT_LEAST, "pattern", _NEEDED}


def _is_tighter(fact: str, before: Any, after: Any) -> bool:
    word = fact.rpartition(" ")[2]
    if before is None:
        return True
    if word == _NEEDED:
        return not set(after) <= set(before)
    if word in _AT_MOST:
        return bool(after < before)
    if word in _AT_LEAST:
        return bool(after > before)
    return bool(after != before)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for path, method, operation in (
        (path, method, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ):
        at = f"{method.upper()} {path}"
        yield f"{at} is {operation['operationId']}", True
        if not operation.get("security"):
            yield f"{at} wants no key", True
        yield f"{at} takes", True
        parameters = operation.get("parameters", ())
        yield f"{at} takes {_NEEDED}", sorted(each["name"] for each in parameters if each.get("required"))
        for each in parameters:
            yield from _schema(f"{at} {each['in']} {each['name']}", _TAKES, each["schema"])
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            yield from _schema(f"{at} {kind}", _TAKES, content["schema"])
        for status, response in operation["responses"].items():
            yield f"{at} answers {status}", True
            for kind, content in response.get("content", {}).items():
                yield from _schema(f"{at} {status} {kind}", _GIVES, content.get("schema", {}))
    for name, operations in document.get("webhooks", {}).items():
        for kind, content in operations["post"]["requestBody"]["content"].items():
            yield from _schema(f"webhook {name} {kind}", _GIVES, content["schema"])


def _schema(at: str, way: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    place = f"{at} {way}"
    yield place, True
    variants = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if way == _GIVES and all(variant.get("type") != "null" for variant in variants):
        yield f"{place} never null", True
    for variant in variants:
        yield from _variant(at, place, way, variant)


def _variant(at: str, place: str, way: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if "$ref" in schema:
        yield f"{place} names {way}:{schema['$ref'].rpartition('/')[2]}", True
    if (kind := schema.get("type")) and (way, kind) != (_GIVES, "null"):
        yield f"{place} {kind}", True
    if "const" in schema:
        yield f"{place} {json.dumps(schema['const'])}", True
    if way == _TAKES:
        yield from ((f"{place} {json.dumps(value)}", True) for value in schema.get("enum", ()))
        yield from ((f"{place} {word}", schema[word]) for word in (*_AT_MOST, *_AT_LEAST, "pattern") if word in schema)
    fields, needed = schema.get("properties", {}), schema.get("required", [])
    if way == _TAKES and fields:
        yield f"{place} {_NEEDED}", sorted(needed)
    for field, about in fields.items():
        if way == _GIVES and field in needed:
            yield f"{at}.{field} is always given", True
        yield from _schema(f"{at}.{field}", way, about)
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield from _schema(f"{at}.{word}", way, schema[word])


def write(document: dict[str, Any]) -> None:
    """Keep the facts of `document`; SystemExit where one goes that its version has promised."""
    made = {"version": document["info"]["version"], **promises(document)}
    before = json.loads(FILE.read_text()) if FILE.exists() else made
    if before["version"] == made["version"] and (gone := broken(before, made)):
        raise SystemExit("\n  ".join(["this breaks callers, so stylequeue.gateway.app.VERSION has to go up:", *gone]))
    FILE.write_text(json.dumps(made, indent=0, ensure_ascii=False) + "\n")
