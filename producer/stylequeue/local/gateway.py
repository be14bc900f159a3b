"""The gateway beside the servers: its port and its operator's key, which stay the same from one start to the next."""

from __future__ import annotations

import http.client
import json
import shlex
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contract.errors import Unavailable
from ..variables import variable_of
from .private import write_private
from .process import Process
from .server import HOST, free_ports, is_free
from .stack import Stack

USUAL_PORT = 8000
_START_TIMEOUT_S = 60
_TRIES = 3


@dataclass(frozen=True)
class Door:
    """Where the gateway is asked, and with which key."""

    port: int
    key: str
    keys_file: Path
    """Where keys are kept: all but their secrets."""

    @property
    def url(self) -> str:
        """Without a path."""
        return f"http://{HOST}:{self.port}"

    @property
    def page(self) -> str:
        """What one opens in a browser. No server hears of what stands behind the `#`."""
        return f"{self.url}/#key={self.key}"

    @property
    def origins(self) -> tuple[str, ...]:
        """Of the page, however this machine is named."""
        return self.url, f"http://localhost:{self.port}"

    @property
    def line(self) -> str:
        """What one pastes into a shell to have a picture painted."""
        bearer, address = f"Authorization: Bearer {self.key}", f"{self.url}/v1/paint?wait=60"
        return (
            f"curl --fail-with-body -H {shlex.quote(bearer)} -F content=@photo.jpg -F style=@wave.jpg "
            f"{shlex.quote(address)} -o out.jpg"
        )


def open_door(stack: Stack, directory: Path) -> tuple[Door, Process]:
    """Start a gateway that keeps its port and keys in `directory`, and wait until it answers.

    Its port is the one it had, else 8000, else a free one. Raises Unavailable where it does not start.
    """
    tried: set[int] = set()
    while True:
        door = door_of(directory, tried)
        tried.add(door.port)
        command = [sys.executable, "-m", "stylequeue.cli", "gateway", "--host", HOST, "--port", str(door.port)]
        process = stack.process("gateway", command, env={variable_of("keys_file"): str(door.keys_file)})
        try:
            process.wait_until(lambda port=door.port: answers(port), _START_TIMEOUT_S)  # type: ignore[misc]
            return door, process
        except Unavailable:
            process.stop()
            # Another program may have been quicker to take the port.
            if len(tried) == _TRIES or is_free(door.port):
                raise


def door_of(directory: Path, tried: set[int]) -> Door:
    """The door that is kept in `directory`: its port the one it had, else 8000, else a free one, none of `tried`."""
    memory, keys_file = directory / "gateway.json", directory / "keys.json"
    before: dict[str, Any] = {"port": USUAL_PORT, "key": ""}
    with suppress(OSError, ValueError):  # there is none, or its writing was broken off
        before |= json.loads(memory.read_text())
    port = next((port for port in (before["port"], USUAL_PORT) if port not in tried and is_free(port)), None)
    door = Door(port or free_ports(1)[0], _key(keys_file, before["key"]), keys_file)
    write_private(memory, json.dumps({"port": door.port, "key": door.key}))
    return door


def _key(path: Path, before: str) -> str:
    """The operator's: what it was, where it is still in force."""
    from ..gateway import keys

    if path.exists() and keys.KeyRing(path).find(before):
        return before
    text, key = keys.make(role="admin", note="of stylequeue up")
    keys.add(path, key)
    return text


def answers(port: int) -> bool:
    """Whether a gateway does, there."""
    with suppress(OSError, http.client.HTTPException), closing(http.client.HTTPConnection(HOST, port, 1)) as asked:
        asked.request("GET", "/healthz")
        return asked.getresponse().status == http.HTTPStatus.OK
    return False
