"""How a worker stops: whoever asks it to, its job is back on the queue, uncharged, within the grace period.

Celery's own ways are not used. Its warm stop waits for the task however long that takes, its cold one has the task lost
or charged, SIGHUP starts the program anew by a command line that may not work, and which signal means what depends on
an environment variable. Here every signal that asks a process to end does the same: the parent tells its child by a
file, the child saves a checkpoint and puts its job back; where that has not happened after most of the grace period, or
somebody is in a hurry, the parent puts the job back itself and takes the child along.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from shutil import rmtree
from typing import Any

from billiard import active_children
from celery.apps import worker as celerys
from celery.signals import worker_shutting_down
from celery.worker import state

from stylequeue.contract.errors import ExitCode, InvalidSettings
from stylequeue.settings import Settings
from stylequeue.tracing import exporting

from ..work.lease import STOP_FILE_VARIABLE
from .vitals import Vitals

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_NOT_FOR_CHILDREN = (*STOP_SIGNALS, signal.SIGUSR1, signal.SIGUSR2)
_GRACE_SHARE = 0.8
"""Of the grace period, for the child to come to a good end by itself."""
_KILLED = 128 + signal.SIGKILL
"""Exit status of a worker that had to take its child along."""
_FAILURE_FILE = "failure"

log = logging.getLogger(__name__)

_celerys: Any = celerys
_state: Any = state


class Stopping:
    """Sees to it that this worker process ends in time once that is asked for. One per process."""

    def __init__(self, grace_s: float, put_back: Callable[[], object]) -> None:
        """`put_back` puts back what the child has, for the child; it may take its time and may raise."""
        self._grace_s = grace_s
        self._put_back = put_back
        # Signal handlers put into it: alone among the ways between threads, it may be interrupted by itself.
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._directory: Path | None = None
        self.began = threading.Event()

    def prepare(self) -> None:
        """Make ready to tell the child, which inherits the name of the file. Raises InvalidSettings."""
        # The child inherits the name; a directory of our own, since in containers every parent has the same pid.
        try:
            self._directory = Path(tempfile.mkdtemp(prefix="stylequeue-worker-"))
        except OSError as error:
            raise InvalidSettings(
                f"it needs a directory for temporary files: {error}", "point TMPDIR at one it may write"
            ) from None
        os.environ[STOP_FILE_VARIABLE] = str(self._directory / "stop")
        # Celery's: which signal means what. The child would take it for its own.
        os.environ.pop("REMAP_SIGTERM", None)
        threading.Thread(target=self._see_to_it, name="stopping", daemon=True).start()

    def ask(self, *, hurry: bool = False) -> None:
        """Stop; with `hurry`, without waiting for the child's checkpoint. May be called by a signal handler."""
        self._asked.put(hurry)

    def give_up(self, code: int) -> None:
        """There is no use in this worker, as its parent or its child has found: it ends with the exit status `code`."""
        stop_file = Path(os.environ[STOP_FILE_VARIABLE])
        stop_file.with_name(_FAILURE_FILE).write_text(str(int(code)))
        os.kill(os.getpid() if self._directory else os.getppid(), signal.SIGTERM)

    def failure(self) -> int | None:
        """The exit status that the child asked for, if it did."""
        try:
            return int((self._directory or Path(os.devnull)).joinpath(_FAILURE_FILE).read_text())
        except (OSError, ValueError):
            return None

    def clear_up(self) -> None:
        """Leave no file behind."""
        if self._directory:
            rmtree(self._directory, ignore_errors=True)

    def _see_to_it(self) -> None:
        hurry = self._asked.get()
        began_at = time.monotonic()
        ends_at = began_at + self._grace_s * _GRACE_SHARE
        self.began.set()
        log.info("Warm shutdown: the child is told to stop")
        try:
            Path(os.environ[STOP_FILE_VARIABLE]).touch()
        except OSError as error:
            log.warning("the child cannot be told to stop: %s", error)
        while not hurry:
            try:
                hurry = self._asked.get(timeout=max(0.0, ends_at - time.monotonic()))
            except Empty:
                break
        log.warning(
            "the child %s, its job is put back for it", "is not waited for" if hurry else "has not ended in time"
        )
        # By a thread that may hang: Redis may be what the child hangs on.
        putting_back = threading.Thread(target=self._put_back, name="put-back", daemon=True)
        putting_back.start()
        putting_back.join(self._grace_s * (1 - _GRACE_SHARE) / 2)
        for child in active_children():
            with suppress(ProcessLookupError, TypeError):  # it may be gone, or only about to start
                os.kill(child.pid, signal.SIGKILL)  # type: ignore[arg-type]
        self.clear_up()
        if not hurry:
            exporting.flush(max(0.0, min(exporting.END_S, began_at + self._grace_s - time.monotonic())))
        # Not by a signal: as the first process of a container this one would survive that.
        os._exit(_KILLED)


class Worker(celerys.Worker):
    """Celery's worker, but for how it stops."""

    stopping: Stopping
    vitals: Vitals
    settings: Settings
    hostname: str
    exitcode: int | None

    def install_platform_tweaks(self, _worker: object) -> None:
        """Instead of Celery's handlers of signals, ours."""
        # For an operator: where its threads are. Celery's own handler prints what they hold as well, passwords and all.
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        for number in STOP_SIGNALS:
            # One that was ignored when this process began, as by nohup, stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def emit_banner(self) -> None:
        """None: what is printed there is no line of a log, and says nothing that `ready for jobs` does not."""

    def _on_signal(self, number: int, _frame: object) -> None:
        again = _state.should_stop is not None
        # What is asked for by hand a second time is meant; orchestrators repeat themselves.
        self.stopping.ask(hurry=number == signal.SIGQUIT or (number == signal.SIGINT and again))
        if not again:
            name = signal.Signals(number).name
            worker_shutting_down.send(sender=self.hostname, sig=name, how="Warm", exitcode=ExitCode.DONE)
        # Celery's loop looks at it.
        _state.should_stop = int(ExitCode.DONE)

    def start(self) -> None:
        """Run until the end. SystemExit where that is not a good one, however Celery was started."""
        try:
            super().start()
            code = self.stopping.failure() or self.exitcode
        finally:
            self.stopping.clear_up()
            self.vitals.file.clear_up()
            exporting.flush()
        if code:
            raise SystemExit(code)

    def stop(self, in_sighandler: bool = False, exitcode: int | None = None) -> None:
        """Whatever the reason, unrecoverable errors among them."""
        self.stopping.ask()
        super().stop(in_sighandler, exitcode)

    def terminate(self, in_sighandler: bool = False) -> None:
        """As `stop`: Celery comes here where it has run out of files."""
        self.exitcode = ExitCode.JOB_FAILED
        self.stopping.ask()
        super().terminate(in_sighandler)


@contextmanager
def kept_from_children() -> Iterator[None]:
    """For starting a child: signals that ask a worker to stop never reach it, from its first moment on.

    They are its parent's affair, also where a whole process group is sent one. What is blocked here stays so in a
    process that is started meanwhile; handlers, and what is to be ignored, do not survive in it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_CHILDREN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
