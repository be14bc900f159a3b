"""All servers together, the settings that lead to them, and workers that use them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from ..broker.app import READY_FOR_JOBS
from ..contract.base import QUEUES
from ..contract.errors import Code, Unavailable
from ..settings import Settings
from ..variables import PREFIX, variable_of
from .lock import lock, write
from .private import private_directory
from .process import Process, directory_for
from .seaweedfs import SeaweedFS
from .valkey import Valkey

_WORKER_START_TIMEOUT_S = 120
_WORKER_GRACE_S = 30
_KILLED_S = 10
"""From SIGKILL to the end of what was killed, at most."""


def environment(settings: Settings) -> dict[str, str]:
    """The STYLEQUEUE_* variables that give another process these settings. They hold passwords."""
    variables = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif isinstance(value, tuple):
            value = json.dumps([part.get_secret_value() if isinstance(part, SecretStr) else part for part in value])
        elif isinstance(value, dict):
            value = json.dumps(value)
        elif isinstance(value, Path):
            value = value.expanduser().absolute()  # the other process may run elsewhere
        if value is not None:
            variables[variable_of(name)] = str(value)
    return variables


class Stack:
    """Valkey and SeaweedFS on free loopback ports with generated passwords, and what was started beside them.

        with Stack() as stack:
            StyleQueue(stack.settings).submit(...)

    Several may run at once. Data, ports and passwords lie in `directory` and are kept, or in temporary directories that
    are gone at the end, as every process is: also when this process is killed. `settings` are kept but for where the
    servers are. Of what is put into `announced` folders (`bucket/folder/`) the store tells. Raises Unavailable where a
    server is not installed or does not start, or another stack runs in the same directory, or that cannot be written or
    other users may enter it.
    """

    def __init__(
        self, directory: Path | None = None, settings: Settings | None = None, *, announced: Sequence[str] = ()
    ) -> None:
        self._directory = directory
        self._announced = announced
        self._base = settings or Settings.load()
        self._stopping = ExitStack()
        self._hold: list[int] = []
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        with ExitStack() as started:
            if self._directory:
                self._hold = [_alone_in(self._directory)]
                started.callback(os.close, self._hold[0])
            self.valkey = Valkey(self._directory, hold=self._hold)
            started.callback(lambda: self.valkey.stop())
            self.seaweedfs = SeaweedFS(self._directory, self._base.buckets, announced=self._announced, hold=self._hold)
            started.callback(lambda: self.seaweedfs.stop())
            self.valkey.wait_ready()
            self.seaweedfs.wait_ready()
            self._stopping = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """As `with` does; `stop` is then to be called."""
        return self.__enter__()

    def stop(self) -> None:
        """End everything, the newest first."""
        self._stopping.close()

    def kill(self) -> None:
        """End everything at once, as it is. `stop` is to be called all the same."""
        for process in (*self._processes, self.seaweedfs.process, self.valkey.process):
            process.kill()

    @property
    def settings(self) -> Settings:
        """The settings that lead to these servers."""
        where = {
            "redis_url": SecretStr(self.valkey.url()),
            "s3_endpoint_url": self.seaweedfs.endpoint_url,
            "s3_region": "us-east-1",
            "s3_access_key": SecretStr(self.seaweedfs.access_key),
            "s3_secret_key": SecretStr(self.seaweedfs.secret_key),
            "s3_addressing": "path",
            "mark_secrets": (SecretStr(self.seaweedfs.mark_secret),),
        }
        return self._base.model_copy(update=where)

    @property
    def env(self) -> dict[str, str]:
        """`settings` as environment variables."""
        return environment(self.settings)

    def process(
        self, name: str, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, grace_s: float = 8
    ) -> Process:
        """Start a command that finds these servers through its environment; it ends with the stack, before them.

        Its log lies beside the servers' data and goes where they go. `env` is added to `self.env` and to this
        process's environment but for settings, of which `self.env` holds what matters.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        with directory_for(name, self._directory) as (directory, temporary):
            process = Process(
                name,
                command,
                directory=directory,
                log=directory / f"{name}.log",
                env={**inherited, **self.env, **(env or {})},
                remove=temporary,
                hold=self._hold,
                grace_s=grace_s,
            )
        self._processes.append(process)
        self._stopping.callback(process.stop)
        return process

    def worker(
        self,
        queues: Sequence[str] = QUEUES,
        *,
        name: str = "worker",
        env: Mapping[str, str] | None = None,
        timeout_s: float = _WORKER_START_TIMEOUT_S,
    ) -> Process:
        """Start a worker for these queues and wait until it is ready for jobs. Raises Unavailable if it is not."""
        command = [sys.executable, "-m", "stylequeue_worker", "--queues", ",".join(queues)]
        process = self.process(name, command, env=env, grace_s=_WORKER_GRACE_S)
        try:
            process.wait_for_line(READY_FOR_JOBS, timeout_s)
        except BaseException:
            process.kill()  # it has nothing yet that a gentle end would save
            raise
        return process


def _alone_in(directory: Path) -> int:
    """A lock on a directory, made where it is absent: the descriptor.

    Raises Unavailable where it cannot be made, others may enter it, or another stack has it.
    """
    path = directory / "lock"
    try:
        private_directory(directory)
        descriptor = lock(path)
    except OSError as error:
        what = f"{directory} cannot be used: {error.strerror}"
        raise Unavailable(Code.LOCAL_STACK_FAILED, what, "take another directory with --data, or --temporary") from None
    # The servers of a stack that was killed hold its lock until they have ended.
    if descriptor is None and not _is_alive(path.read_text()):
        descriptor = lock(path, wait_s=_WORKER_GRACE_S + _KILLED_S)
    if descriptor is None:
        raise Unavailable(
            Code.LOCAL_STACK_FAILED,
            f"{directory} is in use: what `stylequeue up` runs there has process id {path.read_text() or 'unknown'}",
            "stop that one with Ctrl-C, or take another directory with --data, or --temporary",
        )
    write(descriptor, str(os.getpid()))
    return descriptor


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass  # somebody else's
    return True
