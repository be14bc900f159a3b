"""What `kubectl apply -k` would apply, of the few things that ours do; anything else is refused."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
CLUSTERS = frozenset({"Namespace", "PriorityClass"})
"""Kinds that lie in no namespace."""
_KNOWN = {"apiVersion", "kind", "namespace", "resources", "components", "patches"}


def documents(path: Path) -> list[Object]:
    """All objects of a file."""
    return copy.deepcopy(_documents(path))


@cache
def _documents(path: Path) -> list[Object]:
    return [found for found in yaml.load_all(path.read_text(), yaml.CSafeLoader) if found]


def build(directory: Path) -> list[Object]:
    """The objects of a directory with a kustomization."""
    return _build(directory, [])


def _build(directory: Path, before: Sequence[Object]) -> list[Object]:
    """With a component's patches on what was there `before` it."""
    [wanted] = documents(directory / "kustomization.yaml")
    assert wanted.keys() <= _KNOWN, wanted.keys() - _KNOWN
    objects = [copy.deepcopy(each) for each in before]
    for name in wanted.get("resources", []):
        path = directory / name
        objects += build(path) if path.is_dir() else documents(path)
    for name in wanted.get("components", []):
        objects = _build(directory / name, objects)
    if namespace := wanted.get("namespace"):
        for each in objects:
            if each["kind"] not in CLUSTERS:
                each["metadata"]["namespace"] = namespace
    for patch in wanted.get("patches", []):
        assert patch.keys() <= {"target", "patch"}, patch
        change = yaml.safe_load(patch["patch"])
        if isinstance(change, list):
            found = list(_targets(objects, patch["target"]))
            assert found, f"nothing is {patch['target']}"
            for each in found:
                for operation in change:
                    _apply(each, operation)
        else:
            objects = _without(objects, change)
    return objects


def _targets(objects: Sequence[Object], target: Mapping[str, str]) -> Iterator[Object]:
    assert target.keys() <= {"kind", "name", "labelSelector"}
    labels = dict(pair.split("=") for pair in target.get("labelSelector", "").split(",") if pair)
    for each in objects:
        has = each["metadata"].get("labels", {})
        if (
            each["kind"] == target["kind"]
            and target.get("name") in (None, each["metadata"]["name"])
            and labels.items() <= has.items()
        ):
            yield each


def _without(objects: Sequence[Object], which: Mapping[str, Any]) -> list[Object]:
    assert which["$patch"] == "delete"
    left = [each for each in objects if _name(each) != _name(which)]
    assert len(left) == len(objects) - 1, f"there is no {_name(which)}"
    return left


def _name(each: Mapping[str, Any]) -> tuple[str, str]:
    return each["kind"], each["metadata"]["name"]


def _apply(on: Any, operation: Mapping[str, Any]) -> None:
    """One operation of JSON Patch (RFC 6902)."""
    *way, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
    for part in way:
        on = on[int(part)] if isinstance(on, list) else on[part]
    if isinstance(on, list):
        assert (operation["op"], last) == ("add", "-")
        on.append(operation["value"])
    else:
        assert operation["op"] == "add" or (operation["op"] == "replace" and last in on), operation
        on[last] = operation["value"]
