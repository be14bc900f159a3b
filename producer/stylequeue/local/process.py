"""Processes that write to a log, are waited for until they are ready, and never outlive the one that started them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from ..contract.errors import Code, Unavailable
from .private import private_directory, write_private

_GUARD = Path(__file__).with_name("supervise.py")
_UMASK = 0o077
"""What it writes, sockets included, is this user's alone."""
_POLL_S = 0.02
_KILL_GRACE_S = 10
_LOG_TAIL_LINES = 15


@contextmanager
def directory_for(name: str, parent: Path | None) -> Iterator[tuple[Path, list[Path]]]:
    """A directory only we may read, and what of it to remove later: `parent/name`, nothing; else a temporary one, all.

    If the block raises, the temporary one is removed at once. Raises Unavailable where others may enter it.
    """
    if parent:
        yield private_directory(parent / name), []
        return
    directory = Path(tempfile.mkdtemp(prefix=f"stylequeue-{name}-"))
    try:
        yield directory, [directory]
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


class Process:
    """One running command, its output in `log`. It ends when this process ends, even if this one is killed.

    `remove` are files and directories to delete after that, `hold` descriptors of locks to be held until then.
    Arguments are visible to everyone on the machine: secrets belong in files or in `env`. Raises Unavailable where the
    command cannot be started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        directory: Path,
        log: Path,
        env: Mapping[str, str] | None = None,
        remove: Sequence[Path] = (),
        hold: Sequence[int] = (),
        grace_s: float = 8,
    ) -> None:
        self.name = name
        self._grace_s = grace_s
        self._final_log = ""
        with write_private(log, "").open("wb") as output:
            # A session of its own: Ctrl-C in the terminal reaches only us, and we stop things in order.
            self._guard = subprocess.Popen(  # noqa: S603 - the caller's own command
                [sys.executable, "-I", "-S", _GUARD, str(grace_s), *remove, "--", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=directory,
                env=env,
                start_new_session=True,
                umask=_UMASK,
                pass_fds=hold,
            )
        self._log = log.open(errors="replace")  # stays readable when the directory is removed
        self._line_to_guard = cast("IO[bytes]", self._guard.stdin)
        with cast("IO[bytes]", self._guard.stdout) as guard_says:
            pid = guard_says.readline()
        if not pid:
            self.stop()
            raise Unavailable(
                Code.LOCAL_STACK_FAILED, f"{name} could not be started", f"the end of its log:\n{self.log_tail()}"
            )
        self.pid = int(pid)

    @property
    def running(self) -> bool:
        """Whether the command has not ended yet."""
        return self._guard.poll() is None

    def log_text(self) -> str:
        """What the command has written so far."""
        if self._log.closed:
            return self._final_log
        self._log.seek(0)
        return self._log.read()

    def log_tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log_text().splitlines()[-_LOG_TAIL_LINES:]) or "(empty)"

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `ready()`. Raises Unavailable, with the end of the log, if it ends before or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                what = f"ended with status {self._guard.returncode} before it was ready"
            elif time.monotonic() > deadline:
                what = f"was not ready within {timeout_s:g} s"
            else:
                time.sleep(_POLL_S)
                continue
            raise Unavailable(Code.LOCAL_STACK_FAILED, f"{self.name} {what}", f"the end of its log:\n{self.log_tail()}")

    def wait_for_line(self, text: str, timeout_s: float) -> None:
        """Wait until the log contains `text`. Raises Unavailable as `wait_until` does."""
        self.wait_until(lambda: text in self.log_text(), timeout_s)

    def wait(self, timeout_s: float) -> int:
        """Wait for the command's own end; the exit status (128 + n for signal n). Raises TimeoutError."""
        try:
            return self._guard.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} has not ended after {timeout_s:g} s") from None

    def kill(self) -> None:
        """SIGKILL, at once, to the command and all that it has started."""
        if self.running:
            with suppress(ProcessLookupError):  # it ended just now
                os.killpg(self.pid, signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and SIGKILL after the grace period; the exit status (128 + n for signal n). May be repeated."""
        self._line_to_guard.close()
        try:
            status = self._guard.wait(self._grace_s + _KILL_GRACE_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()  # takes the command along
            status = self._guard.wait()
        if not self._log.closed:
            self._final_log = self.log_text()
            self._log.close()
        return status
