"""Redis's users, as docker/valkey/users.conf has them: the tests' server has them, and each program is one of them.

With `make test ROLES=1`: what is tested is tested with the rights of its role. Tests themselves, which look into Redis
and spoil it, are nobody in particular, who may do everything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import SecretStr
from redis import Redis

from stylequeue.local import Process, Stack
from stylequeue.settings import Settings

FILE = Path(__file__).parents[2] / "docker" / "valkey" / "users.conf"
RIGHTS: dict[str, str] = dict(re.findall(r"^user (\w+) on >\w+_PASSWORD (.+)$", FILE.read_text(), re.MULTILINE))
"""By the user's name."""
Role = Literal["producer", "gateway", "listener", "sender", "operator", "worker", "keeper", "monitor"]
_REDIS_URL = "STYLEQUEUE_REDIS_URL"
_ROLES: Mapping[str, Role] = {
    "keeper": "keeper",
    "gateway": "gateway",
    "listen": "listener",
    "celery": "worker",
    "stylequeue_worker": "worker",
}
"""By what a command begins with that starts such a program."""

_passwords: set[str] = set()
"""Of the servers that have the users."""


def make_users(redis: Redis, password: str) -> None:
    """All of them, with the same password; whoever was let in before still is."""
    ask: Any = redis.execute_command
    for name, rights in RIGHTS.items():
        ask("ACL", "SETUSER", name, "on", f">{password}", *rights.split())


class RoleStack(Stack):
    """A stack whose Valkey has the users, and whose processes are each its own."""

    def __enter__(self) -> Self:
        super().__enter__()
        url = urlsplit(self.valkey.url())
        with Redis.from_url(url.geturl()) as redis:
            make_users(redis, url.password or "")
        _passwords.add(url.password or "")
        return self

    def process(
        self, name: str, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, grace_s: float = 8
    ) -> Process:
        own = dict(env or {})
        if role := next((_ROLES[str(part)] for part in command if str(part) in _ROLES), None):
            own[_REDIS_URL] = address_as(own.get(_REDIS_URL, self.valkey.url()), role)
        return super().process(name, command, env=own, grace_s=grace_s)


def address_as(url: str, role: Role | None) -> str:
    """An address for a program of that role, or for nobody in particular, where the server there has the users."""
    parts = urlsplit(url)
    if parts.password not in _passwords or parts.username not in (None, "", *RIGHTS):
        return url
    return parts._replace(netloc=f"{role or ''}:{parts.netloc.partition(':')[2]}").geturl()


def as_role(settings: Settings, role: Role) -> Settings:
    """These settings for a program of that role."""
    own = address_as(settings.redis_url.get_secret_value(), role)
    return settings.model_copy(update={"redis_url": SecretStr(own)})


def everything(settings: Settings) -> Redis:
    """Redis as tests see it, with all that is there, whoever `settings` are for."""
    return _client(address_as(settings.redis_url.get_secret_value(), None))


def let_at(settings: Settings, role: Role, key: str) -> None:
    """Programs of that role have this key besides, as an operator gives a listener the list that it fetches from."""
    url = settings.redis_url.get_secret_value()
    if address_as(url, role) != address_as(url, None):
        ask: Any = everything(settings).execute_command
        ask("ACL", "SETUSER", role, f"~{key.replace(' ', '?')}")  # a pattern may have no blanks


@cache
def _client(url: str) -> Redis:
    return Redis.from_url(url, decode_responses=True)
