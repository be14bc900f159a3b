"""How tests are dealt out to several processes: what shares something dear stays together, what takes longest begins.

Else each process would start its own, and the last file of all might be a long one, which everybody waits for.
"""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
LONG = (
    "tests/engine",  # share what they have compiled
    "tests/service",  # share a worker with the real engine
    "tests/local",
    "tests/examples",
    "tests/faults",
    "tests/security",
    "tests/browser",  # share a browser
    "tests/cli",
)
"""Directories whose tests take longest, the longest first."""
TOGETHER = ("tests/engine", "tests/service", "tests/browser")
APART = tuple(
    f"tests/engine/test_{name}.py"
    for name in (
        "limits",
        "matrix",
        "memory",
        "tiling",
        "gpu",
        "matching",
        "published_parity",
        "tutorial_parity",
        "memory_measured",
        "temporary_files",
    )
)
"""Of those, long ones that use nothing that the others have compiled."""


class TogetherScheduling(LoadFileScheduling):  # type: ignore[misc]
    """By file, but for directories that stay together."""

    def _split_scope(self, nodeid: str) -> str:
        path: str = super()._split_scope(nodeid)
        return path if path in APART else next((place for place in TOGETHER if path.startswith(f"{place}/")), path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> TogetherScheduling:
    """The order of the items is the order in which they are dealt out, and not the number of tests in a file."""
    config.option.loadscopereorder = False
    return TogetherScheduling(config, log)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: looking whether it is garbage would take a twentieth of all time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After they were shuffled."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    path = item.path.relative_to(ROOT).as_posix() if item.path.is_relative_to(ROOT) else ""
    return next((place for place, directory in enumerate(LONG) if path.startswith(f"{directory}/")), len(LONG))
