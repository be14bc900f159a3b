"""Looks at everything a deployment needs, from where it is run, and says what to do about each trouble."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .console import BAD_INPUT, DONE, NOT_REACHABLE
from .errors import StyleQueueError, Unavailable

if TYPE_CHECKING:
    from .client import StyleQueue

_PING_S = 2.0
"""How long workers may take to answer."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    ok: bool
    found: str
    hint: str = ""
    exit_code: int = DONE

    def __str__(self) -> str:
        line = f"{'ok ' if self.ok else 'BAD'}  {self.what:14} {self.found}"
        return line if self.ok or not self.hint else f"{line}\n     {'':14} {self.hint}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def examine(client: StyleQueue) -> Iterator[Finding]:
    """Look at Redis, the store and the workers, in the order in which they depend on each other."""
    settings = client.settings
    try:
        yield from _redis(client)
    except Unavailable as error:
        yield _bad("redis", error, NOT_REACHABLE)
    for bucket in sorted({settings.upload_bucket, settings.output_bucket, *settings.read_buckets}):
        try:
            client.store.check_bucket(bucket)
            yield Finding(f"bucket {bucket}", True, "there")
        except StyleQueueError as error:
            yield _bad(f"bucket {bucket}", error, NOT_REACHABLE if isinstance(error, Unavailable) else BAD_INPUT)


def _redis(client: StyleQueue) -> Iterator[Finding]:
    client.ledger.ping()
    yield Finding("redis", True, "answers")
    policy = client.ledger.eviction_policy()
    yield Finding(
        "redis memory",
        policy in ("noeviction", None),
        f"maxmemory-policy {policy or 'unknown'}",
        "set maxmemory-policy noeviction: any other lets Redis drop jobs",
        DONE if policy in ("noeviction", None) else BAD_INPUT,
    )
    answers = client.workers(wait_s=_PING_S)
    yield Finding(
        "workers",
        bool(answers),
        ", ".join(answers) or "none answers",
        "start one with `stylequeue worker`; a worker is deaf while its models load",
        DONE if answers else BAD_INPUT,
    )


def _bad(what: str, error: StyleQueueError, exit_code: int) -> Finding:
    return Finding(what, False, error.message, error.hint, exit_code)
