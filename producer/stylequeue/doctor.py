"""Looks at everything a deployment needs, from where it is run, and says what to do about each trouble."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .contract.errors import ExitCode, StyleQueueError, Unavailable
from .ledger import Ledger
from .store import Store

if TYPE_CHECKING:
    from .client import StyleQueue

_PING_S = 2.0
"""How long workers may take to answer."""
_NODE_S = 120
"""How long TensorFlow may take to say what devices it sees."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    ok: bool
    found: str
    hint: str = ""
    exit_code: int = ExitCode.DONE

    def __str__(self) -> str:
        line = f"{'ok ' if self.ok else 'BAD'}  {self.what:18} {self.found}"
        return line if self.ok or not self.hint else f"{line}\n     {'':18} {self.hint}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def examine(client: StyleQueue) -> Iterator[Finding]:
    """Look at Redis, the store, the workers and, where TensorFlow is installed, this machine as a node that paints."""
    settings = client.settings
    ledger, store = Ledger(settings), Store(settings)
    try:
        ledger.ping()
        yield Finding("redis", True, "answers")
        yield eviction(ledger)
        answers = client.workers(wait_s=_PING_S)
        yield _finding(
            "workers",
            bool(answers),
            ", ".join(answers) or "none answers",
            "start one with `stylequeue worker`; a worker is deaf while its models load",
        )
    except Unavailable as error:
        yield _trouble("redis", error)
    for bucket in sorted(settings.buckets):
        try:
            store.check_bucket(bucket)
            yield Finding(f"bucket {bucket}", True, "there")
        except StyleQueueError as error:
            yield _trouble(f"bucket {bucket}", error)
    try:
        yield conditional_writes(store)
    except StyleQueueError as error:
        yield _trouble("conditional writes", error)
    finally:
        ledger.close()
        store.close()
    if find_spec("tensorflow") is not None:
        yield from _node()


def eviction(ledger: Ledger) -> Finding:
    """Whether Redis may drop keys when its memory is full: then it drops jobs."""
    policy = ledger.eviction_policy()
    return _finding(
        "redis memory",
        policy in ("noeviction", None),
        f"maxmemory-policy {policy or 'unknown'}",
        "set maxmemory-policy noeviction: any other lets Redis drop jobs",
    )


def conditional_writes(store: Store) -> Finding:
    """Whether the store honours `If-None-Match: *`: without it two attempts may write over each other."""
    honoured = store.honours_conditional_writes()
    return _finding(
        "conditional writes",
        honoured,
        "honoured" if honoured else "ignored",
        "use a store that knows If-None-Match: without it two attempts at a job may write over each other",
    )


def _node() -> Iterator[Finding]:
    """This machine's models and devices, asked in a process of its own: it loads TensorFlow."""
    command = [sys.executable, "-m", "stylequeue_worker.probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_NODE_S, check=True)  # noqa: S603
        for finding in json.loads(done.stdout):
            yield Finding(**finding)
    except (subprocess.SubprocessError, ValueError) as error:
        yield _finding("tensorflow", False, f"does not work here: {error}", "reinstall the worker extra")


def _finding(what: str, ok: bool, found: str, hint: str) -> Finding:
    return Finding(what, ok, found, hint, ExitCode.DONE if ok else ExitCode.BAD_INPUT)


def _trouble(what: str, error: StyleQueueError) -> Finding:
    exit_code = ExitCode.NOT_REACHABLE if isinstance(error, Unavailable) else ExitCode.BAD_INPUT
    return Finding(what, False, error.message, error.hint, exit_code)
