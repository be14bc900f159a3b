"""Redis's users, as docker/valkey/users.conf has them: a server is given them, and each program is its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr
from redis import Redis

from stylequeue.settings import Settings

FILE = Path(__file__).parents[2] / "docker" / "valkey" / "users.conf"
RIGHTS: dict[str, str] = dict(re.findall(r"^user (\w+) on >\w+_PASSWORD (.+)$", FILE.read_text(), re.MULTILINE))
"""By the user's name."""
Role = Literal["producer", "gateway", "listener", "operator", "worker", "keeper", "monitor"]

_ports: set[int] = set()


def make_users(redis: Redis, password: str) -> None:
    """All of them, with the same password; whoever was let in before still is."""
    ask: Any = redis.execute_command
    for name, rights in RIGHTS.items():
        ask("ACL", "SETUSER", name, "on", f">{password}", *rights.split())


def give_roles(settings: Settings) -> None:
    """Have programs of the tests be these users of the server there, and its password be theirs."""
    url = settings.redis_url.get_secret_value()
    with Redis.from_url(url) as redis:
        make_users(redis, urlsplit(url).password or "")
    _ports.add(urlsplit(url).port or 0)


def as_role(settings: Settings, role: Role) -> Settings:
    """These settings for a program of that role, where the server was given the users."""
    url = urlsplit(settings.redis_url.get_secret_value())
    if url.port not in _ports or url.username:
        return settings
    own = url._replace(netloc=f"{role}{url.netloc}").geturl()
    return settings.model_copy(update={"redis_url": SecretStr(own)})
