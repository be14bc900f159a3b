"""A gateway in a process of its own, as operators run it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from stylequeue.gateway import keys
from stylequeue.local import Process, Stack
from stylequeue.local.server import HOST, free_ports

_START_S = 60


@dataclass(frozen=True)
class Served:
    """Where it listens, and a key that may do all."""

    process: Process
    port: int
    key: str

    @contextmanager
    def stream(self, path: str, *, port: int | None = None) -> Iterator[Any]:
        """An answer that has begun; by another `port`, where somebody passes things on."""
        with (
            httpx2.Client(base_url=f"http://{HOST}:{port or self.port}", timeout=_START_S) as http,
            http.stream("GET", path, headers={"Authorization": f"Bearer {self.key}"}) as response,
        ):
            yield response

    def stalled(self, path: str) -> socket.socket:
        """A connection whose client has asked for a stream and reads none of it."""
        return unread(self.port, self.key, path)


def unread(port: int, key: str, path: str) -> socket.socket:
    """The same, of any gateway."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((HOST, port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
    return connection


def serve(
    stack: Stack, directory: Path, env: Mapping[str, str] | None = None, *, module: str = "stylequeue.cli"
) -> Served:
    """Start it, as `module` has it, and wait until it listens; it ends with the stack, if not before."""
    [port] = free_ports(1)
    text, key = keys.make(role="admin", tenant=None)
    keys_file = directory / "keys.json"
    keys.add(keys_file, key)
    command = [sys.executable, "-m", module, "gateway", "--port", str(port)]
    process = stack.process("gateway", command, env={"STYLEQUEUE_KEYS_FILE": str(keys_file), **(env or {})})
    process.wait_until(lambda: listens(port), _START_S)
    return Served(process, port, text)


def listens(port: int) -> bool:
    """Whether anybody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
