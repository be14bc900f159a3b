"""Redis servers of any configuration, to see what is said of them."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stylequeue.local import Process
from stylequeue.local.server import HOST, free_ports
from stylequeue.local.valkey import find_valkey

_START_TIMEOUT_S = 30


@contextmanager
def redis_server(
    *configuration: str, directory: Path | None = None, program: str | Path | None = None, tls: bool = False
) -> Iterator[int]:
    """A server with these lines of configuration, or a sentinel if they are for one; its port.

    Valkey, unless another `program` is given; its data lies in `directory`, or is gone at the end.
    """
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="stylequeue-redis-") as temporary:
        files = Path(temporary)
        data = directory or files / "data"
        data.mkdir(exist_ok=True)
        ports = f"port 0\ntls-port {port}" if tls else f"port {port}"
        lines = [f"bind {HOST}", ports, f'dir "{data}"', 'save ""', *configuration]
        path = files / "redis.conf"
        path.write_text("\n".join(lines) + "\n")
        mode = ["--sentinel"] if any(line.startswith("sentinel ") for line in lines) else []
        process = Process("redis", [program or find_valkey(), path, *mode], directory=files, log=files / "redis.log")
        try:
            process.wait_until(lambda: _listens(port), _START_TIMEOUT_S)
            yield port
        finally:
            process.stop()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
