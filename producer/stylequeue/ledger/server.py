"""What the server that holds the ledger says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True)
class Server:
    """None where the server does not say: managed services may forbid the question."""

    version: str | None
    """With the product's name."""
    eviction_policy: str | None
    """`maxmemory-policy`: what goes when its memory is full."""
    appends: bool | None
    """Whether it keeps an append-only file, and could write to it."""

    @classmethod
    def ask(cls, redis: Redis) -> Server:
        """Ask in whatever way the server allows. Raises what redis-py does where it does not answer at all."""
        from redis.exceptions import ResponseError

        info: Mapping[str, Any] = {}
        config: Mapping[str, Any] = {}
        with suppress(ResponseError):
            info = redis.info()
        with suppress(ResponseError):
            config = redis.config_get("maxmemory-policy", "appendonly")  # type: ignore[assignment]
        appends = None
        if "aof_enabled" in info:
            appends = bool(info["aof_enabled"]) and info.get("aof_last_write_status", "ok") == "ok"
        elif "appendonly" in config:
            appends = config["appendonly"] == "yes"
        return cls(
            version=_version(info),
            eviction_policy=info.get("maxmemory_policy", config.get("maxmemory-policy")),
            appends=appends,
        )


def _version(info: Mapping[str, Any]) -> str | None:
    # Valkey also says which Redis it is compatible with.
    for product in ("valkey", "redis"):
        if version := info.get(f"{product}_version"):
            return f"{product.capitalize()} {version}"
    return None
