"""What the servers of the embedded stack have in common: a program, a directory, ports of their own, a clean end."""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import socket
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

from ..contract.errors import Code, Unavailable
from .private import write_private
from .process import Process, directory_for

HOST = "127.0.0.1"

# Below the ports that Linux gives to outgoing connections, with and without the offset, so that no client of
# anybody's takes one between choosing and binding; and with it none is one of these without.
_PORTS = range(10_300, 20_300)
GRPC_OFFSET = 10_000
"""SeaweedFS's convention: what serves HTTP on port p serves gRPC on p + 10,000."""

_PORT_TAKEN = re.compile(r"address already in use|is not available on", re.IGNORECASE)
_TRIES = 5
_START_TIMEOUT_S = 30


def new_secret() -> str:
    """A password no one can guess, of letters and digits."""
    return secrets.token_hex(24)


def free_ports(count: int, *, offsets: Sequence[int] = (0,), among: Collection[int] = _PORTS) -> list[int]:
    """`count` different ports of the loopback interface that nobody listens on, free at every one of `offsets` too.

    Somebody may take one before it is used: who binds it must be ready to ask again. Raises Unavailable where there are
    not so many.
    """
    with ExitStack() as bound:
        ports: list[int] = []
        for port in random.sample([*among], len(among)):
            if len(ports) == count:
                break
            try:
                for offset in offsets:
                    listener = bound.enter_context(socket.socket())
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    listener.bind((HOST, port + offset))
            except OSError:
                continue
            ports.append(port)
    if len(ports) == count:
        return ports
    raise Unavailable(Code.LOCAL_STACK_FAILED, "no free port on the loopback interface", "stop what listens there")


def is_free(port: int, offsets: Sequence[int] = (0,)) -> bool:
    """Whether nobody listens on a port of the loopback interface."""
    with suppress(Unavailable):
        return bool(free_ports(1, offsets=offsets, among=[port]))
    return False


class Server(ABC):
    """One server, in a directory of its own: `parent/name`, which is kept, or a temporary one, which is removed.

    In one that is kept, ports and secrets are those of the last start; `moved` are the ports of it that somebody else
    has now, and then the secrets are new. `hold` are descriptors of locks to be held while it runs.

    Constructing launches it; `wait_ready` waits until it answers, and starts it anew on other ports where somebody was
    quicker to take one. Raises Unavailable, with the end of its log, if it does not come up.
    """

    name: ClassVar[str]

    def __init__(self, parent: Path | None, *, hold: Sequence[int] = ()) -> None:
        self._parent = parent
        self._hold = hold
        self.moved: list[int] = []
        self._tried: set[int] = set()
        self._launch()

    @abstractmethod
    def _prepare(self) -> tuple[list[str | Path], list[Path]]:
        """Choose ports, write the configuration into `self.directory`; the command, and files it leaves elsewhere."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether this server, and no other one on its port, does its work."""

    def _ports_and_secrets(
        self, services: Sequence[str], secret_names: Sequence[str], *, offsets: Sequence[int] = (0,)
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Ports of these services and secrets of these names, kept where the directory is."""
        memory = self.directory / "server.json"
        known: dict[str, Any] = {"ports": {}, "secrets": {}}
        if memory.exists():
            with suppress(ValueError):  # its writing was broken off
                known |= json.loads(memory.read_text())
        ports = {
            name: port for name, port in known["ports"].items() if port not in self._tried and is_free(port, offsets)
        }
        self.moved += [port for name, port in known["ports"].items() if name not in ports]
        others = [port for port in _PORTS if port not in {*ports.values(), *self.moved}]
        missing = [name for name in services if name not in ports]
        ports |= zip(missing, free_ports(len(missing), offsets=offsets, among=others), strict=True)
        self._tried |= {*ports.values()}
        # Whoever has one of its ports now may have heard the secrets there, from programs that still called it.
        secrets = {name: new_secret() for name in secret_names} | ({} if self.moved else known["secrets"])
        write_private(memory, json.dumps({"ports": ports, "secrets": secrets}))
        return ports, secrets

    def _launch(self) -> None:
        with directory_for(self.name, self._parent) as (self.directory, temporary):
            command, leftovers = self._prepare()
            self.process = Process(
                self.name,
                command,
                directory=self.directory,
                log=self.directory / f"{self.name}.log",
                # None of the user's variables: SeaweedFS would make an identity out of AWS_ACCESS_KEY_ID.
                env={"HOME": str(self.directory), "PATH": os.defpath},
                remove=[*leftovers, *temporary],
                hold=self._hold,
            )

    def wait_ready(self) -> None:
        """Return once the server answers."""
        tries_left = _TRIES
        while True:
            try:
                self.process.wait_until(self._answers, _START_TIMEOUT_S)
                break
            except BaseException:
                self.stop()
                tries_left -= 1
                if not tries_left or not _PORT_TAKEN.search(self.process.log_text()):
                    raise
            self._launch()

    def stop(self) -> None:
        """End it, and remove what was temporary."""
        self.process.stop()
